"""Where a container takes something away: the best plan that is left, and what it lacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import json, sys
from jupyter_aisec.confine import Confinement, needed
from jupyter_aisec.confine.clean_start import start_clean

start_clean()
confined = Confinement(keep=needed()).start(lambda inside: 5)
while (code := confined.poll()) is None:
    pass
print(json.dumps([code, confined.level.name, confined.level.missing, confined.refusals]))
confined.close()
"""


def confined_after(command: str) -> Any:
    """Exit code, level, what is missing and what was refused, in a world where ``command`` ran."""
    world = ["unshare", "--map-root-user", "--mount", "sh", "-e", "-c"]
    done = subprocess.run(
        [*world, f'{command}; exec "$@"', "sh", sys.executable, "-c", SCRIPT],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", ["net", "mnt", "pid"])
def test_without_namespaces_of_one_kind(kind: str) -> None:
    code, level, missing, refusals = confined_after(
        f"echo 0 > /proc/sys/user/max_{kind}_namespaces"
    )
    assert (code, level) == (5, "partial")
    assert all("unshare" in refusal for refusal in refusals)
    lacking = {"pid"} if kind == "pid" else {"pid", "mount", "network", "ipc"}
    assert {name for name in missing if name.endswith("namespace")} == {
        f"{name} namespace" for name in lacking
    }


COVERED = "mount --bind /dev/null /proc/version"
ORDINARY = 'set -- unshare --user --map-user=1000 --map-group=1000 "$@"'


def test_with_a_partly_covered_proc_root_goes_without_a_user_namespace() -> None:
    """As container engines cover it: in a new user namespace no fresh one may be mounted."""
    code, level, missing, refusals = confined_after(COVERED)
    assert (code, level, missing) == (5, "full", [])
    assert ["mount /proc" in refusal for refusal in refusals] == [True]


def test_with_a_partly_covered_proc_others_go_without_a_pid_namespace() -> None:
    code, level, missing, refusals = confined_after(f"{COVERED}; {ORDINARY}")
    assert (code, level, missing) == (5, "partial", ["pid namespace"])
    assert ["mount /proc" in refusal for refusal in refusals] == [True]
