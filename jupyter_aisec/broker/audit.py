"""Checking the stored tables against the signed ledger, naming table, row and column.

Two questions, one kind of answer. :func:`examine` reads tables that nobody has checked yet
(at the start, and for an auditor): everything has to follow from the log's key, the copies
of its checkpoint, and the key of the column digests. :func:`differences` compares tables
with what was checked before (in a running broker, before every key release). Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from jupyter_aisec.broker.digests import ColumnDigests
from jupyter_aisec.broker.finding import CUT_OFF, Finding, at_row, by_place
from jupyter_aisec.broker.store import (
    SCHEMA_VERSION,
    TABLES,
    UNKEYED_VERSION,
    Snapshot,
    master_rows,
)
from jupyter_aisec.broker.stored_entries import StoredEntries, span
from jupyter_aisec.errors import AisecError
from jupyter_aisec.grants.fold import fold
from jupyter_aisec.grants.state import State
from jupyter_aisec.ledger.bodies import ENTRY_TYPES, ArtifactSealed, Body, RunRecorded
from jupyter_aisec.ledger.checkpoint import Checkpoint, open_checkpoint
from jupyter_aisec.ledger.entry import Entry
from jupyter_aisec.ledger.merkle import Tree

__all__ = [
    "BundleCheck",
    "Examination",
    "Logged",
    "differences",
    "examine",
]

B = TypeVar("B", bound=Body)


class Examination(msgspec.Struct, frozen=True, kw_only=True):
    """What the tables hold, and everything wrong with it; believe it only without findings."""

    entries: tuple[Entry, ...]
    tree: Tree
    note: str
    state: State | None  # None where the entries do not fold
    findings: tuple[Finding, ...]


class Logged(msgspec.Struct, Generic[B], frozen=True, kw_only=True):
    """An entry with what surrounds it: the entries before it, and a tree that holds it."""

    entry: Entry
    body: B  # what the entry says
    earlier: Sequence[Entry]
    tree: Tree
    checkpoint: str  # the newest signed one


BundleCheck = Callable[[bytes, Logged[RunRecorded]], None]
"""Raises an AisecError unless stored bundle bytes are the ones of the run's entry."""


def examine(
    tables: Snapshot,
    verifier_key: str,
    outside: Mapping[str, str | None],
    check_bundle: BundleCheck,
    digests: ColumnDigests | None,
    *,
    signatures: bool = False,
) -> Examination:
    """Checks everything in tables that are not trusted; with ``signatures``, everybody's too.

    ``verifier_key`` is the log's, from the key store or a trust file; ``outside`` are the
    copies of the newest checkpoint, by the name of their place; without the key of the
    ``digests`` (None) an edited entry is noticed and cannot be named. What the entries say
    is only looked at once they are known to be what was logged.
    """
    stored = StoredEntries(tables["entries"])
    opened = [_opened(row[1], verifier_key) for row in tables["checkpoints"]]
    copies = {
        place: _opened(note, verifier_key) for place, note in outside.items() if note is not None
    }
    signed = _newest([*opened, *copies.values()], stored)
    older = tables["alembic_version"] == [(UNKEYED_VERSION,)]
    findings = [
        *_schema(tables),
        *(one for place in outside for one in _copy(place, copies.get(place), stored, signed)),
        *_checkpoints(tables["checkpoints"], opened, stored, signed),
        *stored.findings(signed, None if older else digests),
    ]
    note = tables["checkpoints"][0][1] if tables["checkpoints"] else ""
    state = None
    if not findings:
        try:
            state = fold(stored.entries, signatures=signatures)
        except AisecError as error:
            findings.append(Finding(table="entries", row="*", column="body", what=error.what))
        findings += _wrapped_keys(stored.entries, tables["wrapped_keys"])
        findings += _bundles(stored.entries, stored.tree, note, tables["bundles"], check_bundle)
    return Examination(
        entries=stored.entries,
        tree=stored.tree,
        note=note,
        state=state,
        findings=by_place(findings),
    )


def differences(expected: Snapshot, stored: Snapshot) -> list[Finding]:
    """Every row of the ``stored`` tables that is not as it was checked or written."""
    return [
        finding
        for table in stored
        if expected[table] != stored[table]
        for finding in _differences(table, expected[table], stored[table])
    ]


def _differences(
    table: str, expected: Sequence[tuple[Any, ...]], stored: Sequence[tuple[Any, ...]]
) -> list[Finding]:
    row_type, width = TABLES[table]
    columns = row_type._fields
    missing = {row[:width]: row for row in expected}
    surplus = {}
    findings = []
    for row in stored:
        other = missing.pop(row[:width], None)
        if other is None:
            surplus[row[:width]] = row
        else:
            findings += [
                _finding(table, other, width, column, "it was changed")
                for column, ours, theirs in zip(columns, other, row, strict=True)
                if ours != theirs or type(ours) is not type(theirs)
            ]
    for row in surplus.values():
        moved = next((one for one in missing.values() if one[width:] == row[width:]), None)
        if moved is None:
            findings.append(_finding(table, row, width, columns[0], "it was added"))
            continue
        del missing[moved[:width]]
        findings += [
            _finding(table, moved, width, column, "it was changed")
            for column, ours, theirs in zip(columns, moved, row, strict=True)
            if ours != theirs
        ]
    findings += [
        _finding(table, row, width, columns[0], "it is missing") for row in missing.values()
    ]
    return findings


def _finding(table: str, row: tuple[Any, ...], width: int, column: str, what: str) -> Finding:
    return at_row(table, row[:width], column, what)


def _schema(tables: Snapshot) -> list[Finding]:
    """The tables are those of this version, and SQLite has nothing besides them."""
    version = tables["alembic_version"]
    if version == [(UNKEYED_VERSION,)]:
        what = "the tables are an earlier version's: `aisec broker start` brings them up to date"
        found = [at_row("alembic_version", (SCHEMA_VERSION,), "version_num", what)]
    else:
        found = _differences("alembic_version", [(SCHEMA_VERSION,)], version)
    return [*found, *_differences("sqlite_master", master_rows(), tables["sqlite_master"])]


def _opened(note: object, verifier_key: str) -> Checkpoint | AisecError:
    """The checkpoint that was signed, or why there is none in ``note``."""
    try:
        return open_checkpoint(note if isinstance(note, str) else "", verifier_key)
    except AisecError as error:
        return error


def _newest(opened: Iterable[Checkpoint | AisecError], stored: StoredEntries) -> Checkpoint | None:
    """The newest of the signed checkpoints; of two for one size, the one the entries add up to."""
    signed = [one for one in opened if isinstance(one, Checkpoint)]
    size = max((one.size for one in signed), default=None)
    newest = [one for one in signed if one.size == size]
    return next((one for one in newest if stored.add_up_to(one)), next(iter(newest), None))


def _checkpoints(
    rows: Sequence[tuple[Any, ...]],
    opened: Sequence[Checkpoint | AisecError],
    stored: StoredEntries,
    signed: Checkpoint | None,
) -> list[Finding]:
    """One row, and in it the newest signed checkpoint."""

    def finding(size: object, column: str, what: str) -> Finding:
        return at_row("checkpoints", (size,), column, what)

    if not rows:
        return [finding(signed.size if signed else 0, "size", "it is missing")]
    newest = [at for at, one in enumerate(opened) if one == signed]
    at_its_place = (at for at in newest if signed and rows[at][0] == signed.size)
    number = next(at_its_place, next(iter(newest), 0))
    added = [row for at, row in enumerate(rows) if at != number]
    findings = [finding(size, "size", "it was added") for size, _ in added]
    (size, _), checkpoint = rows[number], opened[number]
    if signed is not None and stored.add_up_to(signed):
        right, what = signed, "it is not the checkpoint that the entries add up to"
    elif isinstance(checkpoint, Checkpoint):
        right, what = checkpoint, f"the note is signed for {checkpoint.size} entries"
    else:
        return [*findings, finding(size, "note", checkpoint.what)]
    if size != right.size:
        findings.append(finding(right.size, "size", what))
    if checkpoint != right:
        why = checkpoint.what if isinstance(checkpoint, AisecError) else what
        findings.append(finding(right.size, "note", why))
    return findings


def _copy(
    place: str,
    copy: Checkpoint | AisecError | None,
    stored: StoredEntries,
    signed: Checkpoint | None,
) -> list[Finding]:
    """Whether there is a copy outside, and the ledger goes on from it."""
    if copy is None:
        # The first entry is committed before its first copy can be written.
        wrong = "the copy is missing" if stored.end > 1 else None
    elif isinstance(copy, AisecError):
        wrong = copy.what
    elif copy.size > stored.end:
        return [at_row("entries", (span(stored.end, copy.size - 1),), "idx", CUT_OFF)]
    else:
        if signed is not None and stored.add_up_to(signed):
            goes_on = stored.tree.root(copy.size) == copy.root
        else:  # the entries are wrong, which says nothing about the copy
            goes_on = signed is None or copy.size != signed.size or copy == signed
        wrong = None if goes_on else "the stored ledger is not a continuation of this copy"
    if wrong is None:
        return []
    return [at_row("checkpoints", (f"copy in the {place}",), "note", wrong)]


def _wrapped_keys(entries: Sequence[Entry], rows: Sequence[tuple[Any, ...]]) -> list[Finding]:
    """The ledger holds the digest of every wrapped key."""
    expected = [
        (sealed.seal_id, key_id, digest)
        for _, sealed in _contents(entries, ArtifactSealed)
        for key_id, digest in sealed.wrapped_sha256.items()
    ]
    stored = [(*row[:-1], _hex_digest(row[-1])) for row in rows]
    return _differences("wrapped_keys", expected, stored)


def _bundles(
    entries: Sequence[Entry],
    tree: Tree,
    note: str,
    rows: Sequence[tuple[Any, ...]],
    check_bundle: BundleCheck,
) -> list[Finding]:
    """Every recorded run has the bundle of each version it sealed, and nothing else has one."""
    expected = {
        seal_id: Logged(
            entry=entry, body=run, earlier=entries[: entry.index], tree=tree, checkpoint=note
        )
        for entry, run in _contents(entries, RunRecorded)
        for seal_id in run.seal_ids
    }
    findings = _differences(
        "bundles", [(seal_id, "") for seal_id in expected], [(row[0], "") for row in rows]
    )
    for seal_id, bundle in rows:
        logged = expected.get(seal_id)
        if logged is None:
            continue
        try:
            check_bundle(bundle if isinstance(bundle, bytes) else b"", logged)
        except AisecError as error:
            findings.append(Finding(table="bundles", row=seal_id, column="bundle", what=error.what))
    return findings


def _contents(entries: Iterable[Entry], type_: type[B]) -> Iterator[tuple[Entry, B]]:
    """The entries with such a body, each with it; the bodies of others are not read."""
    for entry in entries:
        if ENTRY_TYPES.get(entry.type) is type_ and isinstance(body := entry.content(), type_):
            yield entry, body


def _hex_digest(value: object) -> str:
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else "not bytes"
