"""A process image that never held a secret.

``/proc/self/environ`` goes on showing a variable that was removed, to every process forked from
this one. So the program is executed anew with a clean environment, and what was taken out waits
in an anonymous file in memory that only the keeper reads, after it has forked the inside.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final

from .environment import split

__all__ = ["Withheld", "command", "start_clean"]

_MARK: Final = "AISEC_WITHHELD"


class Withheld:
    """The variables the inside must not see, still unread."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def read(self) -> dict[str, str]:
        """The variables; once. To be called outside, after the fork."""
        if self._descriptor is None:
            return {}
        with open(self._descriptor, "rb") as file:
            self._descriptor = None
            file.seek(0)
            return dict(json.load(file))


def command(arguments: Sequence[str], executable: str) -> list[str]:
    """The command line that starts this program again; ``arguments`` is ``sys.orig_argv``."""
    return [executable, *arguments[1:]]


def start_clean(environment: Mapping[str, str] | None = None) -> Withheld:
    """Execute this program anew without secrets in its environment, unless that was done.

    Returns in the new process only. What the program did before calling this it does twice.
    """
    outer = dict(os.environ if environment is None else environment)
    mark = outer.pop(_MARK, None)
    if mark is not None:
        os.environ.pop(_MARK, None)
        descriptor = int(mark)
        os.set_inheritable(descriptor, False)
        return Withheld(descriptor)
    clean, withheld = split(outer)
    descriptor = os.memfd_create("aisec-withheld")
    os.write(descriptor, json.dumps(withheld).encode())
    os.set_inheritable(descriptor, True)
    clean[_MARK] = str(descriptor)
    sys.stdout.flush()
    sys.stderr.flush()
    # No shell is wanted: the same program with the same arguments.
    os.execve(sys.executable, command(sys.orig_argv, sys.executable), clean)  # noqa: S606
