"""The system call filter, run by a small BPF machine of our own on every call that matters."""

from __future__ import annotations

import errno
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_aisec.confine import bpf, seccomp

ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
EPERM, ENOSYS = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
NUMBERS = {
    "socket": (41, 198),
    "socketpair": (53, 199),
    "sendto": (44, 206),
    "sendmsg": (46, 211),
    "sendmmsg": (307, 269),
    "clone": (56, 220),
    "ioctl": (16, 29),
    "setsockopt": (54, 208),
    "read": (0, 63),
    "execve": (59, 221),
    "connect": (42, 203),
}


def decide(code: bytes, arch: int, number: int, *arguments: int) -> int:
    """What the kernel would: classic BPF over ``struct seccomp_data``."""
    words = [a & 2**64 - 1 for a in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    data = struct.pack("<IIQ6Q", number & 2**32 - 1, arch, 0, *words)
    at, loaded = 0, 0
    while True:
        operation, then, other, value = struct.unpack_from("=HBBI", code, 8 * at)
        at += 1
        if operation == 0x20:
            (loaded,) = struct.unpack_from("<I", data, value)
        elif operation == 0x54:
            loaded &= value
        elif operation == 0x06:
            return int(value)
        else:
            holds = {
                0x15: loaded == value,
                0x25: loaded > value,
                0x45: bool(loaded & value),
            }[operation]
            at += then if holds else other


@pytest.fixture(scope="module", params=["x86_64", "aarch64"])
def machine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=[True, False], ids=["own network", "shared network"])
def filtered(machine: str, request: pytest.FixtureRequest):  # type: ignore[no-untyped-def]
    code = bpf.assemble(seccomp.program(machine, own_network=request.param))
    column = list(ARCH).index(machine)

    def run(name: str | int, *arguments: int, arch: int = ARCH[machine]) -> int:
        if isinstance(name, int):
            number = name
        else:
            number = (NUMBERS.get(name) or seccomp.REFUSED[name])[column]  # type: ignore[assignment]
        return decide(code, arch, number, *arguments)

    run.own_network = request.param  # type: ignore[attr-defined]
    return run


@pytest.mark.parametrize("name", sorted(seccomp.REFUSED))
def test_refused_call(filtered, machine: str, name: str) -> None:
    if seccomp.REFUSED[name][list(ARCH).index(machine)] is not None:
        assert filtered(name) == EPERM


@pytest.mark.parametrize("name", ["read", "execve", "connect"])
def test_ordinary_call(filtered, name: str) -> None:
    assert filtered(name, 1, 2, 3) == seccomp.ALLOW


@pytest.mark.parametrize("number", [425, 426, 427, 435, seccomp.NEWEST + 1, 2**20])
def test_absent_call(filtered, number: int) -> None:
    assert filtered(number) == ENOSYS


@pytest.mark.parametrize("number", [0, 1, 41, 257, seccomp.NEWEST, 2**31])
def test_a_call_of_another_machine_is_absent(filtered, number: int) -> None:
    """A kill would leave a line in the audit log, with a name that was chosen inside."""
    assert filtered(number, arch=0x40000003) == ENOSYS


@pytest.mark.parametrize("number", [0, 1, 41, 512, 2**30 - 1])
def test_a_call_of_x32_is_absent(number: int) -> None:
    code = bpf.assemble(seccomp.program("x86_64", own_network=True))
    assert decide(code, ARCH["x86_64"], 0x40000000 | number) == ENOSYS


ALLOWED = [
    (socket.AF_UNIX, socket.SOCK_STREAM, 0),
    (socket.AF_UNIX, socket.SOCK_SEQPACKET, 0),
    (socket.AF_INET, socket.SOCK_STREAM, 6),
    (socket.AF_INET6, socket.SOCK_STREAM, 0),
    (socket.AF_NETLINK, socket.SOCK_RAW, 0),
]


@pytest.mark.parametrize("kind", ALLOWED, ids=str)
@pytest.mark.parametrize("flags", [0, socket.SOCK_CLOEXEC, socket.SOCK_NONBLOCK])
def test_allowed_socket(filtered, kind: tuple[int, int, int], flags: int) -> None:
    family, type_, protocol = kind
    assert filtered("socket", family, type_ | flags, protocol) == seccomp.ALLOW


def test_udp_only_in_a_network_of_its_own(filtered) -> None:
    expected = seccomp.ALLOW if filtered.own_network else EPERM
    assert filtered("socket", socket.AF_INET, socket.SOCK_DGRAM, 0) == expected
    assert filtered("socket", socket.AF_INET6, socket.SOCK_DGRAM, 17) == expected


@given(
    family=st.integers(0, 50),
    type_=st.integers(0, 15),
    protocol=st.integers(0, 300),
    high=st.integers(0, 2**32 - 1),
)
def test_only_the_listed_sockets_whatever_the_high_words(
    family: int, type_: int, protocol: int, high: int
) -> None:
    for name, column in (("x86_64", 0), ("aarch64", 1)):
        code = bpf.assemble(seccomp.program(name, own_network=True))
        wanted = seccomp.SocketKind(family, type_, protocol)
        listed = wanted in seccomp.socket_kinds(own_network=True)
        came = decide(
            code,
            ARCH[name],
            NUMBERS["socket"][column],
            family | high << 32,
            type_ | high << 32,
            protocol | high << 32,
        )
        assert came == (seccomp.ALLOW if listed else EPERM)


@pytest.mark.parametrize("kind", [1, 2, 5])
def test_pairs_of_unix_sockets(filtered, kind: int) -> None:
    assert filtered("socketpair", socket.AF_UNIX, kind | socket.SOCK_CLOEXEC, 0) == seccomp.ALLOW
    assert filtered("socketpair", socket.AF_INET, kind, 0) == EPERM


@pytest.mark.parametrize(("name", "place"), [("sendto", 3), ("sendmsg", 2), ("sendmmsg", 3)])
def test_fast_open(filtered, name: str, place: int) -> None:
    arguments = [7, 7, 7, 7]
    arguments[place] = 0x4000
    assert filtered(name, *arguments) == seccomp.ALLOW
    arguments[place] |= 0x20000000
    assert filtered(name, *arguments) == EPERM


@pytest.mark.parametrize("bit", [17, 25, 26, 27, 28, 29, 30])
def test_clone_makes_threads_but_no_namespaces(filtered, bit: int) -> None:
    assert filtered("clone", 0x3D0F00) == seccomp.ALLOW
    assert filtered("clone", 17 | 1 << bit) == EPERM


def test_setsockopt_and_ioctl(filtered) -> None:
    assert filtered("setsockopt", 3, 6, 1) == seccomp.ALLOW
    assert filtered("setsockopt", 3, 1, 30) == seccomp.ALLOW
    assert filtered("setsockopt", 3, 6, 30) == EPERM
    assert filtered("ioctl", 0, 0x5401) == seccomp.ALLOW
    assert filtered("ioctl", 0, 0x5412 | 7 << 32) == EPERM


@pytest.mark.parametrize(
    "program",
    [
        pytest.param([], id="empty"),
        pytest.param([bpf.jump_equal(1, then="nowhere"), bpf.ret(0)], id="no such label"),
        pytest.param(
            [bpf.label("back"), bpf.load(0), bpf.jump_equal(1, then="back"), bpf.ret(0)],
            id="backward",
        ),
        pytest.param(
            [bpf.jump_equal(1, then="far"), *[bpf.load(0)] * 256, bpf.label("far"), bpf.ret(0)],
            id="too far",
        ),
        pytest.param([bpf.ret(0)] * 4097, id="too long"),
    ],
)
def test_a_program_that_is_none(program: list[bpf.Instruction]) -> None:
    with pytest.raises(ValueError, match=r"instruction"):
        bpf.assemble(program)
