"""The other processes of a secure kernel: what a notebook started, and forks above all.

A fork holds copies of everything its parent held, out of reach of any wipe; so where a grant
ends, they end. An ordinary kernel has no init of its own to tell them from its person's, and
leaves them alone.
"""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress

from jupyter_aisec.confine.processes import alive, beneath

__all__ = ["begin", "confined", "end_others"]

_LOOK_SECONDS = 0.02
_init: int | None = None


def begin() -> None:
    """This process is a secure kernel's, started by the init of its own confinement."""
    global _init
    _init = os.getppid()


def confined() -> bool:
    """Whether :func:`begin` was called."""
    return _init is not None


def end_others(seconds: float) -> bool:
    """Kills all of this kernel's processes but this one; False if some outlive ``seconds``."""
    if _init is None:
        return True
    deadline = time.monotonic() + seconds
    while others := _others(_init):
        if time.monotonic() > deadline:
            return False
        for process in others:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)
        time.sleep(_LOOK_SECONDS)
    return True


def _others(init: int) -> list[int]:
    parents = alive()
    # Orphans become init's, or, without a PID namespace, the children of its supervisor.
    root = parents.get(init, init)
    return [p for p in beneath(root, parents) if p not in (init, os.getpid())]
