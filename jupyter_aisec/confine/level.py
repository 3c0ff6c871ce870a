"""The isolation level: what the confinement proved by trying.

``full``: nothing is missing and no way out is open. ``partial``: files, network and other
processes' memory are shut off, but something named is missing. ``none``: anything less.

What ``full`` does not say: a UNIX socket made after the start, by somebody outside and in a
folder that stays visible, can be connected to; those of before are covered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["Level", "LevelName", "at_least", "judge"]

LevelName = Literal["full", "partial", "none"]
_ORDER: Final[tuple[LevelName, ...]] = ("none", "partial", "full")


@dataclass(frozen=True, slots=True)
class Level:
    """A level and why it is no higher."""

    name: LevelName
    missing: tuple[str, ...] = ()
    """Parts of the confinement that could not be made, then ways out found open."""

    def __str__(self) -> str:
        return f"{self.name} (missing: {', '.join(self.missing)})" if self.missing else self.name


def at_least(level: LevelName, wanted: LevelName) -> bool:
    """Whether ``level`` is ``wanted`` or more."""
    return _ORDER.index(level) >= _ORDER.index(wanted)


def judge(
    missing_parts: Sequence[str], open_ways: Sequence[str], essential: Sequence[str]
) -> Level:
    """The level of a confinement without ``missing_parts`` that left ``open_ways``.

    ``essential``: the ways even ``partial`` must close.
    """
    missing = (*missing_parts, *open_ways)
    if not missing:
        return Level("full")
    if set(open_ways) & set(essential):
        return Level("none", missing)
    return Level("partial", missing)
