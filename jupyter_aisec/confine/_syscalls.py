"""System calls Python's standard library does not have: thin, typed, errors with names.

Every call goes through ``syscall(2)`` or the C library by :mod:`ctypes` and raises
:class:`OSError` with the call's name in it, so that a refusal in a log says what was refused.
Linux on x86-64 and aarch64 only; numbers above 424 are the same on both.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from typing import Any, Final

__all__ = [
    "LIBC",
    "Machine",
    "checked",
    "machine",
    "mount",
    "on_linux",
    "prctl",
    "syscall",
    "umount",
]

Machine = str
"""``"x86_64"`` or ``"aarch64"``: the machines whose system call numbers we know."""


def on_linux() -> bool:
    """True where the confinement can exist at all: Linux on a machine whose calls we know."""
    return sys.platform == "linux" and platform.machine() in {"x86_64", "aarch64"}


def machine() -> Machine:
    """This machine's name as the kernel gives it."""
    return platform.machine()


class _Libc:
    """The C library, loaded on first use so that importing this module works anywhere."""

    _loaded: Any = None

    def __getattr__(self, name: str) -> Any:
        if _Libc._loaded is None:
            _Libc._loaded = ctypes.CDLL(None, use_errno=True)
        return getattr(_Libc._loaded, name)


LIBC: Final = _Libc()


def checked(result: int, what: str) -> int:
    """``result`` of a C library call, or OSError naming ``what`` if it is negative."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _word(value: Any) -> Any:
    """An int as a full machine word: ctypes passes plain ints as 32 bits."""
    return ctypes.c_long(value) if isinstance(value, int) else value


def syscall(name: str, number: int, *arguments: Any) -> int:
    """Make system call ``number``; ``name`` is for the error. Raises OSError."""
    result = LIBC.syscall(ctypes.c_long(number), *(_word(a) for a in arguments))
    return checked(int(result), name)


def prctl(name: str, option: int, *arguments: int) -> int:
    """``prctl(2)``, unused arguments zero. Raises OSError naming ``name``."""
    words = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    return checked(int(LIBC.prctl(ctypes.c_int(option), *words)), f"prctl {name}")


def mount(
    source: str | None, target: str, kind: str | None, flags: int = 0, data: str | None = None
) -> None:
    """``mount(2)``. Raises OSError naming the target."""
    checked(
        int(
            LIBC.mount(
                None if source is None else os.fsencode(source),
                os.fsencode(target),
                None if kind is None else kind.encode(),
                ctypes.c_ulong(flags),
                None if data is None else data.encode(),
            )
        ),
        f"mount {target}",
    )


def umount(target: str, flags: int = 0) -> None:
    """``umount2(2)``. Raises OSError naming the target."""
    checked(int(LIBC.umount2(os.fsencode(target), ctypes.c_int(flags))), f"umount {target}")
