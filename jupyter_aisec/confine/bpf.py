"""Classic BPF, assembled by us: just enough for a seccomp filter.

A program is a list of instructions with symbolic jump targets; :func:`assemble` turns it into
the kernel's ``struct sock_filter`` array. All loads are of 32-bit words: an ``int`` argument of
a system call is only its low word, and whatever the caller put into the high word must not
change a decision (``socket(2 | 1 << 32, …)`` is an IPv4 socket).

Source: linux/filter.h, linux/seccomp.h, Documentation/userspace-api/seccomp_filter.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = [
    "ARCH",
    "NUMBER",
    "Instruction",
    "assemble",
    "jump_above",
    "jump_any",
    "jump_equal",
    "label",
    "load",
    "low_word",
    "mask",
    "ret",
]

NUMBER: Final = 0
"""Offset of the system call's number in ``struct seccomp_data``."""
ARCH: Final = 4
"""Offset of the audit architecture."""

_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_MASK: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_ABOVE: Final = 0x25  # BPF_JMP | BPF_JGT | BPF_K
_ANY: Final = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_LABEL: Final = -1

_MAX_INSTRUCTIONS: Final = 4096  # BPF_MAXINSNS
_MAX_JUMP: Final = 255  # an 8-bit field


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction; ``then`` and ``other`` name labels, empty meaning the next instruction."""

    code: int
    value: int = 0
    then: str = ""
    other: str = ""


def low_word(argument: int) -> int:
    """Offset of the low 32 bits of an argument (both machines are little-endian)."""
    return 16 + 8 * argument


def load(offset: int) -> Instruction:
    """Load the 32-bit word at ``offset`` of ``struct seccomp_data``."""
    return Instruction(_LOAD, offset)


def mask(bits: int) -> Instruction:
    """Keep only ``bits`` of what was loaded."""
    return Instruction(_MASK, bits)


def jump_equal(value: int, then: str = "", other: str = "") -> Instruction:
    """Go to ``then`` if the word is ``value``, else to ``other``."""
    return Instruction(_EQUAL, value, then, other)


def jump_above(value: int, then: str = "", other: str = "") -> Instruction:
    """Go to ``then`` if the word, unsigned, is greater than ``value``."""
    return Instruction(_ABOVE, value, then, other)


def jump_any(bits: int, then: str = "", other: str = "") -> Instruction:
    """Go to ``then`` if the word has any of ``bits``."""
    return Instruction(_ANY, bits, then, other)


def ret(action: int) -> Instruction:
    """Decide."""
    return Instruction(_RETURN, action)


def label(name: str) -> Instruction:
    """A place to jump to; takes no room."""
    return Instruction(_LABEL, then=name)


def assemble(program: Sequence[Instruction]) -> bytes:
    """The program as the kernel wants it.

    Raises ValueError for a jump that is backward, too far or to no label, and for a program that
    is empty or too long: a mistake of ours, found by tests, never by a user.
    """
    places: dict[str, int] = {}
    real: list[Instruction] = []
    for instruction in program:
        if instruction.code == _LABEL:
            places[instruction.then] = len(real)
        else:
            real.append(instruction)
    if not 0 < len(real) <= _MAX_INSTRUCTIONS:
        raise ValueError(f"a filter of {len(real)} instructions")

    def distance(name: str, at: int) -> int:
        if not name:
            return 0
        far = places[name] - at - 1 if name in places else -1
        if not 0 <= far <= _MAX_JUMP:
            raise ValueError(f"instruction {at} cannot jump to {name!r}")
        return far

    return b"".join(
        struct.pack(
            "=HBBI",
            one.code,
            distance(one.then, at),
            distance(one.other, at),
            one.value & 2**32 - 1,
        )
        for at, one in enumerate(real)
    )
