"""The view of the file system stands by itself: nothing that the host does later reaches it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = """
import sys
from jupyter_aisec.confine import Confinement

def inside(_):
    for line in open("/proc/self/mountinfo"):
        if "shared:" in line or "master:" in line:
            print(line, flush=True)
    return 7

confined = Confinement(standard_streams=True, keep=(sys.argv[1],)).start(inside)
sys.exit(confined.wait())
"""


def test_what_the_host_mounts_later_does_not_arrive() -> None:
    """Where mounts are shared (the rule with systemd), a slave would get them, writable."""
    shared = ["unshare", "--map-root-user", "--mount", "--propagation", "shared"]
    done = subprocess.run(
        [*shared, sys.executable, "-c", SCRIPT, str(ROOT)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (7, ""), done.stderr
