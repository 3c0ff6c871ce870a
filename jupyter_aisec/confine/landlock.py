"""Landlock: no write outside the private memory, whatever the mounts say.

The ruleset handles every right that writes and grants it only beneath the places given. Where
there is no mount namespace it also handles reading files, to keep secrets hidden; where there is no
network namespace it handles TCP. Rights an older kernel does not know are left out, and
:func:`abi` says what is there (0: none).

Source: linux/landlock.h; Documentation/userspace-api/landlock.rst.
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ._syscalls import syscall

__all__ = ["Ruleset", "abi", "readable_without", "restrict", "scopes", "write_rights"]

_CREATE, _ADD, _RESTRICT = 444, 445, 446

EXECUTE, WRITE_FILE, READ_FILE = 1 << 0, 1 << 1, 1 << 2
_MAKE_AND_REMOVE: Final = sum(1 << bit for bit in range(4, 13))
_MAKE_CHAR, _MAKE_BLOCK = 1 << 6, 1 << 11
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
RESOLVE_UNIX = 1 << 16
_BIND_TCP, _CONNECT_TCP = 1, 2
_SCOPE_ABSTRACT, _SCOPE_SIGNAL = 1, 2
_FILE_RIGHTS: Final = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV | RESOLVE_UNIX


def abi() -> int:
    """The kernel's Landlock version; 0 where there is none or it is off."""
    try:
        return syscall("landlock_create_ruleset", _CREATE, None, 0, 1)
    except OSError:
        return 0


def write_rights(version: int) -> int:
    """Every right of ABI ``version`` that lets something out of a process into a file."""
    rights = WRITE_FILE | _MAKE_AND_REMOVE
    if version >= 2:
        rights |= REFER
    if version >= 3:
        rights |= TRUNCATE
    if version >= 5:
        rights |= IOCTL_DEV
    if version >= 9:
        rights |= RESOLVE_UNIX
    return rights


def scopes(version: int) -> int:
    """Abstract UNIX sockets and signals to processes outside: scoped since ABI 6."""
    return _SCOPE_ABSTRACT | _SCOPE_SIGNAL if version >= 6 else 0


def readable_without(
    hidden: Sequence[str], listing: Callable[[str], Iterable[str]]
) -> tuple[str, ...]:
    """The paths to allow so that everything is readable but ``hidden``.

    Landlock only allows, so a folder on the way to a hidden one is opened up into its children.
    What is created later directly in such a folder stays unreadable, and the names of what is
    hidden can be listed: the price of having no mount namespace.
    """
    secret = {os.path.normpath(path) for path in hidden}

    def split(folder: str) -> Iterable[str]:
        prefix = folder.rstrip("/") + "/"
        if not any(path.startswith(prefix) for path in secret):
            yield folder
            return
        for name in listing(folder):
            child = prefix + name
            if child not in secret:
                yield from split(child)

    return tuple(split("/"))


class _RulesetAttributes(ctypes.Structure):
    _fields_ = (
        ("handled_fs", ctypes.c_uint64),
        ("handled_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


class _NetPort(ctypes.Structure):
    _fields_ = (("allowed", ctypes.c_uint64), ("port", ctypes.c_uint64))


@dataclass(frozen=True, slots=True)
class Ruleset:
    """What stays possible. Paths that do not exist are passed over."""

    writable: tuple[str, ...] = ()
    """Folders in memory, and device files."""
    written_only: tuple[str, ...] = ("/proc",)
    """Folders whose existing files may be written, but nothing made or removed."""
    readable: tuple[str, ...] | None = None
    """Where reading stays possible; None leaves reading to the mounts."""
    connect_ports: tuple[int, ...] | None = None
    """TCP ports of this machine's network that may be connected to; None leaves TCP alone."""


def restrict(ruleset: Ruleset, version: int) -> None:
    """Put ``ruleset`` on the calling thread and everything it starts, for good.

    ``version`` is :func:`abi`'s. Needs ``no_new_privs``. Raises OSError.
    """
    writing = write_rights(version)
    reading = READ_FILE if ruleset.readable is not None else 0
    ports = ruleset.connect_ports if version >= 4 else None
    attributes = _RulesetAttributes(
        writing | reading,
        0 if ports is None else _BIND_TCP | _CONNECT_TCP,
        scopes(version),
    )
    # An older kernel refuses a longer structure unless the rest is zero, which it then is.
    rules = syscall(
        "landlock_create_ruleset", _CREATE, ctypes.byref(attributes), ctypes.sizeof(attributes), 0
    )
    try:
        for path in ruleset.readable or ():
            _allow(rules, path, reading)
        for path in ruleset.writable:
            # Device files made in memory would still reach the device.
            _allow(rules, path, (writing & ~(_MAKE_CHAR | _MAKE_BLOCK)) | reading)
        for path in ruleset.written_only:
            _allow(rules, path, (WRITE_FILE | TRUNCATE) & writing | reading)
        for port in ports or ():
            rule = _NetPort(_CONNECT_TCP, port)
            syscall("landlock_add_rule", _ADD, rules, 2, ctypes.byref(rule), 0)
        syscall("landlock_restrict_self", _RESTRICT, rules, 0)
    finally:
        os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    with suppress(FileNotFoundError, PermissionError, NotADirectoryError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
                rights &= _FILE_RIGHTS
            if rights:
                beneath = _PathBeneath(rights, descriptor)
                syscall("landlock_add_rule", _ADD, rules, 1, ctypes.byref(beneath), 0)
        finally:
            os.close(descriptor)
