"""The rows of the table ``entries``, held against a signed ledger checkpoint. Pure.

The root says whether all of them together are what was logged. Where they are not, the
column digests say which row and column is not, if their key is at hand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from jupyter_aisec.broker.digests import ColumnDigests
from jupyter_aisec.broker.finding import Finding, at_row
from jupyter_aisec.errors import AisecError
from jupyter_aisec.ledger.checkpoint import Checkpoint
from jupyter_aisec.ledger.entry import Entry
from jupyter_aisec.ledger.merkle import Tree

__all__ = ["StoredEntries", "span"]

Row = Sequence[Any]
_TYPES: Final[tuple[tuple[str, type], ...]] = (
    ("at", str),
    ("type", str),
    ("salt", bytes),
    ("body", bytes),
)
_CHANGED = "it was changed"
_ADDED = "it was added"
_ANOTHER_TIME = "each of them is one that this broker wrote there, at one time or another"
_NO_KEY = "which row and column is wrong can only be told with the broker's keys"


class StoredEntries:
    """What the rows hold, whether or not it is what was logged."""

    def __init__(self, rows: Sequence[Row]) -> None:
        """``rows`` are all columns of all rows, in the order of their index."""
        self._rows = rows
        self.tree = Tree()
        self._unreadable: list[Finding] = []
        read = []
        for idx, *values, _ in rows:
            wrong = [
                column
                for (column, kind), value in zip(_TYPES, values, strict=True)
                if not isinstance(value, kind)
            ]
            self._unreadable += [_finding(idx, column, _CHANGED) for column in wrong]
            if wrong:
                continue
            at, type_, salt, body = values
            entry = Entry(index=idx, at=at, type=type_, salt=salt, body=body)
            try:
                self.tree.append(entry.leaf_hash)
                read.append(entry)
            except AisecError as error:
                self._unreadable.append(_finding(idx, "salt", error.what))
        self.entries = tuple(read)

    @property
    def end(self) -> int:
        """One more than the highest index; 0 without rows."""
        return self._rows[-1][0] + 1 if self._rows else 0

    def add_up_to(self, checkpoint: Checkpoint) -> bool:
        """Whether these are exactly the entries that were signed, each at its place."""
        return (
            not self._unreadable
            and all(row[0] == idx for idx, row in enumerate(self._rows))
            and self.tree.size == checkpoint.size
            and self.tree.root() == checkpoint.root
        )

    def findings(
        self, signed: Checkpoint | None, digests: ColumnDigests | None
    ) -> Iterator[Finding]:
        """Every row and column that is not as it was logged.

        ``signed`` is the newest checkpoint that there is; ``digests`` are None where their
        key is not at hand: then an edited row is noticed and cannot be named. Nor can one
        that this broker wrote at that very place in a ledger that was given up since.
        """
        if signed is not None and self.add_up_to(signed):
            # The values are what was signed, so where they differ it is the digests.
            for *values, stored in self._rows:
                if digests is not None and digests.of(*values) != stored:
                    yield _finding(values[0], "digests", _CHANGED)
            return
        size = None if signed is None else signed.size
        found = list(self._by_digests(digests, size) if digests else self._by_numbers(size))
        yield from found
        if not found and size is not None:
            why = _ANOTHER_TIME if digests else _NO_KEY
            what = f"the entries do not add up to the signed root; {why}"
            yield _finding(f"0-{size - 1}", "*", what)

    def _by_numbers(self, size: int | None) -> Iterator[Finding]:
        """What can be said without the key: types, sizes, and the numbering."""
        yield from self._unreadable
        have = {row[0] for row in self._rows}
        if size is None:
            size = len(have)
        yield from (_finding(idx, "idx", _ADDED) for idx in sorted(have) if not 0 <= idx < size)
        yield from _missing(idx for idx in range(size) if idx not in have)

    def _by_digests(self, digests: ColumnDigests, size: int | None) -> Iterator[Finding]:
        """Each row is held against what was written at its place, or where it came from."""
        suspect = [
            (row, changed) for row in self._rows if (changed := digests.changed(row, row[0]))
        ]
        there = {row[0] for row in self._rows} - {row[0] for row, _ in suspect}
        if size is None:
            size = max(len(self._rows), *(idx + 1 for idx in there), 0)
        yield from (
            _finding(idx, "idx", "it was added: the signed checkpoint does not cover it")
            for idx in sorted(there)
            if idx >= size
        )
        came_from = digests.index_digests(size) if suspect else {}
        for row, changed in suspect:
            idx = row[0]
            origin = came_from.get(digests.index_digest(row), int(idx))
            also = digests.changed(row, origin)
            if origin != idx and not {"salt", "body"} <= set(also):  # no two rows share these
                if origin in there:
                    yield _finding(idx, "idx", f"it was added: it is row {origin} again")
                    continue
                there.add(origin)
                yield _finding(origin, "idx", f"{_CHANGED}: the row lies at {idx}")
                yield from _changed_columns(origin, also)
            elif 0 <= idx < size:
                there.add(idx)
                yield from _changed_columns(idx, changed)
            else:
                yield _finding(idx, "idx", _ADDED)
        yield from _missing(idx for idx in range(size) if idx not in there)


def _changed_columns(idx: int, changed: Sequence[str]) -> Iterator[Finding]:
    what = "it or its digest was changed" if "digests" in changed else _CHANGED
    for column in changed:
        if column == "digests":
            yield _finding(idx, column, _CHANGED)
        elif column != "idx":  # the row lies where its number says, or was found elsewhere
            yield _finding(idx, column, what)


def _missing(indexes: Iterable[int]) -> Iterator[Finding]:
    """One finding for each row, or for rows that follow each other."""
    run: list[int] = []
    for idx in indexes:
        if run and idx != run[-1] + 1:
            yield _gap(run[0], run[-1])
            run.clear()
        run.append(idx)
    if run:
        yield _gap(run[0], run[-1])


def _gap(first: int, last: int) -> Finding:
    what = "it is missing" if first == last else "they are missing"
    return _finding(span(first, last), "idx", what)


def span(first: int, last: int) -> str:
    """How rows that follow each other are named."""
    return str(first) if first == last else f"{first}-{last}"


def _finding(row: int | str, column: str, what: str) -> Finding:
    return at_row("entries", (row,), column, what)
