"""Memory that is never written out: no core dump, not dumpable.

``RLIMIT_CORE`` 0 does not stop a core handler behind a pipe, 1 does (core(5)). A process that is
not dumpable cannot be traced or read by its owner's other processes; ``exec`` makes it dumpable
again, so the filter on dumps is set first: afterwards an ordinary user may no longer write it.
"""

from __future__ import annotations

import resource
from contextlib import suppress
from typing import Final

from ._syscalls import prctl

__all__ = ["is_dumpable", "no_core_dumps", "undumpable"]

_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4


def no_core_dumps() -> None:
    """No core dump of this process or its children holds anything."""
    # A kernel built without core dumps has no such file.
    with suppress(OSError), open("/proc/self/coredump_filter", "w", encoding="utf-8") as file:
        file.write("0")
    resource.setrlimit(resource.RLIMIT_CORE, (1, 1) if _may_be_one() else (0, 0))


def _may_be_one() -> bool:
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    return hard == resource.RLIM_INFINITY or hard >= 1


def undumpable() -> None:
    """Nobody with the same user id reads this process's memory."""
    prctl("PR_SET_DUMPABLE", _PR_SET_DUMPABLE, 0)


def is_dumpable() -> bool:
    """What :func:`undumpable` turns off."""
    return prctl("PR_GET_DUMPABLE", _PR_GET_DUMPABLE) != 0
