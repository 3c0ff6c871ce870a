"""Column digests under a key: those of 0001 were plain SHA-256, which anybody could make.

Only what adds up to the signed root gets new ones. Else whoever edits a database could set
its version back, and have the broker vouch for the edit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from alembic import context, op

from jupyter_aisec.broker.finding import at_row, tampered
from jupyter_aisec.ledger.checkpoint import open_checkpoint
from jupyter_aisec.ledger.entry import Entry
from jupyter_aisec.ledger.merkle import Tree

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    query = "SELECT idx, at, type, salt, body, digests FROM entries ORDER BY idx"
    rows = [tuple(row) for row in connection.exec_driver_sql(query)]
    if not rows:
        return
    for row in rows:
        if row[-1] != _unkeyed(row):
            what = "it is not as version 0001 wrote it"
            raise tampered([at_row("entries", row[:1], "digests", what)])
    signed = open_checkpoint(
        connection.exec_driver_sql("SELECT note FROM checkpoints").scalar_one(),
        context.config.attributes["log_key"],
    )
    if (len(rows), _root(rows)) != (signed.size, signed.root):
        what = "the entries do not add up to the signed root"
        raise tampered([at_row("entries", (f"0-{len(rows) - 1}",), "*", what)])
    digests = context.config.attributes["digests"]
    for row in rows:
        values = (digests.of(*row[:-1]), row[0])
        connection.exec_driver_sql("UPDATE entries SET digests = ? WHERE idx = ?", values)


def _root(rows: Sequence[tuple[Any, ...]]) -> bytes:
    return Tree(
        Entry(index=idx, at=at, type=type_, salt=salt, body=body).leaf_hash
        for idx, at, type_, salt, body, _ in rows
    ).root()


def _unkeyed(row: tuple[Any, ...]) -> bytes:
    """What 0001 wrote: for each column the SHA-256 of the index and the value."""
    idx, *values, _ = row
    data = (value if isinstance(value, bytes) else str(value).encode() for value in values)
    return b"".join(hashlib.sha256(idx.to_bytes(8, "big") + one).digest() for one in data)
