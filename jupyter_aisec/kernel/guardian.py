"""The keeper's guard over the leases of one secure kernel.

The kernel ends things itself, and confirms. The guardian renews, listens, judges by the same
rules (:func:`~jupyter_aisec.kernel.lease.assess`), and kills what does not confirm in time, or
confirms and leaves other processes behind. Nothing that goes wrong here ends the guard; if its
threads end all the same, the kernel does too.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from jupyter_aisec.client.views import Lease
from jupyter_aisec.errors import AisecError, BrokerError, ConflictError, RefusedError
from jupyter_aisec.kernel.boot_clock import boot_time
from jupyter_aisec.kernel.ending import STOP_SECONDS
from jupyter_aisec.kernel.lease import Assessment, assess
from jupyter_aisec.times import parse_time

if TYPE_CHECKING:
    from jupyter_aisec.client.person import PersonClient
    from jupyter_aisec.client.views import GrantView
    from jupyter_aisec.ledger.bodies import EndedHow

__all__ = ["Guardian"]

_log = logging.getLogger("jupyter_aisec.keeper")
_LOOK_SECONDS = 5.0
CONFIRM_SECONDS = STOP_SECONDS + 5.0


class _Seat:
    """A seat that a kernel took: its lease, and since when it is over (monotonic seconds)."""

    def __init__(self, view: GrantView, kernel: str) -> None:
        self.kernel = kernel
        self.taken = False  # for all we know: the answer to a binding can be lost
        # Out already, until the first one comes: a seat never renewed is lost after the grace.
        self.lease = Lease(state="active", until=view.now, now=view.now)
        self.ahead = parse_time(view.now) - boot_time()
        self.over_since: float | None = None


class Guardian:
    """Guards the seats that one kernel takes.

    ``kill()`` ends the kernel's whole process tree at once; ``alone()`` says whether the
    kernel's own process is all that is left of that tree.
    """

    def __init__(
        self,
        person: PersonClient,
        kill: Callable[[], None],
        alone: Callable[[], bool] = lambda: True,
        *,
        confirm_seconds: float = CONFIRM_SECONDS,
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        self._person = person
        self._kill = kill
        self._alone = alone
        self._confirm_seconds = confirm_seconds
        self._look_seconds = look_seconds
        self._lock = threading.Lock()
        self._seats: dict[str, _Seat] = {}
        self._untold: list[tuple[str, str, EndedHow]] = []  # endings the broker was away for
        self._readers: list[Callable[[object], None]] = []
        self._wake = threading.Event()
        self._stopped = False

    def start(self) -> None:
        for loop in (self._run, self._listen):
            threading.Thread(
                target=self._or_kill, args=[loop], name="aisec-guardian", daemon=True
            ).start()

    def _or_kill(self, loop: Callable[[], None]) -> None:
        """A kernel that nobody guards any more does not go on."""
        try:
            loop()
        finally:
            if not self._stopped:
                self._kill()

    def expect(self, view: GrantView, kernel: str) -> None:
        """A kernel is about to take a seat: guarded from now on, whatever becomes of the answer."""
        with self._lock:
            self._seats.setdefault(view.id, _Seat(view, kernel))
        self._wake.set()

    def guard(self, view: GrantView, kernel: str) -> None:
        """A kernel took a seat."""
        with self._lock:
            self._seats.setdefault(view.id, _Seat(view, kernel)).taken = True
        self._wake.set()

    def forget(self, grant: str) -> None:
        """The broker refused the binding: an expected seat was not taken."""
        with self._lock:
            seat = self._seats.get(grant)
            if seat is not None and not seat.taken:
                del self._seats[grant]

    def check_guarded(self, grant: str) -> None:
        """Raises RefusedError (``seat-not-guarded``) unless what opens under it is ended here.

        Whoever asks is about to open something: the seat counts as taken.
        """
        with self._lock:
            seat = self._seats.get(grant)
            if seat is not None:
                seat.taken = True
                return
        raise RefusedError(
            f"This kernel's keeper guards no seat of {grant}: nothing opens under it.",
            next="Load it again: `%load_secure NAME as VAR` takes the seat first.",
            code="seat-not-guarded",
        )

    def lease(self, grant: str) -> Lease:
        """Renews the lease of a grant, and remembers it."""
        lease = self._person.lease(grant)
        with self._lock:
            seat = self._seats.get(grant)
            if seat is not None:
                seat.lease = lease
                seat.ahead = parse_time(lease.now) - boot_time()
        return lease

    def wiped(self, grant: str) -> None:
        """The kernel says that it holds nothing of this grant any more.

        Believed only once the grant is over, as judged here: a seat that is still good can
        open again, so it stays guarded. Raises ConflictError (``grant-not-over``) until then.
        """
        seat = self._seats.get(grant)
        if seat is None:
            return
        if seat.over_since is None and self._judge(grant, seat).verdict != "over":
            raise ConflictError(
                f"{grant} is not over: its kernel may still open, and stays guarded.",
                next=f"To give it back: `%grant return {grant}`.",
                code="grant-not-over",
            )
        if self._alone():
            self.confirmed(grant)
        else:  # what it forked may still hold what it wiped
            self._insist(grant)

    def confirmed(self, grant: str, how: EndedHow = "wiped") -> None:
        """A kernel holds nothing of this grant any more; the broker is told, later if it is
        away now."""
        with self._lock:
            seat = self._seats.pop(grant, None)
        if seat is not None:
            self._report(grant, seat.kernel, how)

    def _report(self, grant: str, kernel: str, how: EndedHow) -> None:
        try:
            self._person.ended(grant, kernel, how)
        except BrokerError:
            with self._lock:
                self._untold.append((grant, kernel, how))
            raise

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
            try:
                reader(event)
            except Exception as error:  # a reader that is gone is not the guard's end
                _note(error)

    def _listen(self) -> None:
        while not self._stopped:
            try:
                for event in self._person.events():
                    self._wake.set()
                    self._tell(event)
            except AisecError:  # looking goes on without it
                time.sleep(self._look_seconds)
            except Exception as error:
                _note(error)
                time.sleep(self._look_seconds)

    # -- the rules

    def _run(self) -> None:
        while not self._stopped:
            self._wake.wait(self._look_seconds)
            self._wake.clear()
            for grant in list(self._seats):
                try:
                    self.look(grant)
                except Exception as error:
                    _note(error)
            self._report_again()

    def _report_again(self) -> None:
        with self._lock:
            untold, self._untold = self._untold, []
        for one in untold:
            try:
                self._report(*one)
            except Exception as error:
                _note(error)

    def look(self, grant: str) -> None:
        """Renews one lease; past its end, waits for the kernel's word, and then kills."""
        seat = self._seats.get(grant)
        if seat is None:
            return
        if seat.over_since is not None:
            # The timer's work, should the system have refused it a thread.
            if time.monotonic() - seat.over_since > self._confirm_seconds:
                self._insist(grant)
            return
        found = self._judge(grant, seat)
        if found.verdict != "over" or self._drop_untaken(grant, seat):
            return
        seat.over_since = time.monotonic()
        with contextlib.suppress(RuntimeError):  # no more threads: the next looks do it
            threading.Timer(self._confirm_seconds, self._insist, [grant]).start()
        self._tell({"type": "ending", "grant": grant, "why": found.why})

    def _drop_untaken(self, grant: str, seat: _Seat) -> bool:
        """Whether nobody is known to have taken the seat, and so nothing was opened under it.

        The broker may have given it all the same, and hears then that nothing is left of it.
        """
        with self._lock:
            if seat.taken:
                return False
            self._seats.pop(grant, None)
        with contextlib.suppress(AisecError):
            self._report(grant, seat.kernel, "wiped")
        return True

    def _judge(self, grant: str, seat: _Seat) -> Assessment:
        """By a lease asked for now; where the broker is away, by the last one."""
        try:
            self.lease(grant)
        except BrokerError:
            pass
        except AisecError as error:  # it answered, and said no
            return Assessment(verdict="over", why=error.code.removeprefix("grant-"))
        except Exception as error:  # a fault of ours keeps no grant alive beyond its grace
            _note(error)
        return assess(seat.lease, now=boot_time() + seat.ahead)

    def _insist(self, grant: str) -> None:
        if grant not in self._seats:
            return
        self._kill()
        with contextlib.suppress(AisecError):
            self.confirmed(grant, "killed")


def _note(error: Exception) -> None:
    """By its kind alone: what an error says may come from the kernel."""
    _log.error("The guard of leases met a fault and goes on: %s.", type(error).__name__)
