"""The trust file of a home: what a verifier pins, read without starting a broker."""

from __future__ import annotations

from pathlib import Path

import msgspec

from jupyter_aisec.broker.service import DATABASE, genesis_missing
from jupyter_aisec.broker.store import snapshot_of
from jupyter_aisec.ledger.entry import Entry
from jupyter_aisec.ledger.trust import trust_of

__all__ = ["trust_file"]


def trust_file(home: Path) -> bytes:
    """The trust file as JSON, indented for people; raises LedgerError on an empty home."""
    file = home / DATABASE
    rows = snapshot_of(file)["entries"] if file.exists() else []
    if not rows:
        raise genesis_missing(home)
    index, at, type_, salt, body, _ = rows[0]
    trust = trust_of(Entry(index=index, at=at, type=type_, salt=salt, body=body))
    return msgspec.json.format(msgspec.json.encode(trust), indent=2) + b"\n"
