"""Which isolation level this machine allows: found by making a confinement in a process apart."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from jupyter_aisec.confine import Confinement, Level, secrets
from jupyter_aisec.confine.environment import split
from jupyter_aisec.errors import AisecError, ConfinementError

__all__ = ["probe"]

_PROBE_SECONDS = 60.0


def probe() -> Level:
    """The level that a secure kernel would prove here; raises ConfinementError."""
    # A confinement forks, which is only safe before threads and credentials exist.
    arguments = [sys.executable, "-m", "jupyter_aisec.cli.isolation"]
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
            next=f"Run `{sys.executable} -m jupyter_aisec.cli.isolation` to see why.",
            code="confinement-untried",
        ) from error
    return Level(found["name"], tuple(found["missing"]))


def _prove() -> Level:
    try:
        confined = Confinement(hide=secrets(os.environ)).start(lambda _: 0)
    except AisecError as error:
        return Level("none", (error.what,))
    confined.wait()
    confined.close()
    return confined.level


if __name__ == "__main__":
    level = _prove()
    print(json.dumps({"name": level.name, "missing": level.missing}))  # noqa: T201
