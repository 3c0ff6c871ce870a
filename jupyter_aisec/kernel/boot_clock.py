"""A clock that nobody sets and that runs while the machine sleeps."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

__all__ = ["boot_time"]

_EPOCH = datetime.fromisoformat("2000-01-01T00:00:00+00:00")


def boot_time() -> datetime:
    """The time since the machine started, as an instant.

    Only differences mean something: to be the broker's time it needs the broker's lead.
    """
    clock: Any = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return _EPOCH + timedelta(seconds=time.clock_gettime(clock))
