"""When something is refused: what happened, and what to do instead.

Our own errors are shown as a short panel without a traceback, for none of its lines is the
reader's fault. An ``OSError`` of the confinement keeps its traceback, and gets a note.
"""

from __future__ import annotations

import errno
import os
from typing import Any

from jupyter_aisec.errors import AisecError

__all__ = ["explain_os_error", "install", "panel", "remove"]

_REFUSED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})


def panel(error: AisecError) -> list[str]:
    """The lines that stand for a traceback of ours."""
    lines = [f"{type(error).__name__}: {error.what}"]
    if error.next:
        lines.append(f"→ {error.next}")
    return [*lines, f"  ({error.code})"]


def explain_os_error(error: OSError, *, scratch: str) -> str | None:
    """Why the secure kernel refused it, or None if it was not the confinement."""
    if error.errno not in _REFUSED:
        return None
    where = (
        f" to {os.fsdecode(error.filename)!r}" if isinstance(error.filename, str | bytes) else ""
    )
    return (
        f"This is the secure kernel: it lets nothing be written{where}, so that no sealed data\n"
        "reaches a disk in plaintext. Nothing was written. Instead:\n"
        "  • keep a result:      %save_secure EXPRESSION as results/NAME   (or weights/NAME)\n"
        f"  • a temporary file:   write below $AISEC_SCRATCH ({scratch}), which is in memory"
    )


def install(shell: Any) -> None:
    """Explains from now on; a handler of the user's own, set later, takes its place."""
    shell.set_custom_exc((AisecError, OSError), _handle)


def remove(shell: Any) -> None:
    if shell.custom_exceptions == (AisecError, OSError):
        shell.set_custom_exc((), None)


def _handle(
    shell: Any,
    kind: type[BaseException],
    error: BaseException,
    tb: Any,
    tb_offset: int | None = None,
) -> list[str]:
    if isinstance(error, AisecError):
        lines = panel(error)
        shell._showtraceback(kind, error, lines)
        return lines
    scratch = os.environ.get("AISEC_SCRATCH")
    if scratch is not None and isinstance(error, OSError):  # only the secure kernel has one
        note = explain_os_error(error, scratch=scratch)
        if note is not None and note not in getattr(error, "__notes__", ()):
            error.add_note(note)  # IPython shows notes below the traceback
    shell.showtraceback((kind, error, tb), tb_offset=tb_offset)
    return list(getattr(shell, "_last_traceback", None) or [])
