"""Any command under the secure kernel's confinement: ``aisec confine -- COMMAND``."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress

from ..errors import ConfinementError, UsageError
from . import descriptors, limits
from .clean_start import start_clean
from .confinement import Confinement, Inside
from .hidden import needed, secrets
from .level import LevelName, at_least

__all__ = ["confine_command"]

_NOT_FOUND = 127
_NOT_EXECUTABLE = 126


def confine_command(
    command: Sequence[str],
    *,
    hide: tuple[str, ...] = (),
    keep: tuple[str, ...] = (),
    least: LevelName = "none",
    try_namespaces: bool = True,
) -> int:
    """Run ``command`` confined, with this process's standard streams; its exit code.

    127 if it does not exist, 126 if it cannot be executed, 128 + a signal's number if that
    ended it, as shells have it. Executes the calling program anew first (see
    :func:`start_clean`). Raises UsageError for no command, ConfinementError if standard output
    is a file on a disk or the level is below ``least``.
    """
    if not command:
        raise UsageError("There is no command to confine.", next="Name one after `--`.")
    descriptors.refuse_files()
    start_clean()
    plan = Confinement(
        hide=secrets(os.environ, hide),
        keep=(*needed(), *keep),
        standard_streams=True,
        try_namespaces=try_namespaces,
    )

    def inside(given: Inside) -> int:
        if not at_least(given.level.name, least):
            return 0
        given.started()
        try:
            os.execvp(command[0], list(command))  # noqa: S606 - the person's own command
        except FileNotFoundError:
            return _NOT_FOUND
        except OSError:
            return _NOT_EXECUTABLE

    confined = plan.start(inside)
    limits.undumpable()
    if not at_least(confined.level.name, least):
        confined.close()
        raise ConfinementError(
            f"Isolation {least} was asked for; this machine gives {confined.level}.",
            next="Run `aisec doctor` to see what is missing.",
            code="level-too-low",
        )

    def forward(number: int, _frame: object) -> None:
        with suppress(ProcessLookupError):
            confined.signal(number)

    before = {
        number: signal.signal(number, forward)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        return confined.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        confined.close()
