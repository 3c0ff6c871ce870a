"""Inherited descriptors: a file somebody opened for us is a way out.

A kernel's stray standard error lands in the server's log file otherwise, on a disk.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection

from ..errors import ConfinementError

__all__ = ["close_all_but", "opened", "refuse_files", "to_null"]


def opened() -> set[int]:
    """The descriptors open in this process."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            os.fstat(int(name))
        except OSError:  # the one that listed the folder
            continue
        found.add(int(name))
    return found


def close_all_but(kept: Collection[int]) -> None:
    """Close every descriptor from 3 on that is not in ``kept``."""
    start = 3
    for descriptor in sorted(kept):
        if descriptor >= start:
            os.closerange(start, descriptor)
            start = descriptor + 1
    os.closerange(start, max(opened(), default=0) + 1)


def to_null() -> None:
    """Standard input, output and error lead nowhere."""
    null = os.open("/dev/null", os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    if null > 2:
        os.close(null)


def refuse_files() -> None:
    """Raise ConfinementError if standard output or error is a file on a disk."""
    for descriptor, name in ((1, "standard output"), (2, "standard error")):
        try:
            mode = os.fstat(descriptor).st_mode
        except OSError:
            continue
        if stat.S_ISREG(mode):
            raise ConfinementError(
                f"{name} is a file: what a confined command prints would be written to disk.",
                next="Print to the terminal, or write to $AISEC_SCRATCH.",
                code="output-is-a-file",
            )
