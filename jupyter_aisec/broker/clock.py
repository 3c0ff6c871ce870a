"""The broker's clock, as precise as entries can say."""

from __future__ import annotations

from datetime import UTC, datetime

__all__ = ["wall_clock"]


def wall_clock() -> datetime:
    """Now in UTC, in whole milliseconds."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)
