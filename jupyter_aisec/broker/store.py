"""The broker's database: the stored ledger beside its signed checkpoints, and wrapped keys.

SQLite in WAL mode with ``synchronous=FULL``: a commit is on the disk before it returns.
There is one writer, one process that holds the home's lock, one connection. Nothing here
decides anything: rows are believed only after :mod:`jupyter_aisec.broker.ledger` checked
them against the signed ledger checkpoint. What SQLite would do by itself (triggers, views)
counts as rows too, of its own table ``sqlite_master``: a commit that a trigger undoes is none.
"""

from __future__ import annotations

import fcntl
import os
import shlex
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.engine import Connection
from sqlalchemy.pool import StaticPool

from jupyter_aisec.broker.digests import ColumnDigests
from jupyter_aisec.errors import ConflictError, LedgerError, TamperedError
from jupyter_aisec.ledger.entry import Entry

__all__ = [
    "SCHEMA_VERSION",
    "TABLES",
    "UNKEYED_VERSION",
    "BundleRow",
    "CheckpointRow",
    "EntryRow",
    "HomeLock",
    "MasterRow",
    "Row",
    "Snapshot",
    "Store",
    "Transaction",
    "WrappedKeyRow",
    "has_entries",
    "master_rows",
    "snapshot_of",
]

metadata = sa.MetaData()
_entries = sa.Table(
    "entries",
    metadata,
    sa.Column("idx", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("salt", sa.LargeBinary, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("digests", sa.LargeBinary, nullable=False),
)
_checkpoints = sa.Table(
    "checkpoints",
    metadata,
    sa.Column("size", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("note", sa.Text, nullable=False),
)
_wrapped_keys = sa.Table(
    "wrapped_keys",
    metadata,
    sa.Column("seal_id", sa.Text, primary_key=True),
    sa.Column("key_id", sa.Text, primary_key=True),
    sa.Column("wrapped", sa.LargeBinary, nullable=False),
)
_bundles = sa.Table(
    "bundles",
    metadata,
    sa.Column("seal_id", sa.Text, primary_key=True),
    sa.Column("bundle", sa.LargeBinary, nullable=False),
)


class EntryRow(NamedTuple):
    """An entry, and in ``digests`` what tells an auditor which column was changed."""

    idx: int
    at: str
    type: str
    salt: bytes
    body: bytes
    digests: bytes

    @classmethod
    def of(cls, entry: Entry, digests: ColumnDigests) -> EntryRow:
        values = (entry.index, entry.at, entry.type, entry.salt, entry.body)
        return cls(*values, digests.of(*values))


class CheckpointRow(NamedTuple):
    """The newest signed ledger checkpoint; older ones follow from the entries."""

    size: int
    note: str


class WrappedKeyRow(NamedTuple):
    seal_id: str
    key_id: str
    wrapped: bytes


class BundleRow(NamedTuple):
    seal_id: str
    bundle: bytes


class SchemaRow(NamedTuple):
    """Alembic's own table: which migration the tables are at."""

    version_num: str


class MasterRow(NamedTuple):
    """SQLite's own table: every table, index, view and trigger that there is."""

    type: str
    name: str
    tbl_name: str
    sql: str | None


Row = EntryRow | CheckpointRow | WrappedKeyRow | BundleRow
Snapshot = dict[str, list[tuple[Any, ...]]]  # every column of every row of every table

TABLES: Final[dict[str, tuple[type[Row] | type[SchemaRow] | type[MasterRow], int]]] = {
    # table: the row's type, and how many of its columns are its key
    "entries": (EntryRow, 1),
    "checkpoints": (CheckpointRow, 1),
    "wrapped_keys": (WrappedKeyRow, 2),
    "bundles": (BundleRow, 1),
    "alembic_version": (SchemaRow, 1),
    "sqlite_master": (MasterRow, 2),
}
SCHEMA_VERSION: Final = "0002"
UNKEYED_VERSION: Final = "0001"  # of homes made before column digests were keyed
_ORDER = {table: row._fields[:width] for table, (row, width) in TABLES.items()}
_SELECT = {
    table: f"SELECT {', '.join(row._fields)} FROM {table} ORDER BY {', '.join(_ORDER[table])}"  # noqa: S608 - constants
    for table, (row, _) in TABLES.items()
}
_TABLE_OF = {
    EntryRow: _entries,
    CheckpointRow: _checkpoints,
    WrappedKeyRow: _wrapped_keys,
    BundleRow: _bundles,
}
_KEY_OF = {row: TABLES[table.name][1] for row, table in _TABLE_OF.items()}


class HomeLock:
    """One broker per home: held until closed, and let go by the system if we die.

    It is on the folder itself, so that no file can be deleted to let a second broker in. Not
    on the database: SQLite's own locks there go when any descriptor of that file is closed.
    """

    def __init__(self, home: Path) -> None:
        try:
            self._folder = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            raise LedgerError(
                f"There is no broker in {home}.",
                next=f"Make one: `aisec broker init --home {shlex.quote(str(home))} "
                "--admin NAME=FILE`.",
                code="genesis-missing",
            ) from None
        try:
            fcntl.flock(self._folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            if isinstance(error, BlockingIOError):
                raise ConflictError(
                    f"Another broker is running on {home}.",
                    next="Use that one or stop it; another one has its own folder: "
                    "`--home FOLDER`.",
                    code="home-in-use",
                ) from None
            raise LedgerError(
                f"{home} cannot be locked: {error.strerror}.",
                next="Take a folder on a disk of this machine, not of another: `--home FOLDER`.",
                code="home-unlockable",
            ) from error

    def close(self) -> None:
        os.close(self._folder)


class Store:
    """The database file of one broker home."""

    def __init__(self, path: Path, log_key: str, digests: ColumnDigests) -> None:
        """Opens the file, or makes it (0600), and brings its tables up to date.

        ``log_key`` is the verifier key of the ledger checkpoints. Raises TamperedError where
        tables of an earlier version are not what was logged.
        """
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._engine = sa.create_engine(
            f"sqlite:///{path}",
            poolclass=StaticPool,
            isolation_level=None,  # SQLAlchemy's own BEGIN is replaced by the one below
            connect_args={"check_same_thread": False},
        )
        sa.event.listen(self._engine, "connect", _on_connect)
        sa.event.listen(self._engine, "begin", _on_begin)
        self._path = path
        try:
            with _as_ledger_error(path), self._engine.begin() as connection:
                migrate(connection, log_key=log_key, digests=digests)
        except BaseException:
            self.close()
            raise

    def snapshot(self) -> Snapshot:
        """All rows of all tables at one moment, each table in the order of its key."""
        with _as_ledger_error(self._path):
            pooled = self._engine.raw_connection()
            try:
                return _read_all(pooled.driver_connection)
            finally:
                pooled.close()

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One ``BEGIN IMMEDIATE`` transaction: durable when the block ends, or not at all."""
        with _as_ledger_error(self._path), self._engine.begin() as connection:
            transaction = Transaction(connection)
            yield transaction
            transaction.read_back()

    def close(self) -> None:
        self._engine.dispose()


def snapshot_of(path: Path) -> Snapshot:
    """All rows of a database file, read only: nothing is migrated or repaired on the way."""
    with _as_ledger_error(path):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            return _read_all(connection)
        finally:
            connection.close()


def has_entries(path: Path) -> bool:
    """Whether a database file has the ledger's table, and in it a row; read only."""
    if not path.exists():
        return False
    with _as_ledger_error(path):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            tables = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'entries'"
            made = connection.execute(tables).fetchone()
            return bool(made and connection.execute("SELECT 1 FROM entries LIMIT 1").fetchone())
        finally:
            connection.close()


def _read_all(connection: Any) -> Snapshot:
    """By SQLite's own connection: for whole tables five times as fast as by SQLAlchemy."""
    connection.execute("BEGIN")
    try:
        return {table: connection.execute(_SELECT[table]).fetchall() for table in TABLES}
    except sqlite3.OperationalError:
        # Text that is not UTF-8: read again, slowly, so that it can be said where.
        connection.text_factory = _text_or_bytes
        return {table: connection.execute(_SELECT[table]).fetchall() for table in TABLES}
    finally:
        connection.text_factory = str
        connection.execute("ROLLBACK")


def _text_or_bytes(stored: bytes) -> str | bytes:
    try:
        return stored.decode()
    except UnicodeDecodeError:
        return stored


class Transaction:
    """What a single change may do to the tables."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._written: list[Row] = []

    def master(self) -> list[tuple[Any, ...]]:
        """What SQLite has besides the rows: nobody can add to it while this is open."""
        return [tuple(row) for row in self._connection.exec_driver_sql(_SELECT["sqlite_master"])]

    def ledger_size(self) -> int:
        """One more than the highest index in the stored ledger."""
        return int(
            self._connection.execute(
                sa.select(sa.func.coalesce(sa.func.max(_entries.c.idx) + 1, 0))
            ).scalar_one()
        )

    def replace_checkpoint(self, row: CheckpointRow) -> None:
        self._connection.execute(sa.delete(_checkpoints))
        self.insert([row])

    def insert(self, rows: Sequence[Row]) -> None:
        """Raises TamperedError where the database reports no error and takes no row."""
        for row in rows:
            statement = sa.insert(_TABLE_OF[type(row)]).values(row._asdict())
            if self._connection.execute(statement).rowcount != 1:
                raise _not_kept(row)
            self._written.append(row)

    def read_back(self) -> None:
        """Raises TamperedError unless every row is there as it was inserted."""
        for row in self._written:
            table = _TABLE_OF[type(row)]
            key = zip(table.columns, row[: _KEY_OF[type(row)]], strict=False)
            found = self._connection.execute(
                sa.select(table).where(*(column == value for column, value in key))
            ).all()
            if [tuple(one) for one in found] != [tuple(row)]:
                raise _not_kept(row)


def _not_kept(row: Row) -> TamperedError:
    table = _TABLE_OF[type(row)].name
    key = "/".join(str(part) for part in row[: _KEY_OF[type(row)]])
    return TamperedError(
        f"The broker's database did not keep {table} row {key} as it was written.",
        next="See what else is not as it should be: `aisec audit verify`.",
    )


@cache
def master_rows() -> tuple[tuple[Any, ...], ...]:
    """The rows of ``sqlite_master`` in a database as the migrations make it, and nothing else."""
    engine = sa.create_engine("sqlite://", poolclass=StaticPool, isolation_level=None)
    try:
        with engine.begin() as connection:
            migrate(connection)
            return tuple(Transaction(connection).master())
    finally:
        engine.dispose()


def migrate(connection: Connection, **known: object) -> None:
    """Brings the tables of an open database to this version's shape, by Alembic.

    ``known`` is what the migrations of rows ask for; empty tables ask for nothing.
    """
    config = Config()
    config.set_main_option(
        "script_location", str(resources.files("jupyter_aisec.broker") / "migrations")
    )
    config.attributes.update(known, connection=connection)
    command.upgrade(config, "head")


def _on_connect(connection: Any, _: Any) -> None:
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _on_begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


@contextmanager
def _as_ledger_error(path: Path) -> Iterator[None]:
    """No SQLAlchemy or SQLite error gets out: they quote values."""
    try:
        yield
    except (sa.exc.SQLAlchemyError, sqlite3.Error, CommandError) as error:
        cause = getattr(error, "orig", None) or error
        raise LedgerError(
            f"The broker's database {path} failed: {type(cause).__name__}.",
            next="Make room on its disk, and check that it is whole: `aisec audit verify`.",
            code="store-failed",
        ) from None
