"""Ledger proofs as text files (C2SP tlog-proof)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_aisec.errors import AisecError, MalformedError, ProofError
from jupyter_aisec.ledger import (
    Checkpoint,
    LedgerProof,
    NoteSigner,
    Tree,
    leaf_hash,
    parse_proof,
    sign_checkpoint,
)
from jupyter_aisec.people import SigningKey
from tests.effort import examples

SIGNER = NoteSigner("example.com/log", SigningKey.generate())
KEY = SIGNER.verifier_key
HASHES = [leaf_hash(bytes([number])) for number in range(11)]
TREE = Tree(HASHES)
NOTE = sign_checkpoint(Checkpoint(SIGNER.name, 11, TREE.root()), SIGNER)


def _proof(index: int) -> LedgerProof:
    return LedgerProof(index, TREE.inclusion_proof(index), NOTE)


TEXT = str(_proof(4))


def test_a_proof_is_written_read_and_verified() -> None:
    assert TEXT.startswith("c2sp.org/tlog-proof@v1\nindex 4\n")
    assert TEXT.endswith(f"\n\n{NOTE}")
    for index in range(11):
        proof = parse_proof(str(_proof(index)))
        assert proof == _proof(index)
        assert proof.verify(HASHES[index], KEY).size == 11


def test_the_only_entry_needs_no_hashes() -> None:
    tree = Tree(HASHES[:1])
    note = sign_checkpoint(Checkpoint(SIGNER.name, 1, tree.root()), SIGNER)
    text = f"c2sp.org/tlog-proof@v1\nindex 0\n\n{note}"
    assert str(LedgerProof(0, (), note)) == text
    assert parse_proof(text).verify(HASHES[0], KEY).size == 1


def test_another_leaf_is_not_proved() -> None:
    with pytest.raises(ProofError):
        _proof(4).verify(HASHES[5], KEY)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(TEXT.replace("@v1", "@v2", 1), id="another-version"),
        pytest.param(TEXT.replace("index 4", "extra AAAA\nindex 4"), id="extra-data"),
        pytest.param(TEXT.replace("index 4", "index 04"), id="leading-zero"),
        pytest.param(TEXT.replace("index 4", "index -4"), id="negative"),
        pytest.param(TEXT.replace("index 4", "index four"), id="not-a-number"),
        pytest.param(TEXT.replace("index 4", "4"), id="no-index"),
        pytest.param(TEXT.replace("index 4", "index 4\nAAAA"), id="short-hash"),
        pytest.param(TEXT.replace("index 4", "index 4\n!"), id="not-base64"),
        pytest.param(TEXT.partition("\n\n")[0], id="no-checkpoint"),
        pytest.param(TEXT.replace("\n", "\r\n"), id="other-line-ends"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_proof(text).verify(HASHES[4], KEY)


@given(st.data())
@settings(max_examples=examples(60), deadline=None)
def test_any_flipped_bit_is_refused(data: st.DataObject) -> None:
    raw = bytearray(TEXT.encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(AisecError):
        parse_proof(raw.decode(errors="surrogateescape")).verify(HASHES[4], KEY)
