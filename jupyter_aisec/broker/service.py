"""One running broker: its home, its keys, its ledger; and how refusals get into the ledger."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from jupyter_aisec.broker.alerts import alert_overstepped, raise_alert
from jupyter_aisec.broker.bundles import check_bundle
from jupyter_aisec.broker.clock import SteadyClock, wall_clock
from jupyter_aisec.broker.config import Config
from jupyter_aisec.broker.digests import ColumnDigests
from jupyter_aisec.broker.keystore import BrokerKeys, KeyStore, open_key_store
from jupyter_aisec.broker.ledger import Ledger
from jupyter_aisec.broker.outside import OutsideCopies
from jupyter_aisec.broker.refusals import Attempt, RefusalLimit
from jupyter_aisec.broker.store import HomeLock, Store
from jupyter_aisec.errors import AisecError, LedgerError, NotFoundError, RefusedError
from jupyter_aisec.grants.decisions import propose_refusal
from jupyter_aisec.grants.limits import LimitReachedError
from jupyter_aisec.ledger.note import NoteSigner
from jupyter_aisec.ledger.trust import Trust, trust_of

__all__ = ["DATABASE", "Broker", "genesis_missing", "open_broker"]

DATABASE = "broker.sqlite"
CLOCK = "clock"  # in a home: the latest time that its broker answered
_COMPARED_FOR = 1.0  # seconds for which one comparison of the database is good


class Broker:
    """What the routes act on."""

    def __init__(
        self,
        *,
        home: Path,
        config: Config,
        ledger: Ledger,
        keys: BrokerKeys,
        key_store: KeyStore,
        lock: HomeLock,
        clock: SteadyClock,
    ) -> None:
        self.home = home
        self.config = config
        self.ledger = ledger
        self.keys = keys
        self.key_store = key_store
        self._lock = lock
        self._clock = clock
        self._compared = float("-inf")
        self._refusals = RefusalLimit(self._keep)

    @property
    def trust(self) -> Trust:
        return trust_of(self.ledger.entries[0])

    @property
    def store_url(self) -> str:
        """Below this URL new versions are written."""
        return (self.config.store or (self.home / "store").resolve().as_uri()).rstrip("/")

    @contextmanager
    def noting_refusals(self, person: str, action: str, subject: str) -> Iterator[None]:
        """Keeps a refusal in the ledger: that somebody tried is worth knowing.

        Not kept are slips (a name that nobody knows, the same statement sent twice), nor more
        than :class:`RefusalLimit` lets through. A grant of others, which is as unknown to whoever
        asks as none, is no slip: its id is not guessed. A limit that is reached is an alert, too.
        """
        attempt = Attempt(person, action, subject)
        try:
            yield
        except RefusedError as error:
            with self.ledger.reading() as (state, now):
                hidden = error.code == "grant-unknown" and subject in state.grants
                slip = isinstance(error, NotFoundError) or error.code == "statement-recorded"
                if hidden or not slip:
                    self._refusals.meet(attempt, error, now)
            if isinstance(error, LimitReachedError):
                raise_alert(self.ledger, attempt, error.reached)
            raise
        alert_overstepped(self.ledger, attempt)

    def note_refusal(self, person: str, action: str, subject: str, refusal: RefusedError) -> None:
        """Keeps a refusal that somebody else made, by the same limit."""
        with self.ledger.reading() as (_, now):
            self._refusals.meet(Attempt(person, action, subject), refusal, now)

    def _keep(self, attempt: Attempt, refusal: RefusedError) -> None:
        self.ledger.append(
            lambda state, _: propose_refusal(
                state,
                refusal,
                person=attempt.person,
                action=attempt.action,
                subject=attempt.subject,
            )
        )

    def check_ready(self) -> None:
        """Raises what keeps keys from being released; anybody may ask, as often as they like.

        The whole database is compared at most once a second for that.
        """
        with self.ledger.reading():
            if time.monotonic() - self._compared >= _COMPARED_FOR:
                self.ledger.check_stored()
                self._compared = time.monotonic()

    def close(self) -> None:
        with suppress(AisecError):  # the count is lost where nothing can be appended
            self._refusals.close()
        self.ledger.close()
        self._clock.close()
        self._lock.close()


def open_broker(
    home: Path, config: Config, *, clock: Callable[[], datetime] = wall_clock
) -> Broker:
    """Takes the home's lock, and reads and checks everything in it.

    Raises LedgerError (``genesis-missing``) on an empty home, TamperedError where the
    database is not what was logged, KeyStoreError, ConflictError if a broker runs on it.
    """
    if not (home / DATABASE).exists():
        raise genesis_missing(home)
    lock = HomeLock(home)
    try:
        key_store = open_key_store(home)
        keys = key_store.keys()
        steady = SteadyClock(home / CLOCK, clock)
        signer = NoteSigner(keys.origin, keys.log)
        digests = ColumnDigests(key_store.digest_key())
        store = Store(home / DATABASE, signer.verifier_key, digests)
        try:
            ledger = Ledger(
                store,
                signer,
                OutsideCopies(home, key_store),
                digests,
                check_bundle=check_bundle,
                clock=steady,
            )
        except BaseException:
            store.close()
            raise
    except BaseException:
        lock.close()
        raise
    return Broker(
        home=home,
        config=config,
        ledger=ledger,
        keys=keys,
        key_store=key_store,
        lock=lock,
        clock=steady,
    )


def genesis_missing(home: Path) -> LedgerError:
    """What to say about a home in which no broker was made."""
    return LedgerError(
        f"There is no broker in {home}.",
        next=f"Make one: `aisec broker init --home {shlex.quote(str(home))} --admin NAME=FILE`.",
        code="genesis-missing",
    )
