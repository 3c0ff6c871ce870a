"""When something is refused: what happened, and what to do instead.

Our own errors are shown as a short panel without a traceback, for none of its lines is the
reader's fault. An error of the confinement keeps its traceback, and gets a note: an ``OSError``,
or what a library made of one (torch says ``RuntimeError``, with the system's words in it).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

from jupyter_aisec.errors import AisecError

__all__ = ["explain_refusal", "install", "panel", "remove"]

_KINDS = (Exception,)
_REFUSED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
# As libraries quote it; EPERM's words are those of many other things too.
_IN_WORDS = (os.strerror(errno.EROFS), os.strerror(errno.EACCES))


def panel(error: AisecError) -> list[str]:
    """The lines that stand for a traceback of ours."""
    lines = [f"{type(error).__name__}: {error.what}"]
    if error.next:
        lines.append(f"→ {error.next}")
    return [*lines, f"  ({error.code})"]


def explain_refusal(error: BaseException, *, scratch: str) -> str | None:
    """Why the secure kernel refused it, or None if it was not the confinement."""
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno in _REFUSED:
            name = one.filename
            where = f" to {os.fsdecode(name)!r}" if isinstance(name, str | bytes) else ""
            break
        if not isinstance(one, AisecError) and any(words in str(one) for words in _IN_WORDS):
            where = ""
            break
    else:
        return None
    return (
        f"This is the secure kernel: it lets nothing be written{where}, so that no sealed data\n"
        "reaches a disk in plaintext. Nothing was written. Instead:\n"
        "  • keep a result:      %save_secure EXPRESSION as results/NAME   (or weights/NAME)\n"
        f"  • a temporary file:   write below $AISEC_SCRATCH ({scratch}), which is in memory"
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that a traceback shows above it."""
    one: BaseException | None = error
    seen: set[int] = set()
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def install(shell: Any) -> None:
    """Explains from now on; a handler of the user's own, set later, takes its place."""
    shell.set_custom_exc(_KINDS, _handle)


def remove(shell: Any) -> None:
    if shell.custom_exceptions == _KINDS:
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
    if scratch is not None:  # only the secure kernel has one
        note = explain_refusal(error, scratch=scratch)
        if note is not None and note not in getattr(error, "__notes__", ()):
            error.add_note(note)  # IPython shows notes below the traceback
    shell.showtraceback((kind, error, tb), tb_offset=tb_offset, running_compiled_code=True)
    return list(getattr(shell, "_last_traceback", None) or [])
