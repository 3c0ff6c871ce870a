"""Namespaces: a world of one's own, without asking an administrator.

A user namespace gives an ordinary person the right to make the others. User and group are mapped
one to one, so files look as they always did; no other id exists inside.

Source: user_namespaces(7), pid_namespaces(7), netdevice(7).
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ._syscalls import LIBC, checked

__all__ = ["Namespaces", "candidates", "loopback_up", "unshare"]

_CLONE_NEWNS: Final = 0x00020000
_CLONE_NEWIPC: Final = 0x08000000
_CLONE_NEWUSER: Final = 0x10000000
_CLONE_NEWPID: Final = 0x20000000
_CLONE_NEWNET: Final = 0x40000000

_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP_AND_RUNNING: Final = 0x41


@dataclass(frozen=True, slots=True)
class Namespaces:
    """Which namespaces to make."""

    user: bool = True
    mount: bool = True
    pid: bool = True
    network: bool = True
    ipc: bool = True

    @property
    def flags(self) -> int:
        """As ``unshare(2)`` wants them."""
        return (
            _CLONE_NEWUSER * self.user
            | _CLONE_NEWNS * self.mount
            | _CLONE_NEWPID * self.pid
            | _CLONE_NEWNET * self.network
            | _CLONE_NEWIPC * self.ipc
        )

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of those not made, the user namespace aside (it is only a means)."""
        return tuple(
            f"{name} namespace"
            for name in ("mount", "pid", "network", "ipc")
            if not getattr(self, name)
        )


def candidates(*, root: bool) -> Iterator[Namespaces]:
    """What to try, best first; the last needs nothing at all.

    Root can do without a user namespace where those are switched off. A container whose ``/proc``
    is partly covered refuses a new one, and with it a PID namespace.
    """
    yield Namespaces()
    if root:
        yield Namespaces(user=False)
    yield Namespaces(pid=False)
    yield Namespaces(False, False, False, False, False)


def unshare(wanted: Namespaces) -> None:
    """Make the namespaces for this process (the PID namespace: for its next children).

    The process must have one thread. Raises OSError where the system says no.
    """
    user, group = os.geteuid(), os.getegid()
    if not wanted.flags:
        return
    checked(int(LIBC.unshare(wanted.flags)), "unshare")
    if wanted.user:
        for name, content in (
            ("setgroups", "deny"),
            ("uid_map", f"{user} {user} 1"),
            ("gid_map", f"{group} {group} 1"),
        ):
            with open(f"/proc/self/{name}", "w", encoding="utf-8") as file:
                file.write(content)


def loopback_up() -> None:
    """Switch on ``lo`` in a new network namespace, its only interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", _IFF_UP_AND_RUNNING)
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, request)
