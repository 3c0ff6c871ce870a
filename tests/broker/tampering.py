"""Edits of a broker's database, as somebody with write access to the file could make them.

Each says where it was made, as findings have to say it: table, row, column.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jupyter_aisec.broker.digests import ColumnDigests
from jupyter_aisec.broker.store import TABLES

Place = tuple[str, str, str]
_VALUES = ("at", "type", "salt", "body")
_ONE_ROW = ("checkpoints", "bundles", "alembic_version")
#: Each column of each table, in the first, a middle and the last row.
CELLS = [
    (table, column, which)
    for table, (row, _) in TABLES.items()
    if table != "sqlite_master"  # SQLite writes it; see FAULTS
    for column in row._fields
    for which in (("last",) if table in _ONE_ROW else ("first", "middle", "last"))
]


@contextmanager
def database(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, timeout=10)
    try:
        yield connection
        connection.commit()
    finally:
        connection.close()


def changed(value: Any) -> Any:
    """A value of the same type that is almost the same."""
    if isinstance(value, int):
        return value + 1000
    if isinstance(value, str):
        return value[:-1] + ("0" if value[-1] != "0" else "1")
    return value[:-1] + bytes([value[-1] ^ 1])


def edit(path: Path, table: str, column: str, which: str = "last") -> Place:
    """Changes one column of one row of a table."""
    row_type, width = TABLES[table]
    key = row_type._fields[:width]
    with database(path) as connection:
        rows = connection.execute(
            f"SELECT {', '.join(row_type._fields)} FROM {table} ORDER BY {', '.join(key)}"
        ).fetchall()
        row = rows[{"first": 0, "middle": len(rows) // 2, "last": -1}[which]]
        values = dict(zip(row_type._fields, row, strict=True))
        where = " AND ".join(f"{name} = ?" for name in key)
        connection.execute(
            f"UPDATE {table} SET {column} = ? WHERE {where}",
            (changed(values[column]), *(values[name] for name in key)),
        )
    return table, "/".join(str(values[name]) for name in key), column


def entries(*places: tuple[int | str, str]) -> set[Place]:
    return {("entries", str(row), column) for row, column in places}


def last_index(connection: sqlite3.Connection) -> int:
    index: int = connection.execute("SELECT max(idx) FROM entries").fetchone()[0]
    return index


def hide_row(connection: sqlite3.Connection) -> set[Place]:
    connection.execute("DELETE FROM entries WHERE idx = 2")
    return entries((2, "idx"))


def hide_first_row(connection: sqlite3.Connection) -> set[Place]:
    connection.execute("DELETE FROM entries WHERE idx = 0")
    return entries((0, "idx"))


def add_row(connection: sqlite3.Connection) -> set[Place]:
    at = last_index(connection) + 1
    connection.execute(
        "INSERT INTO entries SELECT ?, at, type, salt, body, digests FROM entries WHERE idx = 2",
        (at,),
    )
    return entries((at, "idx"))


def add_row_before_the_first(connection: sqlite3.Connection) -> set[Place]:
    connection.execute(
        "INSERT INTO entries SELECT -1, at, type, salt, body, digests FROM entries WHERE idx = 2"
    )
    return entries((-1, "idx"))


def add_row_of_ones_own(connection: sqlite3.Connection) -> set[Place]:
    at = last_index(connection) + 1
    connection.execute(
        "INSERT INTO entries VALUES (?, '2026-01-01', 'keys.released', zeroblob(32), x'7b7d', ?)",
        (at, bytes(96)),
    )
    return entries((at, "idx"))


def reorder_rows(connection: sqlite3.Connection) -> set[Place]:
    for before, after in ((2, 999), (3, 2), (999, 3)):
        connection.execute("UPDATE entries SET idx = ? WHERE idx = ?", (after, before))
    return entries((2, "idx"), (3, "idx"))


def cut_off_the_end(connection: sqlite3.Connection) -> set[Place]:
    last = last_index(connection)
    connection.execute("DELETE FROM entries WHERE idx = ?", (last,))
    return entries((last, "idx"))


def swap_values(connection: sqlite3.Connection) -> set[Place]:
    """Two entries are exchanged, the digests stay where they were."""
    query = "SELECT at, type, salt, body FROM entries WHERE idx IN (2, 3) ORDER BY idx DESC"
    third, second = connection.execute(query).fetchall()
    for idx, row in ((2, third), (3, second)):
        update = "UPDATE entries SET at = ?, type = ?, salt = ?, body = ? WHERE idx = ?"
        connection.execute(update, (*row, idx))
    columns = [
        name for name, one, other in zip(_VALUES, second, third, strict=True) if one != other
    ]
    return entries(*((row, column) for row in (2, 3) for column in columns))


def body_and_digests(
    connection: sqlite3.Connection, digests: Callable[[tuple[Any, ...]], bytes]
) -> None:
    """Row 2 with another body, and with what ``digests`` makes of the edited row."""
    query = "SELECT idx, at, type, salt, body, digests FROM entries WHERE idx = 2"
    *values, body, old = connection.execute(query).fetchone()
    edited = (*values, changed(body), old)
    update = "UPDATE entries SET body = ?, digests = ? WHERE idx = 2"
    connection.execute(update, (edited[4], digests(edited)))


def match_digests_without_the_key(connection: sqlite3.Connection) -> set[Place]:
    """All of the row's digests are made anew, in the right form, with another key."""
    body_and_digests(connection, lambda row: ColumnDigests(bytes(32)).of(*row[:-1]))
    return entries((2, "body"), (2, "digests"))


def match_digests_without_a_key(connection: sqlite3.Connection) -> set[Place]:
    """As they were made before they were keyed."""
    body_and_digests(
        connection,
        lambda row: b"".join(
            hashlib.sha256(
                row[0].to_bytes(8, "big") + (one.encode() if isinstance(one, str) else one)
            ).digest()
            for one in row[1:-1]
        ),
    )
    return entries((2, "body"), (2, "digests"))


def match_one_digest_without_the_key(connection: sqlite3.Connection) -> set[Place]:
    """Only the digest of the body is made anew."""

    def forged(row: tuple[Any, ...]) -> bytes:
        made: bytes = row[-1][:64] + hashlib.sha256(row[-2]).digest()[:16] + row[-1][80:]
        return made

    body_and_digests(connection, forged)
    return entries((2, "body"), (2, "digests"))


def copy_digests(connection: sqlite3.Connection) -> set[Place]:
    """The digests of another row, which are right there."""
    query = "UPDATE entries SET digests = (SELECT digests FROM entries WHERE idx = 3) WHERE idx = 2"
    connection.execute(query)
    return entries((2, "digests"))


def swap_digests(connection: sqlite3.Connection) -> set[Place]:
    query = "SELECT digests FROM entries WHERE idx IN (2, 3) ORDER BY idx DESC"
    for idx, row in zip((2, 3), connection.execute(query).fetchall(), strict=True):
        connection.execute("UPDATE entries SET digests = ? WHERE idx = ?", (*row, idx))
    return entries((2, "digests"), (3, "digests"))


def swap_digests_of_columns(connection: sqlite3.Connection) -> set[Place]:
    """Within one row: that of `at` for that of `type`."""
    query = "SELECT digests FROM entries WHERE idx = 2"
    old = connection.execute(query).fetchone()[0]
    new = old[:16] + old[32:48] + old[16:32] + old[48:]
    connection.execute("UPDATE entries SET digests = ? WHERE idx = 2", (new,))
    return entries((2, "digests"))


def add_wrapped_key(connection: sqlite3.Connection) -> set[Place]:
    connection.execute("INSERT INTO wrapped_keys VALUES ('seal_X', 'key_X', x'00')")
    return {("wrapped_keys", "seal_X/key_X", "seal_id")}


def hide_wrapped_key(connection: sqlite3.Connection) -> set[Place]:
    query = "SELECT min(seal_id) FROM wrapped_keys WHERE key_id = 'output'"
    seal_id = connection.execute(query).fetchone()[0]
    connection.execute(
        "DELETE FROM wrapped_keys WHERE key_id = 'output' AND seal_id = ?", (seal_id,)
    )
    return {("wrapped_keys", f"{seal_id}/output", "seal_id")}


def swap_wrapped_keys(connection: sqlite3.Connection) -> set[Place]:
    query = "SELECT seal_id, key_id, wrapped FROM wrapped_keys ORDER BY seal_id LIMIT 2"
    (*first, one), (*second, other) = connection.execute(query).fetchall()
    update = "UPDATE wrapped_keys SET wrapped = ? WHERE seal_id = ? AND key_id = ?"
    connection.execute(update, (other, *first))
    connection.execute(update, (one, *second))
    return {("wrapped_keys", "/".join(key), "wrapped") for key in (first, second)}


def add_bundle(connection: sqlite3.Connection) -> set[Place]:
    connection.execute("INSERT INTO bundles VALUES ('seal_X', x'00')")
    return {("bundles", "seal_X", "seal_id")}


def hide_bundle(connection: sqlite3.Connection) -> set[Place]:
    seal_id = connection.execute("SELECT seal_id FROM bundles").fetchone()[0]
    connection.execute("DELETE FROM bundles")
    return {("bundles", seal_id, "seal_id")}


def hide_checkpoint(connection: sqlite3.Connection) -> set[Place]:
    connection.execute("DELETE FROM checkpoints")
    return {("checkpoints", str(last_index(connection) + 1), "size")}


def add_checkpoint(connection: sqlite3.Connection) -> set[Place]:
    connection.execute("INSERT INTO checkpoints SELECT 1, note FROM checkpoints")
    return {("checkpoints", "1", "size")}


def change_type(connection: sqlite3.Connection) -> set[Place]:
    connection.execute("UPDATE entries SET at = CAST(at AS BLOB) WHERE idx = 1")
    return entries((1, "at"))


def change_type_of_digests(connection: sqlite3.Connection) -> set[Place]:
    connection.execute("UPDATE entries SET digests = 'x' WHERE idx = 1")
    return entries((1, "digests"))


def spoil_text(connection: sqlite3.Connection) -> set[Place]:
    """Bytes that no text is made of."""
    connection.execute("UPDATE entries SET type = CAST(x'ff' AS TEXT) WHERE idx = 1")
    return entries((1, "type"))


def plant_trigger(connection: sqlite3.Connection) -> set[Place]:
    """Releases are logged, as far as the broker is told."""
    connection.execute(
        "CREATE TRIGGER planted BEFORE INSERT ON entries WHEN NEW.type = 'keys.released'"
        " BEGIN SELECT RAISE(IGNORE); END"
    )
    return {("sqlite_master", "trigger/planted", "type")}


def plant_table(connection: sqlite3.Connection) -> set[Place]:
    connection.execute("CREATE TABLE planted (x)")
    return {("sqlite_master", "table/planted", "type")}


def plant_view(connection: sqlite3.Connection) -> set[Place]:
    connection.execute("CREATE VIEW planted AS SELECT * FROM entries")
    return {("sqlite_master", "view/planted", "type")}


def plant_index(connection: sqlite3.Connection) -> set[Place]:
    connection.execute("CREATE UNIQUE INDEX planted ON entries (at)")
    return {("sqlite_master", "index/planted", "type")}


def change_table(connection: sqlite3.Connection) -> set[Place]:
    connection.execute("ALTER TABLE wrapped_keys ADD COLUMN planted")
    return {("sqlite_master", "table/wrapped_keys", "sql")}


def set_back_the_version(connection: sqlite3.Connection) -> set[Place]:
    """To that of unkeyed digests, in the hope that the broker makes them anew."""
    connection.execute("UPDATE alembic_version SET version_num = '0001'")
    return {("alembic_version", "0002", "version_num")}


Fault = Callable[[sqlite3.Connection], set[Place]]
FAULTS: dict[str, Fault] = {
    "row hidden": hide_row,
    "first row hidden": hide_first_row,
    "row added": add_row,
    "row added before the first": add_row_before_the_first,
    "row of one's own added": add_row_of_ones_own,
    "rows reordered": reorder_rows,
    "rows cut off the end": cut_off_the_end,
    "values of two rows swapped": swap_values,
    "edited with digests made to match by somebody without the key": match_digests_without_the_key,
    "edited with digests as they were made before they were keyed": match_digests_without_a_key,
    "edited with one digest made to match": match_one_digest_without_the_key,
    "digests of another row": copy_digests,
    "digests of two rows swapped": swap_digests,
    "digests of two columns swapped": swap_digests_of_columns,
    "wrapped key added": add_wrapped_key,
    "wrapped key hidden": hide_wrapped_key,
    "wrapped keys swapped": swap_wrapped_keys,
    "bundle added": add_bundle,
    "bundle hidden": hide_bundle,
    "checkpoint hidden": hide_checkpoint,
    "checkpoint added": add_checkpoint,
    "value of another type": change_type,
    "digests of another type": change_type_of_digests,
    "text that is none": spoil_text,
    "trigger planted": plant_trigger,
    "table planted": plant_table,
    "view planted": plant_view,
    "index planted": plant_index,
    "table changed": change_table,
    "version set back": set_back_the_version,
}

#: Of whom the digests are gone, only the broker's memory knows which of these was changed.
VAGUE: dict[str, set[Place]] = {
    fault: entries(*((2, column) for column in columns))
    for fault, columns in (
        ("edited with digests made to match by somebody without the key", _VALUES),
        ("edited with digests as they were made before they were keyed", _VALUES),
        ("edited with one digest made to match", ("body",)),
    )
}
