"""The system call filter: what a confined process may not ask the kernel for.

Landlock and a read-only view of the file system leave ways out that only a filter closes: TCP
fast open sends data without a connect, extended attributes and inode flags are metadata,
``io_uring`` does system calls nobody sees. The filter is a list of refused calls, an allow-list
of kinds of sockets, and ``ENOSYS`` for every number newer than this file, so that a call the
kernel learns tomorrow is refused until someone has read about it.

:func:`program` is pure; :func:`install` loads it for the calling thread and what it starts.
"""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from ._syscalls import Machine, machine, prctl
from .bpf import (
    ARCH,
    NUMBER,
    Instruction,
    assemble,
    jump_above,
    jump_any,
    jump_equal,
    label,
    load,
    low_word,
    ret,
)

__all__ = ["ALLOW", "NEWEST", "REFUSED", "SocketKind", "install", "program", "socket_kinds"]

ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000

NEWEST: Final = 470
"""The newest system call this file has looked at (``listns``, Linux 6.19)."""

_AUDIT_ARCH: Final[dict[Machine, int]] = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32: Final = 0x40000000

#: name: (number on x86-64, number on aarch64); None where the machine does not have it.
REFUSED: Final[dict[str, tuple[int | None, int | None]]] = {
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "process_madvise": (440, 440),
    # the view of the file system
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    # namespaces
    "unshare": (272, 97),
    "setns": (308, 268),
    # metadata that carries bytes, where Landlock does not look
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    # the kernel itself, its keys and its memory of things
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "syslog": (103, 116),
    "acct": (163, 89),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
}

#: Refused as if the kernel did not have them, so that libraries take their older way:
#: glibc starts threads by ``clone`` (whose flags a filter can read; ``clone3``'s it cannot),
#: libuv does without ``io_uring``.
_ABSENT: Final[dict[str, int]] = {
    "clone3": 435,
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
}

_CLONE: Final = (56, 220)
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_CLONE_NEW: Final = 0x7E020000

_SENDTO: Final = (44, 206)
_SENDMSG: Final = (46, 211)
_SENDMMSG: Final = (307, 269)
_MSG_FASTOPEN: Final = 0x20000000

_SETSOCKOPT: Final = (54, 208)
_IPPROTO_TCP: Final = 6
_TCP_FASTOPEN_CONNECT: Final = 30

_IOCTL: Final = (16, 29)
#: TIOCSTI and TIOCLINUX type into a terminal; the others set inode flags, projects, versions.
_IOCTLS: Final = (0x5412, 0x541C, 0x40086602, 0x401C5820, 0x40087602, 0x40046602, 0x40047602)

_SOCKET: Final = (41, 198)
_SOCKETPAIR: Final = (53, 199)
_SOCK_FLAGS: Final = 0x80800  # SOCK_CLOEXEC | SOCK_NONBLOCK

_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_STREAM, _DGRAM, _RAW, _SEQPACKET = 1, 2, 3, 5
_TCP, _UDP = 6, 17


@dataclass(frozen=True, slots=True, order=True)
class SocketKind:
    """What may be asked of ``socket(2)``."""

    family: int
    type: int
    protocol: int


def socket_kinds(*, own_network: bool) -> tuple[SocketKind, ...]:
    """The kinds of sockets a confined process may make.

    UNIX datagram sockets are not among them: they are how programs talk to ``/dev/log``, and
    nothing a notebook needs uses them. Netlink protocol 0 tells a program its interfaces (gloo
    and psutil ask). UDP is allowed only where the network is the process's own and ends at its
    loopback; Landlock cannot refuse it.
    """
    kinds = [
        SocketKind(_AF_UNIX, _STREAM, 0),
        SocketKind(_AF_UNIX, _SEQPACKET, 0),
        SocketKind(_AF_NETLINK, _DGRAM, 0),
        SocketKind(_AF_NETLINK, _RAW, 0),
    ]
    for family in (_AF_INET, _AF_INET6):
        kinds += [SocketKind(family, _STREAM, 0), SocketKind(family, _STREAM, _TCP)]
        if own_network:
            kinds += [SocketKind(family, _DGRAM, 0), SocketKind(family, _DGRAM, _UDP)]
    return tuple(sorted(kinds))


def _refuse(number: int) -> Instruction:
    return ret(_ERRNO | number)


def _on(call: int, name: str, *body: Instruction) -> Iterator[Instruction]:
    """``body`` decides about ``call``; falling out of it allows."""
    yield jump_equal(call, other=f"after {name}")
    yield from body
    yield ret(ALLOW)
    yield label(f"after {name}")


def _flags_clear(name: str, argument: int, bits: int) -> tuple[Instruction, ...]:
    return (
        load(low_word(argument)),
        jump_any(bits, other=f"{name} fine"),
        _refuse(errno.EPERM),
        label(f"{name} fine"),
    )


def _sockets(name: str, kinds: tuple[SocketKind, ...]) -> Iterator[Instruction]:
    """Allow exactly ``kinds``; flags in the type's high bits do not matter."""
    for family, kind, protocol in ((k.family, k.type, k.protocol) for k in kinds):
        this = f"{name} not {family} {kind} {protocol}"
        yield load(low_word(0))
        yield jump_equal(family, other=this)
        yield load(low_word(1))
        yield Instruction(0x54, ~_SOCK_FLAGS)
        yield jump_equal(kind, other=this)
        yield load(low_word(2))
        yield jump_equal(protocol, other=this)
        yield ret(ALLOW)
        yield label(this)
    yield _refuse(errno.EPERM)


def program(on: Machine, *, own_network: bool) -> tuple[Instruction, ...]:
    """The filter for machine ``on``.

    ``own_network``: the process lives in a network namespace with nothing but a loopback.
    """
    column = ("x86_64", "aarch64").index(on)
    code: list[Instruction] = [
        load(ARCH),
        jump_equal(_AUDIT_ARCH[on], then="ours"),
        # As a kernel without 32-bit system calls answers: no call of another machine does
        # anything, and none leaves a line in the audit log with a name chosen inside.
        _refuse(errno.ENOSYS),
        label("ours"),
        load(NUMBER),
    ]
    if on == "x86_64":
        # As a kernel without x32 answers: a kill would leave a line in the system's audit log
        # with the name of the process in it, which anybody inside may choose.
        code += [jump_any(_X32, other="not x32"), _refuse(errno.ENOSYS), label("not x32")]
    code += [jump_above(NEWEST, other="known"), _refuse(errno.ENOSYS), label("known")]
    for call in _ABSENT.values():
        code += [jump_equal(call, other=f"not {call}"), _refuse(errno.ENOSYS), label(f"not {call}")]
    for numbers in REFUSED.values():
        refused = numbers[column]
        if refused is not None:
            code += [
                jump_equal(refused, other=f"not {refused}"),
                _refuse(errno.EPERM),
                label(f"not {refused}"),
            ]
    code += _on(_CLONE[column], "clone", *_flags_clear("clone", 0, _CLONE_NEW))
    code += _on(_SENDTO[column], "sendto", *_flags_clear("sendto", 3, _MSG_FASTOPEN))
    code += _on(_SENDMSG[column], "sendmsg", *_flags_clear("sendmsg", 2, _MSG_FASTOPEN))
    code += _on(_SENDMMSG[column], "sendmmsg", *_flags_clear("sendmmsg", 3, _MSG_FASTOPEN))
    code += _on(
        _SETSOCKOPT[column],
        "setsockopt",
        load(low_word(1)),
        jump_equal(_IPPROTO_TCP, other="setsockopt fine"),
        load(low_word(2)),
        jump_equal(_TCP_FASTOPEN_CONNECT, other="setsockopt fine"),
        _refuse(errno.EPERM),
        label("setsockopt fine"),
    )
    ioctls: list[Instruction] = [load(low_word(1))]
    for request in _IOCTLS:
        ioctls += [
            jump_equal(request, other=f"ioctl not {request}"),
            _refuse(errno.EPERM),
            label(f"ioctl not {request}"),
        ]
    code += _on(_IOCTL[column], "ioctl", *ioctls)
    code += _on(
        _SOCKET[column], "socket", *_sockets("socket", socket_kinds(own_network=own_network))
    )
    pairs = tuple(SocketKind(_AF_UNIX, kind, 0) for kind in (_STREAM, _DGRAM, _SEQPACKET))
    code += _on(_SOCKETPAIR[column], "socketpair", *_sockets("socketpair", pairs))
    code.append(ret(ALLOW))
    return tuple(code)


class _Program(ctypes.Structure):
    """``struct sock_fprog``."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def install(*, own_network: bool) -> None:
    """Put the filter on this thread and everything it starts, for good.

    Needs ``no_new_privs``. Raises OSError if the kernel has no seccomp filters.
    """
    code = assemble(program(machine(), own_network=own_network))
    buffer = ctypes.create_string_buffer(code, len(code))
    fprog = _Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p).value)
    prctl("PR_SET_SECCOMP", 22, 2, ctypes.addressof(fprog))
