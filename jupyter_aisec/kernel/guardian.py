"""The keeper's guard over the leases of one secure kernel.

The kernel ends things itself, and confirms. The guardian renews, listens, judges by the same
rules (:func:`~jupyter_aisec.kernel.lease.assess`), and kills what does not confirm in time.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jupyter_aisec.errors import AisecError, ConflictError
from jupyter_aisec.kernel.ending import STOP_SECONDS
from jupyter_aisec.kernel.lease import Assessment, assess
from jupyter_aisec.times import parse_time

if TYPE_CHECKING:
    from jupyter_aisec.client.person import PersonClient
    from jupyter_aisec.client.views import GrantView, Lease
    from jupyter_aisec.kernel.desk import How

__all__ = ["Guardian"]

_LOOK_SECONDS = 5.0
CONFIRM_SECONDS = STOP_SECONDS + 3.0


class _Seat:
    def __init__(self, view: GrantView, kernel: str) -> None:
        self.seconds = view.seconds
        self.kernel = kernel
        self.lease: Lease | None = None
        self.ahead = parse_time(view.now) - datetime.now(UTC)
        self.over_since: float | None = None
        self.why = ""


class Guardian:
    """``kill()`` ends the kernel's whole process tree at once."""

    def __init__(
        self,
        person: PersonClient,
        kill: Callable[[], None],
        *,
        confirm_seconds: float = CONFIRM_SECONDS,
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        self._person = person
        self._kill = kill
        self._confirm_seconds = confirm_seconds
        self._look_seconds = look_seconds
        self._lock = threading.Lock()
        self._seats: dict[str, _Seat] = {}
        self._readers: list[Callable[[object], None]] = []
        self._wake = threading.Event()
        self._stopped = False

    def start(self) -> None:
        for target in (self._run, self._listen):
            threading.Thread(target=target, name="aisec-guardian", daemon=True).start()

    def guard(self, view: GrantView, kernel: str) -> None:
        """A kernel took a seat."""
        with self._lock:
            self._seats[view.id] = _Seat(view, kernel)
        self._wake.set()

    def lease(self, grant: str) -> Lease:
        """Renews, and remembers what came."""
        lease = self._person.lease(grant)
        with self._lock:
            seat = self._seats.get(grant)
            if seat is not None:
                seat.lease = lease
                seat.ahead = parse_time(lease.now) - datetime.now(UTC)
        return lease

    def wiped(self, grant: str) -> None:
        """The kernel says that it holds nothing of this grant any more.

        Believed only once the grant is over, as judged here: a seat that is still good can
        open again, so it stays guarded. Raises ConflictError (``grant-not-over``) until then.
        """
        seat = self._seats.get(grant)
        if seat is not None and seat.over_since is None:
            self._renew(grant)
            if self._judge(seat).verdict != "over":
                raise ConflictError(
                    f"{grant} is not over: its kernel may still open, and stays guarded.",
                    next=f"To give it back: `%grant return {grant}`.",
                    code="grant-not-over",
                )
        self.confirmed(grant)

    def confirmed(self, grant: str, how: How = "wiped") -> None:
        """A kernel holds nothing of this grant any more; the broker is told."""
        with self._lock:
            seat = self._seats.pop(grant, None)
        if seat is not None:
            self._person.ended(grant, seat.kernel, how)

    def kernel_exited(self) -> None:
        """The kernel's process is gone, and all it held with it."""
        self._stopped = True
        self._wake.set()
        for grant in list(self._seats):
            with contextlib.suppress(AisecError):
                self.confirmed(grant, "exited")

    # -- events for the kernel

    def subscribe(self, reader: Callable[[object], None]) -> None:
        self._readers.append(reader)

    def unsubscribe(self, reader: Callable[[object], None]) -> None:
        self._readers.remove(reader)

    def _tell(self, event: object) -> None:
        for reader in list(self._readers):
            reader(event)

    def _listen(self) -> None:
        while not self._stopped:
            try:
                for event in self._person.events():
                    self._wake.set()
                    self._tell(event)
            except AisecError:
                time.sleep(self._look_seconds)

    # -- the rules

    def _run(self) -> None:
        while not self._stopped:
            self._wake.wait(self._look_seconds)
            self._wake.clear()
            for grant in list(self._seats):
                self.look(grant)

    def look(self, grant: str) -> None:
        """Renews one lease; past its end, waits for the kernel's word, and then kills."""
        seat = self._seats.get(grant)
        if seat is None:
            return
        if seat.over_since is None:
            self._renew(grant)
            found = self._judge(seat)
            if found.verdict != "over":
                return
            seat.over_since, seat.why = time.monotonic(), found.why
            self._tell({"type": "ending", "grant": grant, "why": found.why})
            threading.Timer(self._confirm_seconds, self._insist, [grant]).start()

    def _renew(self, grant: str) -> None:
        """Where the broker is away, or refuses, the last lease runs on, and then the grace."""
        with contextlib.suppress(AisecError):
            self.lease(grant)

    def _judge(self, seat: _Seat) -> Assessment:
        return assess(seat.lease, seconds=seat.seconds, now=datetime.now(UTC) + seat.ahead)

    def _insist(self, grant: str) -> None:
        if grant not in self._seats:
            return
        self._kill()
        with contextlib.suppress(AisecError):
            self.confirmed(grant, "killed")
