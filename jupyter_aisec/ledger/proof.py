"""Ledger proofs as text: an inclusion proof and the checkpoint it leads to, in one file.

Spec: https://c2sp.org/tlog-proof. The optional ``extra`` line is not authenticated; we
write none.
"""

from __future__ import annotations

import base64

import msgspec

from jupyter_aisec.ledger.checkpoint import Checkpoint, open_checkpoint
from jupyter_aisec.ledger.merkle import verify_inclusion

__all__ = ["LedgerProof"]

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
