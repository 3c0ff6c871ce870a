"""What a client takes on trust: the trust file, pinned at the first contact."""

from __future__ import annotations

import msgspec

from jupyter_aisec.errors import LedgerError, MalformedError
from jupyter_aisec.people.keys import PublicKey

__all__ = ["Trust", "parse_trust"]

FORMAT = "jupyter-aisec/trust/v1"


class Trust(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The trust file that ``aisec broker trust`` writes."""

    format: str
    origin: str  # the log's name
    log_key: str  # C2SP verifier key of the signed ledger checkpoints
    genesis_sha256: str  # hex, of the genesis leaf hash
    seal_key: bytes  # HPKE public key to which new data keys are sent
    broker_key: PublicKey  # Ed25519: releases, countersignatures, provenance

    def require_same(self, other: Trust) -> None:
        """Raises LedgerError unless ``other`` names the same log and keys as this pinned one."""
        if self != other:
            differing = [
                field
                for field in self.__struct_fields__
                if getattr(self, field) != getattr(other, field)
            ]
            raise LedgerError(
                f"This is not the broker that was trusted before: its {', '.join(differing)} "
                f"differ from the ones pinned for {self.origin!r}.",
                next="Ask an admin. If the broker was made anew on purpose, use a new AISEC_HOME.",
                code="broker-changed",
            )


def parse_trust(data: bytes) -> Trust:
    """The trust file with these bytes (white space is free); raises MalformedError."""
    try:
        trust = msgspec.json.decode(data, type=Trust)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(f"The trust file cannot be read: {error}.") from error
    if trust.format != FORMAT:
        raise MalformedError(
            f"The trust file has the format {trust.format[:60]!r}, not {FORMAT!r}."
        )
    trust.broker_key.load()
    return trust
