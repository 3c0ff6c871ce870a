"""Naming what was changed in the rows of the ledger: any cells of any rows, exactly."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_aisec.broker.digests import COLUMNS, SIZE, ColumnDigests
from jupyter_aisec.broker.stored_entries import StoredEntries
from jupyter_aisec.ledger.checkpoint import Checkpoint
from jupyter_aisec.ledger.entry import SALT_SIZE

DIGESTS = ColumnDigests(b"k" * 32)
VALUES = COLUMNS[1:-1]
Row = tuple[Any, ...]


def written(count: int) -> list[Row]:
    rows = []
    for idx in range(count):
        # Types and bodies come again, as they do; salts never do.
        values = (f"at {idx}", f"type {idx % 2}", idx.to_bytes(SALT_SIZE, "big"), b"body")
        rows.append((idx, *values, DIGESTS.of(idx, *values)))
    return rows


def signed(rows: list[Row]) -> Checkpoint:
    tree = StoredEntries(rows).tree
    return Checkpoint("test", tree.size, tree.root())


def found(rows: list[Row], checkpoint: Checkpoint | None) -> list[tuple[str, str]]:
    stored = StoredEntries(sorted(rows))
    return sorted((one.row, one.column) for one in stored.findings(checkpoint, DIGESTS))


def with_value(row: Row, column: str, value: object) -> Row:
    at = COLUMNS.index(column)
    return (*row[:at], value, *row[at + 1 :])


def other(row: Row, column: str) -> object:
    """Another value of the same type."""
    value = row[COLUMNS.index(column)]
    return f"{value}x" if isinstance(value, str) else bytes([value[0] ^ 1]) + value[1:]


LEDGERS = st.integers(1, 9).map(written)
CELLS = st.sets(st.tuples(st.integers(0, 8), st.sampled_from(VALUES)), min_size=1)


def test_digests_are_of_the_size_they_say() -> None:
    assert len(written(1)[0][-1]) == SIZE


@given(LEDGERS)
def test_what_was_logged_has_no_findings(rows: list[Row]) -> None:
    assert found(rows, signed(rows)) == []
    assert found(rows, None) == []


@given(LEDGERS, CELLS, st.booleans())
def test_every_changed_value_is_named_and_nothing_else(
    rows: list[Row], cells: set[tuple[int, str]], with_checkpoint: bool
) -> None:
    checkpoint = signed(rows) if with_checkpoint else None
    cells = {(row, column) for row, column in cells if row < len(rows)}
    edited = list(rows)
    for row, column in cells:
        edited[row] = with_value(edited[row], column, other(edited[row], column))
    assert found(edited, checkpoint) == sorted((str(row), column) for row, column in cells)


@given(LEDGERS, st.sets(st.integers(0, 8), min_size=1))
def test_changed_digests_are_named_and_no_value_is(rows: list[Row], changed: set[int]) -> None:
    edited = [
        with_value(row, "digests", other(row, "digests")) if row[0] in changed else row
        for row in rows
    ]
    expected = [(str(row), "digests") for row in sorted(changed) if row < len(rows)]
    assert found(edited, signed(rows)) == expected


@given(LEDGERS, st.data())
def test_a_value_and_its_digest_are_both_named(rows: list[Row], data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.sampled_from(VALUES))
    at = 16 * COLUMNS.index(column)
    digests = rows[row][-1]
    forged = with_value(rows[row], "digests", digests[:at] + bytes(16) + digests[at + 16 :])
    edited = list(rows)
    edited[row] = with_value(forged, column, other(forged, column))
    assert found(edited, signed(rows)) == sorted([(str(row), column), (str(row), "digests")])


@given(LEDGERS, st.data())
def test_hidden_rows_are_named(rows: list[Row], data: st.DataObject) -> None:
    hidden = data.draw(st.integers(0, len(rows) - 1))
    left = [row for row in rows if row[0] != hidden]
    assert found(left, signed(rows)) == [(str(hidden), "idx")]


@given(st.integers(3, 9).map(written), st.data())
def test_rows_cut_out_are_named_together(rows: list[Row], data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(rows) - 2))
    last = data.draw(st.integers(first + 1, len(rows) - 1))
    left = [row for row in rows if not first <= row[0] <= last]
    assert found(left, signed(rows)) == [(f"{first}-{last}", "idx")]


@given(LEDGERS, st.data())
def test_moved_rows_are_named_as_they_were_logged(rows: list[Row], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(len(rows))))
    moved = [with_value(row, "idx", idx) for row, idx in zip(rows, order, strict=True)]
    expected = [(str(row[0]), "idx") for row, idx in zip(rows, order, strict=True) if row[0] != idx]
    assert found(moved, signed(rows)) == sorted(expected)


@given(LEDGERS, st.data())
def test_a_row_moved_away_and_edited_is_named_for_both(
    rows: list[Row], data: st.DataObject
) -> None:
    row = data.draw(st.integers(0, len(rows) - 1))
    to = data.draw(st.sampled_from([-7, len(rows) + 3]))
    edited = [one for one in rows if one[0] != row]
    edited.append(with_value(with_value(rows[row], "idx", to), "at", "another"))
    assert found(edited, signed(rows)) == [(str(row), "at"), (str(row), "idx")]


@given(LEDGERS, st.data())
def test_a_copied_row_is_named_where_it_lies(rows: list[Row], data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(rows) - 1))
    to = data.draw(st.sampled_from([-7, len(rows), len(rows) + 3]))
    assert found([*rows, with_value(rows[row], "idx", to)], signed(rows)) == [(str(to), "idx")]


@given(st.integers(2, 9).map(written), st.data())
def test_a_copy_over_another_row_hides_that_one(rows: list[Row], data: st.DataObject) -> None:
    row, to = data.draw(
        st.lists(st.integers(0, len(rows) - 1), min_size=2, max_size=2, unique=True)
    )
    copied = [one for one in rows if one[0] != to] + [with_value(rows[row], "idx", to)]
    assert set(found(copied, signed(rows))) == {(str(to), "idx")}


@given(LEDGERS, st.data())
def test_a_digest_is_good_for_one_row_and_one_column_only(
    rows: list[Row], data: st.DataObject
) -> None:
    """What is not where it was made is named, though every part of it is the broker's."""
    parts = [row[-1][at : at + 16] for row in rows for at in range(0, SIZE, 16)]
    row = data.draw(st.integers(0, len(rows) - 1))
    at = 16 * data.draw(st.integers(0, len(COLUMNS) - 1))
    part = data.draw(st.sampled_from([one for one in parts if one != rows[row][-1][at : at + 16]]))
    digests = rows[row][-1]
    edited = list(rows)
    edited[row] = with_value(rows[row], "digests", digests[:at] + part + digests[at + 16 :])
    assert found(edited, signed(rows)) == [(str(row), "digests")]


@pytest.mark.parametrize("column", VALUES)
def test_the_same_text_as_bytes_is_another_value(column: str) -> None:
    rows = written(3)
    value = rows[1][COLUMNS.index(column)]
    other = value.encode() if isinstance(value, str) else value.decode("latin-1")
    edited = [rows[0], with_value(rows[1], column, other), rows[2]]
    assert found(edited, signed(rows)) == [("1", column)]


def test_rows_that_the_checkpoint_does_not_cover_were_added() -> None:
    rows = written(4)
    assert found(rows, signed(rows[:2])) == [("2", "idx"), ("3", "idx")]
