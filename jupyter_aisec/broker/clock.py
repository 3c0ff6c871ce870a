"""The broker's clock, as the text that entries carry."""

from __future__ import annotations

from datetime import UTC, datetime

from jupyter_aisec.times import format_time

__all__ = ["wall_clock"]


def wall_clock() -> str:
    """Now, RFC 3339 in UTC with milliseconds."""
    return format_time(datetime.now(UTC))
