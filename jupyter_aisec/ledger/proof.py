"""Ledger proofs as text: an inclusion proof and the checkpoint it leads to, in one file.

Spec: https://c2sp.org/tlog-proof. The optional ``extra`` line is not authenticated; we
write none and refuse it.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from jupyter_aisec.errors import MalformedError
from jupyter_aisec.ledger.checkpoint import Checkpoint, open_checkpoint
from jupyter_aisec.ledger.merkle import HASH_SIZE, verify_inclusion

__all__ = ["LedgerProof", "parse_proof"]

_HEADER = "c2sp.org/tlog-proof@v1"


class LedgerProof(msgspec.Struct, frozen=True):
    """That the leaf at ``index`` is under the signed checkpoint."""

    index: int
    hashes: tuple[bytes, ...]  # from the leaf's sibling up to a child of the root
    checkpoint: str  # the signed note

    def __str__(self) -> str:
        """The content of a ``.tlog-proof`` file."""
        lines = [_HEADER, f"index {self.index}"]
        lines += [base64.b64encode(hash_).decode() for hash_ in self.hashes]
        return "\n".join(lines) + "\n\n" + self.checkpoint

    def verify(self, leaf_hash: bytes, verifier_key: str) -> Checkpoint:
        """The checkpoint, if the log signed it and the leaf is under it.

        Raises ProofError, SignatureError or MalformedError.
        """
        checkpoint = open_checkpoint(self.checkpoint, verifier_key)
        verify_inclusion(leaf_hash, self.index, checkpoint.size, self.hashes, checkpoint.root)
        return checkpoint


def parse_proof(text: str) -> LedgerProof:
    """The proof in a ``.tlog-proof`` file; raises MalformedError."""
    head, _, checkpoint = text.partition("\n\n")
    try:
        header, index, *hashes = head.split("\n")
        if header != _HEADER or not index.startswith("index "):
            raise ValueError("not the header")
        proof = LedgerProof(
            index=int(index.removeprefix("index ")),
            hashes=tuple(base64.b64decode(hash_, validate=True) for hash_ in hashes),
            checkpoint=checkpoint,
        )
        if str(proof) != text or proof.index < 0:
            raise ValueError("not canonical")
        if any(len(hash_) != HASH_SIZE for hash_ in proof.hashes):
            raise ValueError("not a hash")
    except (ValueError, binascii.Error) as error:
        raise MalformedError(
            "This is not a ledger proof (C2SP tlog-proof).", code="proof-malformed"
        ) from error
    return proof
