"""When something is refused: what happened, and what to do instead.

Our own errors are shown as a short panel without a traceback, for none of its lines is the
reader's fault; so is the interrupt that the end of a grant brings. An error of the confinement
keeps its traceback, and gets a note: an ``OSError``, or what a library made of one (torch says
``RuntimeError``, with the system's words in it).
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

from jupyter_aisec.errors import AisecError

__all__ = ["explain_refusal", "install", "panel", "remove"]

_KINDS = (Exception, KeyboardInterrupt)
_REFUSED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_UNREACHED = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN})
# As libraries quote it; EPERM's words are those of many other things too.
_IN_WORDS = (os.strerror(errno.EROFS), os.strerror(errno.EACCES))
_NO_NETWORK = (
    "This is the secure kernel: it has no network but the way to sealed artifacts, so that no\n"
    "sealed data leaves it. Instead:\n"
    "  • data or weights:    have their owner seal them, then %grant request and %load_secure\n"
    "  • a package:          install it from a terminal, then restart this kernel"
)


def panel(error: AisecError) -> list[str]:
    """The lines that stand for a traceback of ours."""
    lines = [f"{type(error).__name__}: {error.what}"]
    if error.next:
        lines.append(f"→ {error.next}")
    return [*lines, f"  ({error.code})"]


def explain_refusal(error: BaseException, *, scratch: str) -> str | None:
    """Why the secure kernel refused it, or None if it was not the confinement."""
    for one in _chain(error):
        if _is_network(one):
            return _NO_NETWORK
        if isinstance(one, OSError) and one.errno in _REFUSED:
            return _refused(one, scratch)
        if not isinstance(one, AisecError) and any(words in str(one) for words in _IN_WORDS):
            return _refused(OSError(errno.EROFS, ""), scratch)
    return None


def _refused(error: OSError, scratch: str) -> str:
    file = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
    if error.errno == errno.EROFS:
        what = f"it lets nothing be written{f' to {file!r}' if file else ''}, so that"
    else:  # a write, or a look at what is not this notebook's
        what = f"it keeps {repr(file) if file else 'this'} closed. No key may be read, and"
    return (
        f"This is the secure kernel: {what} no sealed data\n"
        "reaches a disk in plaintext. Nothing was written. Instead:\n"
        "  • keep a result:      %save_secure EXPRESSION as results/NAME   (or weights/NAME)\n"
        f"  • a temporary file:   write below $AISEC_SCRATCH ({scratch}), which is in memory"
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that a traceback shows above it; what urllib wraps, too."""
    one: BaseException | None = error
    seen: set[int] = set()
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        reason = getattr(one, "reason", None)  # urllib's
        if isinstance(reason, BaseException):
            one = reason
        else:
            one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)


def _is_network(error: BaseException) -> bool:
    return isinstance(error, socket.gaierror) or (
        isinstance(error, OSError) and error.errno in _UNREACHED
    )


def install(shell: Any, stopping: Callable[[], AisecError | None]) -> None:
    """Explains from now on; a handler of the user's own, set later, takes its place.

    ``stopping()`` is why the running cell is being stopped, where the end of a grant does it.
    """

    def handle(
        shell: Any, kind: type[BaseException], error: BaseException, tb: Any, tb_offset: Any = None
    ) -> list[str]:
        shown = stopping() if isinstance(error, KeyboardInterrupt) else error
        if isinstance(shown, AisecError):
            lines = panel(shown)
            shell._showtraceback(type(shown), shown, lines)
            return lines
        return _annotate(shell, kind, error, tb, tb_offset)

    shell.set_custom_exc(_KINDS, handle)


def remove(shell: Any) -> None:
    if shell.custom_exceptions == _KINDS:
        shell.set_custom_exc((), None)


def _annotate(
    shell: Any, kind: type[BaseException], error: BaseException, tb: Any, tb_offset: int | None
) -> list[str]:
    """The traceback as ever, with a note where the confinement was the cause."""
    scratch = os.environ.get("AISEC_SCRATCH")
    if scratch is not None:  # only the secure kernel has one
        note = explain_refusal(error, scratch=scratch)
        if note is not None and note not in getattr(error, "__notes__", ()):
            error.add_note(note)  # IPython shows notes below the traceback
    shell.showtraceback((kind, error, tb), tb_offset=tb_offset, running_compiled_code=True)
    return list(getattr(shell, "_last_traceback", None) or [])
