"""How often something may be done."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

__all__ = ["Rate"]


class Rate:
    """At most ``most`` times in any ``seconds``; ``clock`` never goes back."""

    def __init__(
        self, most: int, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._times: deque[float] = deque(maxlen=most)
        self._seconds = seconds
        self._clock = clock

    def take(self) -> bool:
        """Whether it may be done now, which then counts as done."""
        now = self._clock()
        if len(self._times) == self._times.maxlen and now - self._times[0] < self._seconds:
            return False
        self._times.append(now)
        return True
