"""How long this kernel may go on: renewing leases, warning ahead, noticing the end.

The rules are :func:`assess`, pure; a background thread applies them every few seconds, and
at once when an event tells of a change.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

import msgspec

from jupyter_aisec.errors import AisecError, BrokerError
from jupyter_aisec.times import format_duration, parse_time

if TYPE_CHECKING:
    from jupyter_aisec.client.views import Lease
    from jupyter_aisec.kernel.session import KernelSession

__all__ = ["GRACE", "Assessment", "LeaseThread", "assess"]

GRACE = timedelta(minutes=5)
"""How long open buffers may live after a lease ran out unrenewed (the broker is away)."""
_RENEW_SECONDS = 5.0
_NEAR_SECONDS = 1.0  # between looks while something is pending or nearly over
_TICK_SECONDS = 1.0  # between two states of a countdown


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for one grant now.

    ``open``: go on. ``closed``: open nothing more, keep what is open. ``over``: end it.
    """

    verdict: Literal["open", "closed", "over"]
    why: str = ""  # for "over": as the grant's ended_why, or "lease-lost"
    warn: str = ""  # the last of the lease's moments to warn that is past
    left: timedelta | None = None


def assess(lease: Lease | None, *, now: datetime, grace: timedelta = GRACE) -> Assessment:
    """The last lease we got, judged at ``now`` (the broker's clock).

    Before the first lease there is nothing to lose.
    """
    if lease is None:
        return Assessment(verdict="open")
    if lease.state == "ended":
        return Assessment(verdict="over", why=lease.ended_why or "expired")
    ends = parse_time(lease.ends_at) if lease.ends_at else None
    left = ends - now if ends else None
    if left is not None and left <= timedelta(0):
        return Assessment(verdict="over", why="expired")
    if lease.until is not None:
        overdue = now - parse_time(lease.until)
        if overdue >= grace:
            return Assessment(verdict="over", why="lease-lost", left=left)
        if overdue >= timedelta(0):
            return Assessment(
                verdict="closed", why="the broker has not renewed the lease", left=left
            )
    warn = [moment for moment in lease.warn if parse_time(moment) <= now]
    return Assessment(verdict="open", warn=warn[-1] if warn else "", left=left)


class LeaseThread:
    """Keeps the leases of one session. ``warn(grant, text)`` and ``end(grant, why)`` do the rest.

    ``warn`` may come once for each moment at which a lease says to; ``end`` comes once.
    ``tick()`` comes every second or oftener, so that what is shown can count down.
    """

    def __init__(
        self,
        session: KernelSession,
        *,
        warn: Callable[[str, str], None],
        end: Callable[[str, str], None],
        tick: Callable[[], None],
        renew_seconds: float = _RENEW_SECONDS,
    ) -> None:
        self._session = session
        self._warn = warn
        self._end = end
        self._tick = tick
        self._renew_seconds = renew_seconds
        self._warned: set[tuple[str, str]] = set()
        self._over: set[str] = set()
        self._said: set[str] = set()
        self._wake = threading.Event()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="aisec-lease", daemon=True)
        self._listener = threading.Thread(target=self._listen, name="aisec-events", daemon=True)

    def start(self) -> None:
        """Begins; starting twice is once."""
        if not self._thread.is_alive():
            self._thread.start()
            self._listener.start()

    def stop(self) -> None:
        self._stopped.set()
        self._wake.set()

    def leave(self, grant: str) -> None:
        """Somebody else sees to the end of this one."""
        self._over.add(grant)

    def poke(self) -> None:
        """Looks again at once."""
        self._wake.set()

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopped.is_set():
            if self._wake.is_set() or time.monotonic() >= due:
                self._wake.clear()
                near = [self._look_on(grant) for grant in self._watched()]
                due = time.monotonic() + (_NEAR_SECONDS if any(near) else self._renew_seconds)
            try:
                self._tick()
            except Exception as error:  # what is shown is no reason to watch no more
                self._say(error)
            self._wake.wait(min(_TICK_SECONDS, max(0.0, due - time.monotonic())))

    def _look_on(self, grant: str) -> bool:
        """Looks, whatever goes wrong: a fault of ours renews nothing and ends no watch."""
        for look in (self.look, self._judge):  # by a new lease, or else by the last one
            try:
                return look(grant)
            except Exception as error:
                self._say(error)
        return True

    def _say(self, error: Exception) -> None:
        """Once for each kind of fault: looking goes on every few seconds."""
        kind = type(error).__name__
        if kind not in self._said:
            self._said.add(kind)
            print(f"Watching over grants met a fault and goes on: {error!r}", file=sys.stderr)  # noqa: T201

    def _listen(self) -> None:
        """Any event about a grant of this person is a reason to look; which, does not matter."""
        while not self._stopped.is_set():
            try:
                for _ in self._session.desk.events():
                    if self._stopped.is_set():  # a stream that nobody reads is one that others lack
                        return
                    self._wake.set()
            except Exception as error:  # polling goes on without it
                if not isinstance(error, AisecError):
                    self._say(error)
                self._stopped.wait(self._renew_seconds)

    def _watched(self) -> list[str]:
        session = self._session
        return [
            grant
            for grant, view in list(session.views.items())
            if grant not in self._over and (view.state != "ended" or grant in session.bound)
        ]

    def look(self, grant: str) -> bool:
        """Renews and judges one grant; whether it should be looked at again soon."""
        session = self._session
        if grant not in session.bound:
            try:
                view = session.refresh(grant)
            except BrokerError:
                return False
            except AisecError:
                self._over.add(grant)
                return False
            return view.state == "pending"
        try:
            session.leases(grant)
        except BrokerError:
            pass  # away: the last lease runs on, then the grace
        except AisecError as error:  # it answered, and said no
            self._finish(grant, error.code.removeprefix("grant-"))
            return False
        return self._judge(grant)

    def _judge(self, grant: str) -> bool:
        session = self._session
        found = assess(session.bound[grant], now=session.now())
        if found.verdict == "over":
            self._finish(grant, found.why)
            return False
        if found.verdict == "closed":
            session.closed[grant] = found.why
        else:
            session.closed.pop(grant, None)
        if found.warn and (grant, found.warn) not in self._warned:
            self._warned.add((grant, found.warn))
            if found.left is not None:
                self._warn(
                    grant,
                    f"{format_duration(found.left)} left: save what you need with %save_secure, "
                    "or ask for more with %grant extend.",
                )
        soon = timedelta(seconds=2 * self._renew_seconds)  # before the look after the next
        return found.verdict == "closed" or (found.left is not None and found.left <= soon)

    def _finish(self, grant: str, why: str) -> None:
        if grant in self._over:
            return
        self._over.add(grant)
        self._session.closed[grant] = f"it ended ({why})"
        self._end(grant, why)
