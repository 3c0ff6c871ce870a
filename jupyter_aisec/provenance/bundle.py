"""The bundle beside a manifest: a run's statement with everything that verifies it.

Canonical JSON (RFC 8785), so that one bundle has one spelling: the signed statement, the
record and the observation, the entries of the chain of custody with their salts and
inclusion proofs, the signed ledger checkpoint that the proofs lead to, and the model
signature. Consistency proofs lead from each ledger checkpoint that an approver saw to that
one: the approver and the verifier looked at the same ledger.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from jupyter_aisec.errors import MalformedError
from jupyter_aisec.ledger.entry import Entry
from jupyter_aisec.ledger.merkle import Tree
from jupyter_aisec.people.canonical import canonical, parse_canonical
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.provenance.model_signing import ModelSignature

__all__ = ["MAX_BUNDLE_SIZE", "Bundle", "ProvedEntry", "SeenCheckpoint", "parse_bundle", "prove"]

MAX_BUNDLE_SIZE = 256 << 20  # bytes


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The base of a bundle's parts."""


class ProvedEntry(_Part, frozen=True, kw_only=True):
    """An entry as stored, and the proof that it is under the bundle's checkpoint."""

    index: int
    at: str
    type: str
    salt: bytes
    body: bytes
    proof: tuple[bytes, ...]

    @property
    def entry(self) -> Entry:
        return Entry(self.index, self.at, self.type, self.salt, self.body)


class SeenCheckpoint(_Part, frozen=True, kw_only=True):
    """The proof that a ledger of ``size`` entries is the beginning of the bundle's."""

    size: int
    proof: tuple[bytes, ...]


class Bundle(_Part, frozen=True, kw_only=True):
    """Everything about one run that can be checked with a trust file alone."""

    format: Literal["jupyter-aisec/bundle/v1"] = "jupyter-aisec/bundle/v1"
    statement: Envelope
    record: Envelope
    observation: Envelope | None
    checkpoint: str  # a signed note
    entries: tuple[ProvedEntry, ...]
    seen: tuple[SeenCheckpoint, ...]
    model_signature: ModelSignature

    def to_bytes(self) -> bytes:
        """The content of ``bundle.json``."""
        return canonical(self)


def parse_bundle(data: bytes) -> Bundle:
    """The bundle with exactly these bytes; raises MalformedError for any other spelling."""
    if len(data) > MAX_BUNDLE_SIZE:
        raise MalformedError("The bundle is larger than any bundle may be.")
    bundle = parse_canonical(data, Bundle, "The bundle")
    indexes = [one.index for one in bundle.entries]
    sizes = [one.size for one in bundle.seen]
    if indexes != sorted(set(indexes)) or sizes != sorted(set(sizes)):
        raise MalformedError("The bundle's entries are not in order.")
    return bundle


def prove(entries: Iterable[Entry], tree: Tree, size: int) -> tuple[ProvedEntry, ...]:
    """The entries with their inclusion proofs in the ledger of ``size`` entries."""
    return tuple(
        ProvedEntry(
            index=entry.index,
            at=entry.at,
            type=entry.type,
            salt=entry.salt,
            body=entry.body,
            proof=tree.inclusion_proof(entry.index, size),
        )
        for entry in entries
    )
