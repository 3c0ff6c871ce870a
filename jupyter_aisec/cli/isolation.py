"""Which isolation level this machine allows: found by making a confinement in a process apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from jupyter_aisec.confine import Confinement, Level, secrets
from jupyter_aisec.confine.environment import split
from jupyter_aisec.errors import AisecError, ConfinementError

__all__ = ["probe", "prove"]

_PROBE_SECONDS = 60.0


def probe() -> Level:
    """The level that a secure kernel would prove here; raises ConfinementError."""
    # A confinement forks, which is only safe before threads and credentials exist.
    program = "from jupyter_aisec.cli.isolation import prove; prove()"
    arguments = [sys.executable, "-c", program]
    try:
        done = subprocess.run(
            arguments,
            env=split(os.environ)[0],
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            check=True,
        )
        found = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        raise ConfinementError(
            "The confinement could not be tried here.",
            next=f"See why: `{sys.executable} -c '{program}'`.",
            code="confinement-untried",
        ) from error
    return Level(found["name"], tuple(found["missing"]))


def prove() -> None:
    """Make a confinement from this process, and print its level as JSON; for :func:`probe`."""
    try:
        confined = Confinement(hide=secrets(os.environ)).start(lambda _: 0)
    except AisecError as error:
        found = Level("none", (error.what,))
    else:
        found = confined.level
        confined.close()
    sys.stdout.write(json.dumps({"name": found.name, "missing": found.missing}))
