"""The ledger service: the one place where entries are read, checked, folded and appended.

Rules, in the order they hold:

1. At the start every row of every table is checked against the newest signed ledger
   checkpoint and the copies of it outside the database; then the entries are folded. With
   anything wrong the service does not start.
2. From then on memory is the truth. A root is only ever computed from entries that were
   checked here or made here.
3. An append asks the rules (a pure function of the state and the time) under the lock, so
   that nothing can come in between, and commits the entry, the new signed checkpoint and
   the rows that belong to it in one transaction, in which it also looks whether SQLite has
   come to do anything by itself, and reads back what it wrote. Then the outside copies are
   written. Only then does anybody learn of it: while a copy cannot be written, nothing is
   answered, appended or released.
4. Before a key is released, every column of every row of every table is compared with
   memory. One difference, and nothing is released.
"""

from __future__ import annotations

import os
import threading
from bisect import insort
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TypeVar

from jupyter_aisec.broker import audit
from jupyter_aisec.broker.audit import BundleCheck, Examination, Logged
from jupyter_aisec.broker.clock import wall_clock
from jupyter_aisec.broker.digests import ColumnDigests
from jupyter_aisec.broker.failpoints import failpoint
from jupyter_aisec.broker.finding import Finding, by_place, tampered
from jupyter_aisec.broker.outside import OutsideCopies
from jupyter_aisec.broker.store import (
    BundleRow,
    CheckpointRow,
    EntryRow,
    Snapshot,
    Store,
    WrappedKeyRow,
)
from jupyter_aisec.errors import AisecError, TamperedError
from jupyter_aisec.grants.fold import apply
from jupyter_aisec.grants.state import State
from jupyter_aisec.ledger.bodies import Body
from jupyter_aisec.ledger.checkpoint import Checkpoint, sign_checkpoint
from jupyter_aisec.ledger.entry import SALT_SIZE, Entry, make_entry
from jupyter_aisec.ledger.note import NoteSigner
from jupyter_aisec.times import format_time

__all__ = ["Ledger", "Propose", "Rows"]

B = TypeVar("B", bound=Body)

Propose = Callable[[State, datetime], B]
"""A rule: what may be appended now, or an error that says why nothing may."""

Rows = Callable[[Logged[B]], Sequence[WrappedKeyRow | BundleRow]]
"""The rows that belong to an entry and are committed with it."""


class Ledger:
    """The checked ledger of one broker, in memory and on the disk."""

    def __init__(
        self,
        store: Store,
        signer: NoteSigner,
        outside: OutsideCopies,
        digests: ColumnDigests,
        *,
        check_bundle: BundleCheck,
        clock: Callable[[], datetime] = wall_clock,
    ) -> None:
        """Reads, checks and folds everything; raises TamperedError with the first finding."""
        self._store = store
        self._signer = signer
        self._outside = outside
        self._digests = digests
        self._check_bundle = check_bundle
        self._clock = clock
        self._lock = threading.RLock()
        self._listeners: set[Callable[[], object]] = set()
        self._fault: AisecError | None = None
        self._load()
        self._copy_outside()

    @contextmanager
    def reading(self) -> Iterator[tuple[State, datetime]]:
        """The state and the time, while nothing is appended; raises what broke the service.

        Under the lock, because an entry is folded before it is durable, and nobody may see
        the effect of one that is not. For the same reason a copy outside that could not be
        written is written first, or raises LedgerError or KeyStoreError again.
        """
        with self._lock:
            if self._fault is not None:
                raise self._fault
            self._copy_outside()
            yield self._state, self._state.time(self._clock())

    @property
    def entries(self) -> Sequence[Entry]:
        """All entries; the list only grows, and only by durable ones."""
        return self._entries

    @property
    def checkpoint(self) -> str:
        """The newest signed ledger checkpoint."""
        return self._note

    @property
    def signer(self) -> NoteSigner:
        return self._signer

    def append(self, propose: Propose[B], rows: Rows[B] | None = None) -> Logged[B]:
        """Appends what ``propose`` answers, durably, with the ``rows`` that belong to it.

        Raises what ``propose`` raises (nothing is appended then); LedgerError if the
        database does not take it, TamperedError if somebody else wrote to it.
        """
        with self.reading() as (state, now):
            body = propose(state, now)
            entry = make_entry(state.size, format_time(now), body, os.urandom(SALT_SIZE))
            return self._commit(entry, body, rows)

    def check_stored(self) -> None:
        """Raises TamperedError unless the database is, byte for byte, what it has to be."""
        with self.reading():
            stored = self._store.snapshot()
            if stored != self._rows:
                raise tampered(audit.differences(self._rows, stored))

    def audit(self) -> tuple[Finding, ...]:
        """Everything wrong with the database or the outside copies, signatures included."""
        with self._lock:
            stored = self._store.snapshot()
            found = audit.differences(self._rows, stored)
            again = self._examine(stored, signatures=True)
        # What memory knows of the entries is exact: the digests would say it less well.
        known = {one.table for one in found} & {"entries"}
        return by_place((*found, *(one for one in again.findings if one.table not in known)))

    def bundle(self, seal_id: str) -> bytes | None:
        """The stored bundle of an artifact version, as it was checked or written."""
        return self._bundles.get(seal_id)

    def wrapped_key(self, seal_id: str, key_id: str) -> bytes | None:
        """A wrapped data key, as it was checked or written."""
        return self._wrapped.get((seal_id, key_id))

    def listen(self, listener: Callable[[], object]) -> Callable[[], None]:
        """Calls ``listener`` (in any thread) after each append; returns how to stop it."""
        self._listeners.add(listener)
        return lambda: self._listeners.discard(listener)

    def close(self) -> None:
        self._store.close()

    def _commit(self, entry: Entry, body: B, rows: Rows[B] | None) -> Logged[B]:
        failpoint("append.before-transaction")
        apply(self._state, entry, signatures=True)  # nothing is recorded that an audit refuses
        try:
            tree = self._state.tree
            checkpoint = Checkpoint(self._signer.name, tree.size, tree.root())
            note = sign_checkpoint(checkpoint, self._signer)
            logged = Logged(
                entry=entry, body=body, earlier=self._entries, tree=tree, checkpoint=note
            )
            extra = rows(logged) if rows else ()
            row = EntryRow.of(entry, self._digests)
            with self._store.transaction() as transaction:
                if transaction.ledger_size() != entry.index:
                    raise TamperedError(
                        "The stored ledger is longer or shorter than it was left.",
                        next="See where: `aisec audit verify`.",
                    )
                found = {"sqlite_master": transaction.master()}
                if changed := audit.differences(self._rows, found):
                    raise tampered(changed)
                transaction.insert([row, *extra])
                transaction.replace_checkpoint(CheckpointRow(checkpoint.size, note))
                failpoint("append.rows-written")
        except BaseException:
            self._reload()
            raise
        failpoint("append.committed")
        self._note = note
        self._entries.append(entry)
        self._rows["entries"].append(tuple(row))
        self._rows["checkpoints"] = [(checkpoint.size, note)]
        for one in extra:
            self._remember(one)
        self._copied = False
        failpoint("append.before-outside-copies")
        self._copy_outside()
        failpoint("append.done")
        return logged

    def _copy_outside(self) -> None:
        """Every copy outside is the newest note when this returns; then it tells that it grew."""
        if self._copied:
            return
        self._outside.write(self._note)
        self._copied = True
        for listener in tuple(self._listeners):
            listener()

    def _reload(self) -> None:
        """After a failed append: whether it is on the disk is for the disk to say."""
        try:
            self._load()
        except AisecError as fault:
            self._fault = fault

    def _remember(self, row: WrappedKeyRow | BundleRow) -> None:
        if isinstance(row, WrappedKeyRow):
            self._wrapped[row.seal_id, row.key_id] = row.wrapped
            insort(self._rows["wrapped_keys"], tuple(row))
        else:
            self._bundles[row.seal_id] = row.bundle
            insort(self._rows["bundles"], tuple(row))

    def _load(self) -> None:
        tables = self._store.snapshot()
        examined = self._examine(tables)
        if examined.state is None or examined.findings:
            raise tampered(examined.findings)
        self._state = examined.state
        self._entries = list(examined.entries)
        self._note = examined.note
        self._rows: Snapshot = tables
        self._wrapped = {(seal, key): wrapped for seal, key, wrapped in tables["wrapped_keys"]}
        self._bundles: dict[str, bytes] = dict(tables["bundles"])
        # Not so if we died between the commit and the copies.
        self._copied = set(self._outside.read().values()) == {self._note}

    def _examine(self, tables: Snapshot, *, signatures: bool = False) -> Examination:
        return audit.examine(
            tables,
            self._signer.verifier_key,
            self._outside.read(),
            self._check_bundle,
            self._digests,
            signatures=signatures,
        )
