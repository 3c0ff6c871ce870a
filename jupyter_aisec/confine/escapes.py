"""Named ways out, each tried from inside: a level is what was proved, not what was configured.

An attempt is harmless where it succeeds: it changes a mode to itself, asks for a call with
arguments that do nothing, connects to a socket the keeper opened for this. It returns True where
the way is open.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from . import environment, limits
from ._syscalls import LIBC, machine
from .places import SHARED_MEMORY, TEMPORARY
from .seccomp import REFUSED

__all__ = ["ATTEMPTS", "Canaries", "Surroundings", "open_ways"]

_MSG_FASTOPEN: Final = 0x20000000
_NOWHERE: Final = ("192.0.2.1", 9)  # TEST-NET-1, RFC 5737
_MPTCP: Final = 262
_DISK_TEMPORARY: Final = "/var/tmp"  # noqa: S108 - tried, not used


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the attempts aim at, all of it outside."""

    tcp_port: int
    abstract_name: str
    keeper: int
    hidden: tuple[str, ...] = ()


class Canaries:
    """Listeners outside that a confined process must not reach; close after the attempts."""

    def __init__(self) -> None:
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self._abstract = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.abstract_name = f"aisec-canary-{os.urandom(8).hex()}"
        self._abstract.bind("\0" + self.abstract_name)
        self._abstract.listen()
        self.tcp_port = int(self._tcp.getsockname()[1])

    def close(self) -> None:
        """Stop listening."""
        self._tcp.close()
        self._abstract.close()


def _number(name: str) -> int:
    numbers = REFUSED[name]
    return numbers[("x86_64", "aarch64").index(machine())] or -1


def _call(number: int, *arguments: int) -> int:
    """The errno of a raw call, 0 if it worked."""
    words = [ctypes.c_long(a) for a in arguments]
    if LIBC.syscall(ctypes.c_long(number), *words) >= 0:
        return 0
    return ctypes.get_errno()


def _refused_call(name: str, *arguments: int) -> Callable[[Surroundings], bool]:
    """Open unless the filter itself answers; arguments are such that the kernel would not."""

    def attempt(_: Surroundings) -> bool:
        return _call(_number(name), *arguments) != errno.EPERM

    return attempt


def _absent_call(number: int) -> Callable[[Surroundings], bool]:
    def attempt(_: Surroundings) -> bool:
        return _call(number, 0, 0, 0, 0) != errno.ENOSYS

    return attempt


def _folders() -> tuple[str, ...]:
    """Places on a disk a careless program writes to."""
    home = os.environ.get("HOME", "/")
    return tuple(dict.fromkeys((os.getcwd(), home, _DISK_TEMPORARY, "/usr/local", "/etc", "/")))


def _write(_: Surroundings) -> bool:
    for folder in _folders():
        path = os.path.join(folder, f".aisec-{os.urandom(6).hex()}")
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        except OSError:
            continue
        os.close(descriptor)
        if not _in_memory(path):
            os.unlink(path)
            return True
        os.unlink(path)
    return False


def _in_memory(path: str) -> bool:
    """Whether ``path`` lies on a tmpfs of the inside (a kernel whose home is in memory)."""
    device = os.stat(path).st_dev
    return device in {os.stat(f).st_dev for f in (SHARED_MEMORY, TEMPORARY)} - {os.stat("/").st_dev}


def _unnamed_file(_: Surroundings) -> bool:
    for folder in _folders():
        try:
            os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o600))
        except OSError:
            continue
        if os.stat(folder).st_dev == os.stat("/").st_dev:
            return True
    return False


def _owned() -> tuple[str, ...]:
    return tuple(
        path
        for path in _folders()
        if os.path.isdir(path) and os.stat(path).st_uid == os.geteuid() and not _in_memory(path)
    )


def _mode(_: Surroundings) -> bool:
    return any(_works(os.chmod, path, os.stat(path).st_mode & 0o7777) for path in _owned())


def _owner(_: Surroundings) -> bool:
    return any(_works(os.chown, path, -1, -1) for path in _owned())


def _times(_: Surroundings) -> bool:
    def touch(path: str) -> None:
        seen = os.stat(path)
        os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))

    return any(_works(touch, path) for path in _owned())


def _works(action: Callable[..., object], *arguments: object) -> bool:
    try:
        action(*arguments)
    except OSError:
        return False
    return True


def _connect(surroundings: Surroundings) -> bool:
    with socket.socket() as any_socket:
        any_socket.settimeout(1)
        return _works(any_socket.connect, ("127.0.0.1", surroundings.tcp_port))


def _abstract(surroundings: Surroundings) -> bool:
    with socket.socket(socket.AF_UNIX) as any_socket:
        return _works(any_socket.connect, "\0" + surroundings.abstract_name)


def _fast_open(_: Surroundings) -> bool:
    with socket.socket() as any_socket:
        any_socket.setblocking(False)
        try:
            any_socket.sendto(b"", _MSG_FASTOPEN, ("127.0.0.1", 1))
        except PermissionError:
            return False
        except OSError:
            return True
        return True


def _udp(_: Surroundings) -> bool:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
            any_socket.sendto(b"", _NOWHERE)
    except OSError:
        return False
    return True


def _listen(_: Surroundings) -> bool:
    """A server other machines could reach: only where there is another interface than ``lo``."""
    if all(name == "lo" for _index, name in socket.if_nameindex()):
        return False
    with socket.socket() as any_socket:
        return _works(any_socket.bind, ("0.0.0.0", 0))  # noqa: S104 - the way out itself


def _socket(family: int, kind: int, protocol: int) -> Callable[[Surroundings], bool]:
    def attempt(_: Surroundings) -> bool:
        try:
            socket.socket(family, kind, protocol).close()
        except OSError:
            return False
        return True

    return attempt


def _signal(surroundings: Surroundings) -> bool:
    return _works(os.kill, surroundings.keeper, 0)


def _memory_of_others(surroundings: Surroundings) -> bool:
    def read(path: str) -> None:
        with open(path, "rb"):
            pass

    return _works(read, f"/proc/{surroundings.keeper}/mem")


def _hidden(surroundings: Surroundings) -> bool:
    """Names may be seen where there is no mount namespace; content never."""
    for path in surroundings.hidden:
        try:
            names = [os.path.join(path, name) for name in os.listdir(path)]
        except OSError:
            names = [path]
        if any(_has_content(name) for name in names):
            return True
    return False


def _has_content(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return bool(file.read(1))
    except OSError:
        return False


def _sockets_in_run(_: Surroundings) -> bool:
    """``/run`` is where system services listen: D-Bus, docker, systemd."""
    try:
        return any(not os.path.isdir(f"/run/{name}") for name in os.listdir("/run")) or any(
            os.path.exists(f"/run/{name}")
            for name in ("dbus", "docker.sock", "user", "systemd", "containerd")
        )
    except OSError:
        return False


def _capabilities(_: Surroundings) -> bool:
    with open("/proc/self/status", encoding="utf-8", errors="replace") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    gained = any(int(status[name], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb"))
    return gained or status["NoNewPrivs"] != "1" or status["Seccomp"] != "2"


def _core(_: Surroundings) -> bool:
    return resource.getrlimit(resource.RLIMIT_CORE)[0] > 1 or limits.is_dumpable()


def _variables(_: Surroundings) -> bool:
    try:
        with open("/proc/self/environ", "rb") as file:
            first = [entry.decode(errors="replace") for entry in file.read().split(b"\0")]
    except OSError:  # an ordinary user's undumpable process
        first = []
    pairs = [entry.partition("=")[::2] for entry in first if entry]
    return any(environment.is_secret(name, value) for name, value in (*pairs, *os.environ.items()))


def _disks(_: Surroundings) -> bool:
    """A disk's device shows every file, hidden or not."""
    return any(
        name.startswith(("sd", "vd", "nvme", "dm-", "mem", "kmsg")) for name in os.listdir("/dev")
    )


#: name: (whether even ``partial`` needs it closed, the attempt).
ATTEMPTS: Final[Mapping[str, tuple[bool, Callable[[Surroundings], bool]]]] = {
    "write to a disk": (True, _write),
    "write to an unnamed file": (True, _unnamed_file),
    "change a mode": (False, _mode),
    "change an owner": (False, _owner),
    "change a timestamp": (False, _times),
    "set an extended attribute": (True, _refused_call("fsetxattr", -1, 0, 0, 0, 0)),
    "set inode attributes": (True, _refused_call("file_setattr", -1, 0, 0, 0, 0)),
    "connect by TCP": (True, _connect),
    "send by TCP fast open": (True, _fast_open),
    "send by UDP": (True, _udp),
    "listen for other machines": (True, _listen),
    "multipath TCP": (True, _socket(socket.AF_INET, socket.SOCK_STREAM, _MPTCP)),
    "raw packets": (True, _socket(socket.AF_INET, socket.SOCK_RAW, 1)),
    "packet sockets": (True, _socket(17, socket.SOCK_RAW, 0)),
    "virtual machine sockets": (True, _socket(40, socket.SOCK_STREAM, 0)),
    "other netlink protocols": (True, _socket(16, socket.SOCK_RAW, 15)),
    "UNIX datagrams": (True, _socket(socket.AF_UNIX, socket.SOCK_DGRAM, 0)),
    "an abstract UNIX socket": (False, _abstract),
    "sockets of system services": (False, _sockets_in_run),
    "secrets of the person": (True, _hidden),
    "secrets in the environment": (True, _variables),
    "devices of disks": (False, _disks),
    "signal another process": (False, _signal),
    "memory of another process": (True, _memory_of_others),
    "ptrace": (True, _refused_call("ptrace", -1, 0, 0, 0)),
    "process_vm_readv": (True, _refused_call("process_vm_readv", -1, 0, 0, 0, 0, 0)),
    "io_uring": (True, _absent_call(425)),
    "mount": (True, _refused_call("mount_setattr", -1, 0, 0, 0, 0)),
    "unshare": (True, _refused_call("unshare", 0)),
    "setns": (True, _refused_call("setns", -1, 0)),
    "keys of the kernel": (True, _refused_call("keyctl", -1, 0, 0, 0, 0)),
    "bpf": (True, _refused_call("bpf", -1, 0, 0)),
    "capabilities": (True, _capabilities),
    "core dumps": (True, _core),
}


def open_ways(surroundings: Surroundings) -> tuple[str, ...]:
    """The names of the ways that are open, in the table's order."""
    return tuple(name for name, (_, attempt) in ATTEMPTS.items() if attempt(surroundings))
