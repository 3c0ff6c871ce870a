"""Times and durations as text. Pure: nothing here reads a clock.

Instants are RFC 3339 in UTC with milliseconds (``2026-11-22T20:35:16.250Z``), so that
they sort as text; durations are what people type (``90m``, ``1h30m``, ``2d``).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from jupyter_aisec.errors import MalformedError, UsageError

__all__ = ["format_duration", "format_time", "parse_duration", "parse_time"]

_UNITS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DURATION = re.compile(r"(?:([0-9]{1,4})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,8})s)?")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)


def format_time(when: datetime) -> str:
    """The instant ``when`` (which must carry a time zone) as RFC 3339 in UTC."""
    if when.tzinfo is None:
        raise ValueError("a time without a zone is not an instant")
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time(text: str) -> datetime:
    """The inverse of :func:`format_time`; raises MalformedError for anything else."""
    try:
        if not _TIME.fullmatch(text):
            raise ValueError
        return datetime.fromisoformat(text)
    except ValueError:
        raise MalformedError(
            f"{text[:40]!r} is not a time like 2026-11-22T20:35:16.250Z "
            "(RFC 3339, UTC, milliseconds)."
        ) from None


def parse_duration(text: str) -> timedelta:
    """``"1h30m"`` as a timedelta; raises UsageError for anything that is not above zero."""
    match = _DURATION.fullmatch(text)
    seconds = match and sum(
        int(amount or 0) * unit
        for amount, unit in zip(match.groups(), _UNITS.values(), strict=True)
    )
    if not seconds:
        raise UsageError(
            f"{text[:40]!r} is not a duration.",
            next="Write it like `--for 45m`: 2h, 1h30m, 1d.",
            code="duration-invalid",
        )
    return timedelta(seconds=seconds)


def format_duration(length: timedelta) -> str:
    """A timedelta as ``"1h30m"``, in whole seconds; zero and less are ``"0s"``."""
    rest = int(length.total_seconds())
    parts = []
    for unit, size in _UNITS.items():
        amount, rest = divmod(max(rest, 0), size)
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts) or "0s"
