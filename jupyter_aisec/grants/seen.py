"""The ledger that somebody saw when they signed: it must be the beginning of this one."""

from __future__ import annotations

from jupyter_aisec.errors import LedgerError, MalformedError
from jupyter_aisec.grants.state import State
from jupyter_aisec.ledger.checkpoint import Checkpoint

__all__ = ["check_seen"]


def check_seen(state: State, brief: str) -> None:
    """That the ledger checkpoint ``brief`` (``size:root``) is of this ledger.

    Raises MalformedError for what is none, LedgerError for that of another ledger.
    """
    seen = _read_checkpoint(state, brief)
    if seen.size > state.size:
        raise LedgerError(
            f"Whoever signed saw a ledger of {seen.size} entries, and there are {state.size}.",
            next="Entries were lost, or hidden from one of you: `aisec audit verify`.",
            code="checkpoint-ahead",
        )
    if seen.root != state.tree.root(seen.size):
        raise LedgerError(
            f"Whoever signed saw another ledger: its first {seen.size} entries were not these.",
            next="Entries were changed, or hidden from one of you: `aisec audit verify`.",
            code="checkpoint-differs",
        )


def _read_checkpoint(state: State, brief: str) -> Checkpoint:
    try:
        return Checkpoint.from_brief(state.genesis.origin, brief)
    except MalformedError:
        raise MalformedError(
            f"{brief[:80]!r} is not a brief ledger checkpoint (size:root).",
            code="checkpoint-invalid",
        ) from None
