"""The trust file: what is taken on trust about a broker, and everything else follows from.

It pins the genesis entry, which names the first people, keys and policy; the log key by
which ledger checkpoints are known; and the broker's keys, for convenience: they must be
those of the genesis.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from jupyter_aisec.errors import LedgerError, MalformedError
from jupyter_aisec.ledger.bodies import Genesis
from jupyter_aisec.ledger.entry import Entry
from jupyter_aisec.ledger.note import parse_verifier_key
from jupyter_aisec.people.keys import PublicKey

__all__ = ["Trust", "parse_trust", "trust_of"]


class Trust(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The trust file that ``aisec broker trust`` writes."""

    format: Literal["jupyter-aisec/trust/v1"] = "jupyter-aisec/trust/v1"
    origin: str  # the log's name
    log_key: str  # C2SP verifier key of the signed ledger checkpoints
    genesis_sha256: str  # hex, of the genesis leaf hash
    seal_key: bytes  # HPKE public key to which new data keys are sent
    broker_key: PublicKey  # Ed25519: releases, countersignatures, provenance

    def require_same(self, other: Trust) -> None:
        """Raises LedgerError unless ``other`` names the same log and keys as this pinned one."""
        differing = [
            field
            for field in self.__struct_fields__
            if getattr(self, field) != getattr(other, field)
        ]
        if differing:
            raise LedgerError(
                f"This is not the broker that was trusted before: its {', '.join(differing)} "
                f"differ from the ones pinned for {self.origin!r}.",
                next="Ask an admin. If it was made anew on purpose, take a new home, "
                "`export AISEC_HOME=FOLDER`, "
                "and the token they give you: `aisec login --token TOKEN`.",
                code="broker-changed",
            )


def trust_of(entry: Entry) -> Trust:
    """The trust file of the ledger that begins with ``entry``; raises LedgerError."""
    genesis = entry.content()
    if not isinstance(genesis, Genesis):
        raise LedgerError(f"The ledger begins with {entry.type}, not with its genesis.")
    return Trust(
        origin=genesis.origin,
        log_key=genesis.log_key,
        genesis_sha256=entry.leaf_hash.hex(),
        seal_key=genesis.seal_key,
        broker_key=genesis.broker_key,
    )


def parse_trust(data: bytes) -> Trust:
    """The trust file with these bytes (white space is free); raises MalformedError."""
    try:
        trust = msgspec.json.decode(data, type=Trust)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(
            f"The trust file cannot be read: {error}.",
            next="An admin writes one with `aisec broker trust`.",
            code="trust-malformed",
        ) from error
    parse_verifier_key(trust.log_key)
    trust.broker_key.raw()
    return trust
