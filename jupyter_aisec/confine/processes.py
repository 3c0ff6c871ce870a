"""The processes beneath one, as Linux lists them: who may hold a copy of another's memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

__all__ = ["alive", "beneath"]

_DEAD = frozenset({"Z", "X", "x"})  # they have no memory any more


def beneath(root: int, parents: Mapping[int, int]) -> tuple[int, ...]:
    """The descendants of ``root`` among processes given with their parents, sorted."""
    found: set[int] = set()
    while new := {p for p, parent in parents.items() if parent in found | {root}} - found - {root}:
        found |= new
    return tuple(sorted(found))


def alive() -> dict[int, int]:
    """The processes that this one can see and that have not ended, with their parents.

    Not of one moment: who starts processes faster than they are listed can hide one. Source:
    proc_pid_stat(5). Empty where there is no ``/proc``.
    """
    found = {}
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                # The name in parentheses may hold anything, also a parenthesis.
                state, parent = file.read().rpartition(b")")[2].split()[:2]
                if state.decode() not in _DEAD:
                    found[int(name)] = int(parent)
    return found
