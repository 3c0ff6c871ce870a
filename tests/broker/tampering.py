"""Edits of a broker's database, as somebody with write access to the file could make them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jupyter_aisec.broker.store import TABLES

COLUMNS = [
    (table, column)
    for table, (row, _) in TABLES.items()
    if table != "sqlite_master"  # SQLite writes it; see FAULTS
    for column in row._fields
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


def edit(path: Path, table: str, column: str) -> str:
    """Changes one column of the last row of a table; returns how findings name the row."""
    row_type, width = TABLES[table]
    key = row_type._fields[:width]
    with database(path) as connection:
        order = ", ".join(f"{name} DESC" for name in key)
        row = connection.execute(
            f"SELECT {', '.join(row_type._fields)} FROM {table} ORDER BY {order} LIMIT 1"
        ).fetchone()
        values = dict(zip(row_type._fields, row, strict=True))
        where = " AND ".join(f"{name} = ?" for name in key)
        connection.execute(
            f"UPDATE {table} SET {column} = ? WHERE {where}",
            (changed(values[column]), *(values[name] for name in key)),
        )
    return "/".join(str(values[name]) for name in key)


def hide_row(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM entries WHERE idx = 2")


def add_row(connection: sqlite3.Connection) -> None:
    connection.execute(
        "INSERT INTO entries SELECT (SELECT max(idx) + 1 FROM entries), at, type, salt, body,"
        " digests FROM entries WHERE idx = 2"
    )


def reorder_rows(connection: sqlite3.Connection) -> None:
    for before, after in ((2, 999), (3, 2), (999, 3)):
        connection.execute("UPDATE entries SET idx = ? WHERE idx = ?", (after, before))


def cut_off_the_end(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM entries WHERE idx = (SELECT max(idx) FROM entries)")


def add_wrapped_key(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO wrapped_keys VALUES ('seal_X', 'key_X', x'00')")


def hide_wrapped_key(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM wrapped_keys WHERE key_id = 'output'")


def swap_wrapped_keys(connection: sqlite3.Connection) -> None:
    query = "SELECT wrapped FROM wrapped_keys ORDER BY seal_id LIMIT 2"
    first, second = (row[0] for row in connection.execute(query))
    connection.execute("UPDATE wrapped_keys SET wrapped = x'' WHERE wrapped = ?", (first,))
    connection.execute("UPDATE wrapped_keys SET wrapped = ? WHERE wrapped = ?", (first, second))
    connection.execute("UPDATE wrapped_keys SET wrapped = ? WHERE wrapped = x''", (second,))


def add_bundle(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO bundles VALUES ('seal_X', x'00')")


def hide_checkpoint(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM checkpoints")


def change_type(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE entries SET at = CAST(at AS BLOB) WHERE idx = 1")


def plant_trigger(connection: sqlite3.Connection) -> None:
    """Releases are logged, as far as the broker is told."""
    connection.execute(
        "CREATE TRIGGER planted BEFORE INSERT ON entries WHEN NEW.type = 'keys.released'"
        " BEGIN SELECT RAISE(IGNORE); END"
    )


def plant_table(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TABLE planted (x)")


def plant_view(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE VIEW planted AS SELECT * FROM entries")


def plant_index(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE UNIQUE INDEX planted ON entries (at)")


def change_table(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE wrapped_keys ADD COLUMN planted")


# fault: (how, table, row as a pattern of findings, column)
FAULTS = {
    "row hidden": (hide_row, "entries", "2", "idx"),
    "row added": (add_row, "entries", None, "idx"),
    "rows reordered": (reorder_rows, "entries", "2", None),
    "rows cut off the end": (cut_off_the_end, "entries", None, "idx"),
    "wrapped key added": (add_wrapped_key, "wrapped_keys", "seal_X/key_X", "seal_id"),
    "wrapped key hidden": (hide_wrapped_key, "wrapped_keys", None, "seal_id"),
    "wrapped keys swapped": (swap_wrapped_keys, "wrapped_keys", None, "wrapped"),
    "bundle added": (add_bundle, "bundles", "seal_X", "seal_id"),
    "checkpoint hidden": (hide_checkpoint, "checkpoints", None, "size"),
    "value of another type": (change_type, "entries", "1", "at"),
    "trigger planted": (plant_trigger, "sqlite_master", "trigger/planted", "type"),
    "table planted": (plant_table, "sqlite_master", "table/planted", "type"),
    "view planted": (plant_view, "sqlite_master", "view/planted", "type"),
    "index planted": (plant_index, "sqlite_master", "index/planted", "type"),
    "table changed": (change_table, "sqlite_master", "table/wrapped_keys", "sql"),
}
