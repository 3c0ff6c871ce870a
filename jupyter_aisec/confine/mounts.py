"""The view of the file system from inside: readable as before, writable only in memory.

In a mount namespace of its own every mount is made read-only (which stops ``chmod``, timestamps
and extended attributes too, where Landlock does not look), then private memory is laid over
``/tmp``, ``/dev/shm`` and a small ``/dev``; secrets and every folder of sockets are covered.

Source: mount_setattr(2), open_tree(2), proc(5), user_namespaces(7).
"""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from ._syscalls import mount, syscall
from .places import SHARED_MEMORY, TEMPORARY

__all__ = ["View", "beneath", "listening_paths", "make_view"]

_AT_FDCWD: Final = -100
_AT_EMPTY_PATH: Final = 0x1000
_AT_RECURSIVE: Final = 0x8000
_OPEN_TREE_CLONE: Final = 1
_OPEN_TREE_CLOEXEC: Final = os.O_CLOEXEC
_MOVE_MOUNT_F_EMPTY_PATH: Final = 4
_ATTR_RDONLY: Final = 1
_ATTR_NOSUID: Final = 2

_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 1, 2, 4, 8
_MS_REC, _MS_PRIVATE = 16384, 1 << 18

#: Devices with no memory, and those a GPU needs. Everything else in ``/dev`` is gone: a disk's
#: device would show what the mounts hide.
_DEVICES: Final = ("null", "zero", "full", "random", "urandom", "tty")
_GPU_DEVICES: Final = ("nvidia", "dri", "kfd")
_LINKS: Final = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


@dataclass(frozen=True, slots=True)
class View:
    """What the inside sees."""

    hide: tuple[str, ...] = ()
    """Files and folders that look empty."""
    keep: tuple[str, ...] = ()
    """What stays visible, read-only, though it lies under ``/tmp``, ``/run`` or ``/dev/shm``."""
    own_proc: bool = True
    """Whether the process lives in its own PID namespace and so can have its own ``/proc``."""


def beneath(folder: str, paths: Iterable[str]) -> tuple[str, ...]:
    """Those of ``paths`` strictly beneath ``folder``, outermost only."""
    prefix = folder.rstrip("/") + "/"
    inside = sorted({p for p in map(os.path.normpath, paths) if p.startswith(prefix)})
    outer: list[str] = []
    for path in inside:
        if not outer or not path.startswith(outer[-1] + "/"):
            outer.append(path)
    return tuple(outer)


def listening_paths(table: str) -> tuple[str, ...]:
    """Path names of the UNIX sockets in ``table``, the text of ``/proc/net/unix``.

    A connection needs no right to write anywhere and passes read-only mounts.
    """
    found = set()
    for line in table.splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) == 8 and fields[7].startswith("/"):
            found.add(fields[7])
    return tuple(sorted(found))


class _Attributes(ctypes.Structure):
    """``struct mount_attr``."""

    _fields_ = (
        ("set", ctypes.c_uint64),
        ("clear", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("user_namespace", ctypes.c_uint64),
    )


def _read_only(path: str, *, recursive: bool) -> None:
    attributes = _Attributes(_ATTR_RDONLY | _ATTR_NOSUID)
    syscall(
        f"mount_setattr {path}",
        442,
        _AT_FDCWD,
        os.fsencode(path),
        _AT_RECURSIVE if recursive else 0,
        ctypes.byref(attributes),
        ctypes.sizeof(attributes),
    )


def _clone(path: str) -> int:
    """A detached copy of the mounts at ``path``, to attach elsewhere."""
    return syscall(
        f"open_tree {path}",
        428,
        _AT_FDCWD,
        os.fsencode(path),
        _OPEN_TREE_CLONE | _OPEN_TREE_CLOEXEC | _AT_RECURSIVE,
    )


def _attach(tree: int, path: str) -> None:
    try:
        syscall(
            f"move_mount {path}",
            429,
            tree,
            b"",
            _AT_FDCWD,
            os.fsencode(path),
            _MOVE_MOUNT_F_EMPTY_PATH,
        )
    finally:
        os.close(tree)


def _place_for(path: str, *, folder: bool) -> None:
    """Make an empty file or folder to mount on."""
    os.makedirs(path if folder else os.path.dirname(path), exist_ok=True)
    if not folder:
        os.close(os.open(path, os.O_CREAT | os.O_CLOEXEC, 0o444))


def _memory(path: str, options: str, flags: int = 0) -> None:
    mount("tmpfs", path, "tmpfs", flags | _MS_NOSUID | _MS_NODEV, options)


def _cover(folder: str, keep: Sequence[str], options: str, *, writable: bool) -> None:
    """Lay private memory over ``folder``; what is kept beneath it shows through, read-only."""
    trees = [(path, os.path.isdir(path), _clone(path)) for path in keep if os.path.exists(path)]
    _memory(folder, options)
    for path, is_folder, tree in trees:
        _place_for(path, folder=is_folder)
        _attach(tree, path)
    if not writable:
        _read_only(folder, recursive=False)


def _own_devices(keep: Sequence[str]) -> None:
    names = [name for name in _DEVICES if os.path.exists(f"/dev/{name}")]
    names += [name for name in sorted(os.listdir("/dev")) if name.startswith(_GPU_DEVICES)]
    trees = [(name, os.path.isdir(f"/dev/{name}"), _clone(f"/dev/{name}")) for name in names]
    kept = [(path, os.path.isdir(path), _clone(path)) for path in keep if os.path.exists(path)]
    _memory("/dev", "mode=0755")
    for name, is_folder, tree in trees:
        _place_for(f"/dev/{name}", folder=is_folder)
        _attach(tree, f"/dev/{name}")
    for name, target in _LINKS.items():
        os.symlink(target, f"/dev/{name}")
    for name in ("pts", "shm"):
        os.mkdir(f"/dev/{name}")
    mount("devpts", "/dev/pts", "devpts", _MS_NOSUID | _MS_NOEXEC, "newinstance,ptmxmode=0666")
    _memory(SHARED_MEMORY, "mode=1777")
    for path, is_folder, tree in kept:
        _place_for(path, folder=is_folder)
        _attach(tree, path)
    _read_only("/dev", recursive=False)


def _own_processes() -> None:
    """A ``/proc`` of the new PID namespace, where only processes' own files can be written.

    To root the rest of it is a way to write: ``sysctl`` values, ``sysrq-trigger``.
    """
    mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
    for name in os.listdir("/proc"):
        path = f"/proc/{name}"
        if name.isdigit() or os.path.islink(path):
            continue
        with suppress(FileNotFoundError):
            mode = os.stat(path).st_mode
            if stat.S_ISDIR(mode) or mode & 0o222:
                _attach(_clone(path), path)
                _read_only(path, recursive=False)


def _hide(path: str) -> None:
    with suppress(FileNotFoundError, PermissionError, NotADirectoryError):
        if os.path.isdir(path):
            _memory(path, "mode=0555,size=4k", _MS_RDONLY)
        elif os.path.lexists(path):
            _attach(_clone("/dev/null"), path)


def make_view(view: View, sockets: Sequence[str]) -> None:
    """Turn the new mount namespace of this process into ``view``.

    ``sockets``: path names of UNIX sockets to cover, from :func:`listening_paths` read before.
    Raises OSError where the system says no; the process must then end.
    """
    here = os.getcwd()
    # Private, not a slave: what the host mounts later would arrive here writable.
    mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    _read_only("/", recursive=True)
    if view.own_proc:
        _own_processes()
    _own_devices(beneath(SHARED_MEMORY, view.keep))
    _cover(TEMPORARY, beneath(TEMPORARY, view.keep), "mode=1777", writable=True)
    _cover("/run", beneath("/run", view.keep), "mode=0755", writable=False)
    for path in (*view.hide, *sockets):
        _hide(os.path.realpath(path))
    try:
        os.chdir(here)
    except OSError:  # it was hidden
        os.chdir("/")
