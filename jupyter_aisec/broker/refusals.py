"""How many refusals of one person the ledger keeps: nobody fills it by asking in a loop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from jupyter_aisec.errors import RefusedError

__all__ = ["KEPT", "PER", "Attempt", "RefusalLimit"]

KEPT: Final = 20  # refusals of one person, within
PER: Final = timedelta(minutes=1)


class Attempt(NamedTuple):
    """Who tried to do what, and on what."""

    person: str
    action: str
    subject: str


Keep = Callable[[Attempt, RefusedError], None]
"""Appends a refusal."""


class RefusalLimit:
    """Keeps the first :data:`KEPT` refusals of each person in a minute, and counts the rest.

    The number of the rest is kept as one more refusal: before the person's first one after
    that minute, or when the broker ends. Safe to use from any thread.
    """

    def __init__(self, keep: Keep) -> None:
        self._keep = keep
        self._lock = threading.Lock()
        self._minutes: dict[str, tuple[datetime, int]] = {}  # when it began, how many there were

    def meet(self, attempt: Attempt, refusal: RefusedError, now: datetime) -> None:
        """Keep ``refusal``, or count it."""
        person = attempt.person
        with self._lock:
            began, met = self._minutes.get(person, (now, 0))
            over = 0
            if now - began >= PER:
                over, began, met = met - KEPT, now, 0
            self._minutes[person] = (began, met + 1)
        if over > 0:
            self._keep(_all_of(person), _more(over))
        if met < KEPT:
            self._keep(attempt, refusal)

    def close(self) -> None:
        """Keep what was only counted."""
        with self._lock:
            minutes, self._minutes = self._minutes, {}
        for person, (_, met) in minutes.items():
            if met > KEPT:
                self._keep(_all_of(person), _more(met - KEPT))


def _all_of(person: str) -> Attempt:
    return Attempt(person, "several", person)


def _more(count: int) -> RefusedError:
    return RefusedError(
        f"{count:,} more refusals within a minute are counted here and not kept one by one.",
        code="refusals-counted",
    )
