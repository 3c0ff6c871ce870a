"""Limits per person and hour: how much of each is used, when one is reached, and in what words.

An hour slides: what happened at a moment counts until an hour later, and not at that moment any
more. What counts is what the fold keeps of each account (:class:`Usage`); the accounts of one
human being are counted together, so that a second one does not double anything. A version
counts once, however often its keys are released within the hour: a kernel that starts again
opens the same data again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import UNSET, Meta, UnsetType

from jupyter_aisec.errors import RefusedError, UsageError
from jupyter_aisec.grants.catalog import ArtifactVersion
from jupyter_aisec.times import format_time

__all__ = [
    "HOUR",
    "LimitName",
    "LimitReachedError",
    "Limits",
    "Opened",
    "Reached",
    "Usage",
    "describe_limits",
    "opening_reached",
    "overused",
    "parse_limits",
    "request_reached",
    "used",
    "used_of",
]

HOUR = timedelta(hours=1)
LimitName = Literal["grants", "artifacts", "bytes"]
_MOST = 1_000_000  # requests or versions in an hour: more is no limit
_MOST_BYTES = 10**15
_SIZE = re.compile(r"([1-9][0-9]{0,15}) ?(B|kB|MB|GB|TB|KiB|MiB|GiB|TiB)")
_UNITS = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12} | {
    "KiB": 1 << 10,
    "MiB": 1 << 20,
    "GiB": 1 << 30,
    "TiB": 1 << 40,
}


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The most that a person may do in any hour; what is left out is not limited.

    ``grants`` are requests made, ``artifacts`` the distinct versions whose keys, or the keys of
    whose outputs, were released, and ``bytes`` the sealed bytes of those versions.
    """

    grants: Annotated[int, Meta(ge=1, le=_MOST)] | UnsetType = UNSET
    artifacts: Annotated[int, Meta(ge=1, le=_MOST)] | UnsetType = UNSET
    bytes: Annotated[int, Meta(ge=1, le=_MOST_BYTES)] | UnsetType = UNSET

    def __post_init__(self) -> None:
        if all(self.most(name) is None for name in get_args(LimitName)):
            raise ValueError("limits name none: leave them out")

    def most(self, name: LimitName) -> int | None:
        """That limit; None where there is none."""
        found: int | UnsetType = getattr(self, name)
        return None if found is UNSET else found


def parse_limits(table: object, text: str) -> Limits:
    """The ``[limits]`` of a policy file; raises UsageError naming the line in ``text``."""
    known = ", ".join(get_args(LimitName))
    if not isinstance(table, dict):
        raise UsageError(f"{_line(text, '')}Limits are written as a table: [limits].")
    if not table:
        raise UsageError(f"{_line(text, '')}[limits] names none of {known}: leave it out.")
    for key in table:
        if key not in get_args(LimitName):
            raise UsageError(
                f"{_line(text, key)}[limits] has an unknown key {key!r}; known are {known}."
            )
    return Limits(**{key: _number(key, value, text) for key, value in table.items()})


def _number(key: str, value: object, text: str) -> int:
    if key == "bytes":
        match = _SIZE.fullmatch(value) if isinstance(value, str) else None
        number = int(match[1]) * _UNITS[match[2]] if match else 0
        if not 1 <= number <= _MOST_BYTES:
            raise UsageError(
                f"{_line(text, key)}[limits]: `bytes` is a size from 1B to 1000TB, written like "
                f'"100GB"; known are {", ".join(_UNITS)}.'
            )
        return number
    if type(value) is not int or not 1 <= value <= _MOST:
        raise UsageError(
            f"{_line(text, key)}[limits]: `{key}` is a number from 1 to {_MOST:,}. To let nobody "
            "ask, write a rule that denies."
        )
    return value


def format_size(size: int) -> str:
    """Bytes as a policy file says them: the inverse of what is read, in the largest whole unit."""
    unit = max((unit for unit in _UNITS if size % _UNITS[unit] == 0), key=_UNITS.__getitem__)
    return f"{size // _UNITS[unit]}{unit}"


def _line(text: str, key: str) -> str:
    """``"Line 7: "`` where ``key`` of the limits is set, or else where the limits begin."""
    inside, begins = False, ""
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(r"\s*\[", line):
            inside = bool(re.match(r"\s*\[\s*[\"']?limits[\"']?\s*\]", line))
        elif inside and key and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return f"Line {number}: "
        if not begins and (inside or re.match(r"\s*[\"']?limits[\"']?\s*[.=]", line)):
            begins = f"Line {number}: "
    return begins


def describe_limits(limits: Limits) -> str:
    """The limits in words."""
    words = [
        _amount(name, most)
        for name in get_args(LimitName)
        if (most := limits.most(name)) is not None
    ]
    return f"Each person gets at most {', '.join(words)} in any hour; reaching a limit is an alert."


class Opened(msgspec.Struct, frozen=True):
    """A version as somebody opened it last: when, and its size in sealed bytes."""

    at: datetime
    size: int


class Usage:
    """What each account did within the last hour, as the fold tells it. Times never go back."""

    def __init__(self) -> None:
        self._asked: dict[str, list[datetime]] = {}
        self._opened: dict[str, dict[str, Opened]] = {}  # by account and seal id

    def note_request(self, account: str, at: datetime) -> None:
        """A request was made."""
        self._asked[account] = [*self.asked([account], at), at]

    def note_opening(self, account: str, versions: Iterable[ArtifactVersion], at: datetime) -> None:
        """Keys of these versions, or of outputs made from them, were released."""
        found = self.opened([account], at)
        self._opened[account] = found | {one.seal_id: Opened(at, one.size) for one in versions}

    def asked(self, accounts: Iterable[str], at: datetime) -> list[datetime]:
        """When these accounts asked in the hour before ``at``, the first first."""
        times = (when for name in accounts for when in self._asked.get(name, ()))
        return sorted(when for when in times if at - when < HOUR)

    def opened(self, accounts: Iterable[str], at: datetime) -> dict[str, Opened]:
        """What these accounts opened in the hour before ``at``, by seal id: the last time."""
        found: dict[str, Opened] = {}
        for name in accounts:
            for seal_id, one in self._opened.get(name, {}).items():
                if at - one.at < HOUR and (seal_id not in found or found[seal_id].at < one.at):
                    found[seal_id] = one
        return found


class Reached(msgspec.Struct, frozen=True, kw_only=True):
    """A limit that leaves no room: ``used`` of it, and ``asked`` for more.

    ``room`` is when there is room again for as much, should nothing more be used until then;
    None where that is more than the limit itself.
    """

    limit: LimitName
    most: int
    used: int
    asked: int
    room: datetime | None

    def what(self, person: str) -> str:
        """In one sentence."""
        more = f", and this takes {_amount(self.limit, self.asked)} more" if self.asked else ""
        return (
            f"{person} {_done(self.limit)} {_amount(self.limit, self.used)} within an hour{more}; "
            f"the limit of each person is {_amount(self.limit, self.most)}."
        )


class LimitReachedError(RefusedError):
    """A limit refuses it; ``reached`` is for the alert."""

    def __init__(self, person: str, reached: Reached) -> None:
        super().__init__(
            reached.what(person),
            next=f"There is room again at {format_time(reached.room)}. Until then use what you "
            "have: `aisec grant list`."
            if reached.room is not None
            else "It is more than the limit itself, which admins can raise: "
            "`aisec policy explain` shows it.",
            code="limit-reached",
        )
        self.reached = reached


def request_reached(
    limits: Limits, usage: Usage, accounts: Iterable[str], at: datetime
) -> Reached | None:
    """The limit that leaves no room for one more request at ``at``."""
    if limits.grants is UNSET:
        return None
    times = usage.asked(accounts, at)
    return _room("grants", limits.grants, [(when, 1) for when in times], 1)


def opening_reached(
    limits: Limits,
    usage: Usage,
    accounts: Iterable[str],
    versions: Iterable[ArtifactVersion],
    at: datetime,
) -> Reached | None:
    """The first limit that leaves no room for opening these versions at ``at``.

    Those that were opened within the hour take no more.
    """
    opened = usage.opened(accounts, at)
    new = {one.seal_id: Opened(at, one.size) for one in versions if one.seal_id not in opened}
    names: tuple[LimitName, ...] = ("artifacts", "bytes")
    for name in names:
        most = limits.most(name)
        if most is not None and new:
            asked = sum(amount for _, amount in _amounts(name, new))
            if reached := _room(name, most, _amounts(name, opened), asked):
                return reached
    return None


def overused(
    limits: Limits, usage: Usage, accounts: Iterable[str], at: datetime
) -> tuple[Reached, ...]:
    """The limits of which more is used than there is: under a policy that only observes."""
    names: tuple[LimitName, ...] = get_args(LimitName)
    found = []
    for name in names:
        most = limits.most(name)
        if most is not None:
            found.append(_room(name, most, used(name, usage, accounts, at), 0))
    return tuple(one for one in found if one is not None)


def used(
    name: LimitName, usage: Usage, accounts: Iterable[str], at: datetime
) -> list[tuple[datetime, int]]:
    """What counts towards a limit at ``at``: when it was used, and how much."""
    if name == "grants":
        return [(when, 1) for when in usage.asked(accounts, at)]
    return _amounts(name, usage.opened(accounts, at))


def _amounts(name: LimitName, opened: dict[str, Opened]) -> list[tuple[datetime, int]]:
    return [(one.at, one.size if name == "bytes" else 1) for one in opened.values()]


def _room(
    name: LimitName, most: int, counted: list[tuple[datetime, int]], asked: int
) -> Reached | None:
    """None while ``asked`` fits beside what is counted: a limit may be used to the full."""
    total = left = sum(amount for _, amount in counted)
    if total + asked <= most:
        return None
    room = None
    for when, amount in sorted(counted):
        left -= amount
        if left + asked <= most:
            room = when + HOUR
            break
    return Reached(limit=name, most=most, used=total, asked=asked, room=room)


_NOUNS: dict[LimitName, str] = {"grants": "grant", "artifacts": "artifact version"}


def _amount(name: LimitName, amount: int) -> str:
    """``"20 grants"``, ``"1 artifact version"``, ``"100 GB"``."""
    if name == "bytes":
        return _size(amount)
    return f"{amount:,} {_NOUNS[name]}{'' if amount == 1 else 's'}"


def used_of(name: LimitName, count: int, most: int) -> str:
    """``"asked for 2 of 20 grants"``, ``"opened 1.5 GB of 100 GB"``."""
    amount = _size(count) if name == "bytes" else f"{count:,}"
    return f"{_done(name)} {amount} of {_amount(name, most)}"


def _done(name: LimitName) -> str:
    return "asked for" if name == "grants" else "opened"


def _size(amount: int) -> str:
    unit = next((one for one in ("TB", "GB", "MB", "kB") if amount >= _UNITS[one]), "B")
    return f"{amount / _UNITS[unit]:,.3f}".rstrip("0").rstrip(".") + f" {unit}"
