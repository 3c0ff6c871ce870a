"""Checking the stored tables against the signed ledger, naming table, row and column.

Two questions, one kind of answer. :func:`examine` reads tables that nobody has checked yet
(at the start, and for an auditor): everything has to follow from the log's key and the
copies of its checkpoint. :func:`differences` compares tables with what was checked before
(in a running broker, before every key release). Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from jupyter_aisec.broker.store import (
    SCHEMA_VERSION,
    TABLES,
    EntryRow,
    Snapshot,
    column_digest,
    master_rows,
)
from jupyter_aisec.errors import AisecError, TamperedError
from jupyter_aisec.grants.fold import fold
from jupyter_aisec.grants.state import State
from jupyter_aisec.ledger.bodies import ENTRY_TYPES, ArtifactSealed, Body, RunRecorded
from jupyter_aisec.ledger.checkpoint import Checkpoint, open_checkpoint
from jupyter_aisec.ledger.entry import Entry
from jupyter_aisec.ledger.merkle import Tree

__all__ = [
    "BundleCheck",
    "Examination",
    "Finding",
    "Logged",
    "differences",
    "examine",
    "tampered",
]

B = TypeVar("B", bound=Body)

_CUT_OFF = "The stored ledger ends before the checkpoint of which a copy lies outside it."


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One place where the database is not what was logged."""

    table: str
    row: str
    column: str
    what: str

    def __str__(self) -> str:
        return f"{self.table} row {self.row} column {self.column}: {self.what}"


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


def tampered(findings: Sequence[Finding]) -> TamperedError:
    """The error for a database with findings."""
    cut_off = any(finding.what == _CUT_OFF for finding in findings)
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return TamperedError(
        f"The broker's database is not what was logged: {findings[0]}{more}",
        next=(
            "Restore the database from a backup; or, if the entries are lost for good: "
            "`aisec broker accept-rollback --home FOLDER`."
            if cut_off
            else "An admin restores the database from a backup; then check: `aisec audit verify`."
        ),
        code="ledger-cut-off" if cut_off else None,
    )


def examine(
    tables: Snapshot,
    verifier_key: str,
    outside: Mapping[str, str | None],
    check_bundle: BundleCheck,
    *,
    signatures: bool = False,
) -> Examination:
    """Checks everything in tables that are not trusted; with ``signatures``, everybody's too.

    ``verifier_key`` is the log's, from the key store; ``outside`` are the copies of the
    newest checkpoint, by the name of their place. What the entries say is only looked at
    once they are known to be what was logged.
    """
    findings = _schema(tables)
    entries = tuple(
        Entry(index=idx, at=at, type=type_, salt=salt, body=body)
        for idx, at, type_, salt, body, _ in tables["entries"]
        if _are_text(at, type_) and _are_bytes(salt, body)
    )
    tree, found = _grow(entries)
    findings += found
    checkpoint, found = _checkpoint(tables["checkpoints"], verifier_key)
    findings += found
    wrong_root = [] if checkpoint is None else _root(tree, checkpoint)
    as_signed = checkpoint is not None and not wrong_root
    findings += _columns(tables["entries"], as_signed=as_signed)
    findings += _gaps([row[0] for row in tables["entries"]])
    findings += wrong_root
    for place, note in outside.items():
        findings += _outside_copy(place, note, tree, verifier_key)
    note = tables["checkpoints"][0][1] if tables["checkpoints"] else ""
    state = None
    if not findings:
        try:
            state = fold(entries, signatures=signatures)
        except AisecError as error:
            findings.append(Finding(table="entries", row="*", column="body", what=error.what))
        findings += _wrapped_keys(entries, tables["wrapped_keys"])
        findings += _bundles(entries, tree, note, tables["bundles"], check_bundle)
    return Examination(entries=entries, tree=tree, note=note, state=state, findings=tuple(findings))


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
    name = "/".join(str(part)[:80] for part in row[:width])
    return Finding(table=table, row=name, column=column, what=what)


def _schema(tables: Snapshot) -> list[Finding]:
    """The tables are those of this version, and SQLite has nothing besides them."""
    return [
        *_differences("alembic_version", [(SCHEMA_VERSION,)], tables["alembic_version"]),
        *_differences("sqlite_master", master_rows(), tables["sqlite_master"]),
    ]


def _grow(entries: Iterable[Entry]) -> tuple[Tree, list[Finding]]:
    tree, findings = Tree(), []
    for entry in entries:
        try:
            tree.append(entry.leaf_hash)
        except AisecError as error:
            findings.append(
                Finding(table="entries", row=str(entry.index), column="salt", what=error.what)
            )
    return tree, findings


def _columns(rows: Sequence[tuple[Any, ...]], *, as_signed: bool) -> list[Finding]:
    """Compares each column with the digest written beside it.

    Where the entries add up to the signed root, it is the digest that is wrong.
    """
    findings = []
    for row in rows:
        idx, *values, digests = row
        changed = [
            column
            for number, (column, value) in enumerate(
                zip(EntryRow._fields[1:-1], values, strict=True)
            )
            if not isinstance(value, str if number < 2 else bytes)
            or not isinstance(digests, bytes)
            or column_digest(idx, value) != digests[32 * number : 32 * number + 32]
        ]
        if (
            not isinstance(digests, bytes)
            or len(digests) != 32 * len(values)
            or (as_signed and changed)
        ):
            changed = ["digests"]
        elif len(changed) == len(values):
            changed = ["idx"]  # everything is right, at another place
        findings += [_finding("entries", row, 1, column, "it was changed") for column in changed]
    return findings


def _gaps(indexes: Sequence[int]) -> list[Finding]:
    """As many rows as there are have to be numbered from 0 on."""
    wanted, have = range(len(indexes)), set(indexes)
    missing = [index for index in wanted if index not in have]
    surplus = [index for index in indexes if index not in wanted]
    return [
        *(_finding("entries", (index,), 1, "idx", "it is missing") for index in missing),
        *(_finding("entries", (index,), 1, "idx", "it does not belong there") for index in surplus),
    ]


def _checkpoint(
    rows: Sequence[tuple[Any, ...]], verifier_key: str
) -> tuple[Checkpoint | None, list[Finding]]:
    if len(rows) != 1:
        what = "it was added" if rows else "the signed ledger checkpoint is missing"
        row = str(rows[0][0]) if rows else "0"
        return None, [Finding(table="checkpoints", row=row, column="size", what=what)]
    size, note = rows[0]
    try:
        checkpoint = open_checkpoint(note if isinstance(note, str) else "", verifier_key)
    except AisecError as error:
        return None, [Finding(table="checkpoints", row=str(size), column="note", what=error.what)]
    if checkpoint.size != size:
        what = f"the note is signed for {checkpoint.size} entries"
        row = str(checkpoint.size)
        return checkpoint, [Finding(table="checkpoints", row=row, column="size", what=what)]
    return checkpoint, []


def _root(tree: Tree, checkpoint: Checkpoint) -> list[Finding]:
    if tree.size < checkpoint.size:
        what = f"entries {tree.size} to {checkpoint.size - 1} are missing"
        return [Finding(table="entries", row=str(tree.size), column="idx", what=what)]
    if tree.size > checkpoint.size:
        what = "it was added: the signed ledger checkpoint does not cover it"
        return [Finding(table="entries", row=str(checkpoint.size), column="idx", what=what)]
    if tree.root() != checkpoint.root:
        what = "the entries do not add up to the signed root"
        return [Finding(table="entries", row=f"0-{tree.size - 1}", column="*", what=what)]
    return []


def _outside_copy(place: str, note: str | None, tree: Tree, verifier_key: str) -> list[Finding]:
    def finding(what: str) -> list[Finding]:
        return [Finding(table="checkpoints", row=f"copy in the {place}", column="note", what=what)]

    if note is None:
        # The first entry is committed before its first copy can be written.
        return [] if tree.size <= 1 else finding("the copy is missing")
    try:
        checkpoint = open_checkpoint(note, verifier_key)
    except AisecError as error:
        return finding(error.what)
    if checkpoint.size > tree.size:
        return [Finding(table="entries", row=str(tree.size), column="idx", what=_CUT_OFF)]
    if tree.root(checkpoint.size) != checkpoint.root:
        return finding("the stored ledger is not a continuation of this copy")
    return []


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


def _are_text(*values: object) -> bool:
    return all(isinstance(value, str) for value in values)


def _are_bytes(*values: object) -> bool:
    return all(isinstance(value, bytes) for value in values)
