"""Ledger proofs as text files (C2SP tlog-proof)."""

from __future__ import annotations

import pytest

from jupyter_aisec.errors import ProofError, SignatureError
from jupyter_aisec.ledger import (
    Checkpoint,
    LedgerProof,
    NoteSigner,
    Tree,
    leaf_hash,
    sign_checkpoint,
)
from jupyter_aisec.people import SigningKey
from tests.ledger.model import read_proof

SIGNER = NoteSigner("example.com/log", SigningKey.generate())
KEY = SIGNER.verifier_key
HASHES = [leaf_hash(bytes([number])) for number in range(11)]
TREE = Tree(HASHES)
NOTE = sign_checkpoint(Checkpoint(SIGNER.name, 11, TREE.root()), SIGNER)


def _proof(index: int) -> LedgerProof:
    return LedgerProof(index, TREE.inclusion_proof(index), NOTE)


def test_a_proof_is_written_as_the_spec_says_and_verified() -> None:
    for index in range(11):
        proof = _proof(index)
        assert read_proof(str(proof)) == (index, list(proof.hashes), NOTE)
        assert proof.verify(HASHES[index], KEY).size == 11


def test_the_only_entry_needs_no_hashes() -> None:
    tree = Tree(HASHES[:1])
    note = sign_checkpoint(Checkpoint(SIGNER.name, 1, tree.root()), SIGNER)
    proof = LedgerProof(0, (), note)
    assert str(proof) == f"c2sp.org/tlog-proof@v1\nindex 0\n\n{note}"
    assert proof.verify(HASHES[0], KEY).size == 1


def test_another_leaf_is_not_proved() -> None:
    with pytest.raises(ProofError):
        _proof(4).verify(HASHES[5], KEY)


def test_a_checkpoint_by_another_key_proves_nothing() -> None:
    other = NoteSigner(SIGNER.name, SigningKey.generate())
    with pytest.raises(SignatureError):
        _proof(4).verify(HASHES[4], other.verifier_key)
