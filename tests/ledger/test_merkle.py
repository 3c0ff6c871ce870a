"""The Merkle tree against the vectors of Certificate Transparency, and every tampered proof."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_aisec.errors import ProofError
from jupyter_aisec.ledger import (
    HASH_SIZE,
    Tree,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from tests.effort import examples
from tests.ledger.model import root_from, root_of

# The leaves, roots and proofs that Certificate Transparency's implementations test with.
LEAVES = ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")
LEAVES = (*LEAVES, "606162636465666768696a6b6c6d6e6f")
HASHES = tuple(leaf_hash(bytes.fromhex(leaf)) for leaf in LEAVES)
ROOTS = (
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)
A = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7"
B = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e"
C = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"
D = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"
E = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0"
F = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a"
INCLUSION = {
    (0, 1): (),
    (0, 8): (A, B, C),
    (5, 8): (D, E, ROOTS[4]),
    (2, 3): (ROOTS[2],),
    (1, 5): (ROOTS[1], B, D),
}
CONSISTENCY = {
    (1, 1): (),
    (1, 8): (A, B, C),
    (6, 8): (F, E, ROOTS[4]),
    (2, 5): (B, D),
}


def _hashes(count: int) -> list[bytes]:
    return [leaf_hash(bytes([number])) for number in range(count)]


def _hex(proof: Sequence[bytes]) -> tuple[str, ...]:
    return tuple(hash_.hex() for hash_ in proof)


def test_roots_are_the_known_ones() -> None:
    tree = Tree()
    for size, root in enumerate(ROOTS):
        assert tree.size == size
        assert tree.root().hex() == root
        assert Tree(HASHES[:size]).root().hex() == root
        if size < len(HASHES):
            tree.append(HASHES[size])
    for size, root in enumerate(ROOTS):
        assert tree.root(size).hex() == root


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_inclusion_proofs_are_the_known_ones(index: int, size: int) -> None:
    proof = Tree(HASHES[:size]).inclusion_proof(index)
    assert _hex(proof) == INCLUSION[index, size]
    verify_inclusion(HASHES[index], index, size, proof, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("old", "new"), CONSISTENCY)
def test_consistency_proofs_are_the_known_ones(old: int, new: int) -> None:
    proof = Tree(HASHES[:new]).consistency_proof(old)
    assert _hex(proof) == CONSISTENCY[old, new]
    verify_consistency(old, bytes.fromhex(ROOTS[old]), new, bytes.fromhex(ROOTS[new]), proof)


def test_every_leaf_of_every_size_is_included_and_nowhere_else() -> None:
    hashes = _hashes(40)
    tree = Tree(hashes)
    for size in range(41):
        root = tree.root(size)
        for index in range(size):
            proof = tree.inclusion_proof(index, size)
            verify_inclusion(hashes[index], index, size, proof, root)
            assert root_from(hashes[index], index, size, proof) == root
            for wrong in {index - 1, index + 1, size - 1 - index} - {index}:
                with pytest.raises(ProofError):
                    verify_inclusion(hashes[index], wrong, size, proof, root)


def test_every_older_tree_is_the_beginning_of_every_newer_one() -> None:
    tree = Tree(_hashes(40))
    for new in range(41):
        for old in range(new + 1):
            proof = tree.consistency_proof(old, new)
            verify_consistency(old, tree.root(old), new, tree.root(new), proof)
            if old:
                with pytest.raises(ProofError):
                    verify_consistency(old, leaf_hash(b"?"), new, tree.root(new), proof)
                with pytest.raises(ProofError):
                    verify_consistency(old, tree.root(old), new, leaf_hash(b"?"), proof)


@given(st.integers(0, 600))
@settings(max_examples=examples(40), deadline=None)
def test_roots_are_those_of_the_definition(size: int) -> None:
    hashes = [leaf_hash(number.to_bytes(2, "big")) for number in range(size)]
    assert Tree(hashes).root() == root_of(hashes)


@given(st.data())
@settings(max_examples=examples(60), deadline=None)
def test_any_flipped_bit_of_an_inclusion_proof_is_refused(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 70))
    index = data.draw(st.integers(0, size - 1))
    tree = Tree(_hashes(size))
    parts = [_hashes(size)[index], tree.root(), *tree.inclusion_proof(index)]
    at = data.draw(st.integers(0, len(parts) - 1))
    parts[at] = _flip(parts[at], data.draw(st.integers(0, 8 * HASH_SIZE - 1)))
    with pytest.raises(ProofError):
        verify_inclusion(parts[0], index, size, parts[2:], parts[1])


@given(st.data())
@settings(max_examples=examples(60), deadline=None)
def test_any_flipped_bit_of_a_consistency_proof_is_refused(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, 70))
    old = data.draw(st.integers(1, new))
    tree = Tree(_hashes(new))
    parts = [tree.root(old), tree.root(), *tree.consistency_proof(old)]
    at = data.draw(st.integers(0, len(parts) - 1))
    parts[at] = _flip(parts[at], data.draw(st.integers(0, 8 * HASH_SIZE - 1)))
    with pytest.raises(ProofError):
        verify_consistency(old, parts[0], new, parts[1], parts[2:])


def _flip(data: bytes, bit: int) -> bytes:
    flipped = bytearray(data)
    flipped[bit // 8] ^= 1 << bit % 8
    return bytes(flipped)


@given(st.data())
@settings(max_examples=examples(60), deadline=None)
def test_a_proof_of_another_length_is_refused(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 70))
    index = data.draw(st.integers(0, size - 1))
    tree = Tree(_hashes(size))
    proof = list(tree.inclusion_proof(index))
    change = data.draw(st.sampled_from(["longer", "shorter"] if proof else ["longer"]))
    if change == "longer":
        proof.insert(data.draw(st.integers(0, len(proof))), bytes(HASH_SIZE))
    else:
        del proof[data.draw(st.integers(0, len(proof) - 1))]
    with pytest.raises(ProofError):
        verify_inclusion(_hashes(size)[index], index, size, proof, tree.root())


@given(st.data())
@settings(max_examples=examples(60), deadline=None)
def test_a_consistency_proof_of_another_length_is_refused(data: st.DataObject) -> None:
    new = data.draw(st.integers(1, 70))
    old = data.draw(st.integers(0, new))
    tree = Tree(_hashes(new))
    proof = list(tree.consistency_proof(old))
    change = data.draw(st.sampled_from(["longer", "shorter"] if proof else ["longer"]))
    if change == "longer":
        proof.insert(data.draw(st.integers(0, len(proof))), bytes(HASH_SIZE))
    else:
        del proof[data.draw(st.integers(0, len(proof) - 1))]
    with pytest.raises(ProofError):
        verify_consistency(old, tree.root(old), new, tree.root(), proof)


def test_an_empty_consistency_proof_between_sizes_is_refused() -> None:
    tree = Tree(_hashes(7))
    with pytest.raises(ProofError, match="too short"):
        verify_consistency(3, tree.root(3), 7, tree.root(), ())


def test_the_beginning_of_everything_is_only_the_empty_root() -> None:
    tree = Tree(_hashes(3))
    verify_consistency(0, tree.root(0), 3, tree.root(), ())
    with pytest.raises(ProofError):
        verify_consistency(0, tree.root(1), 3, tree.root(), ())


def test_a_hash_of_another_length_is_refused() -> None:
    tree = Tree(_hashes(2))
    with pytest.raises(ProofError, match="32 bytes"):
        verify_inclusion(_hashes(1)[0], 0, 2, (b"\x00" * 31,), tree.root())
    with pytest.raises(ProofError, match="32 bytes"):
        verify_consistency(1, b"", 2, tree.root(), tree.consistency_proof(1))
    with pytest.raises(ValueError, match="32 bytes"):
        tree.append(b"short")


def test_what_a_tree_does_not_have_is_refused_by_name() -> None:
    tree = Tree(_hashes(5))
    questions = [
        lambda: tree.root(6),
        lambda: tree.root(-1),
        lambda: tree.inclusion_proof(5),
        lambda: tree.inclusion_proof(-1),
        lambda: tree.inclusion_proof(3, 3),
        lambda: tree.consistency_proof(6),
        lambda: tree.consistency_proof(-1),
        lambda: tree.consistency_proof(4, 3),
        lambda: tree.subtree(2, 1),
        lambda: tree.subtree(9, 0),
        lambda: tree.subtree(0, -1),
        lambda: verify_inclusion(b"", 5, 5, (), b""),
        lambda: verify_inclusion(b"", -1, 5, (), b""),
        lambda: verify_consistency(3, b"", 2, b"", ()),
        lambda: verify_consistency(-1, b"", 2, b"", ()),
    ]
    for question in questions:
        with pytest.raises(ProofError) as caught:
            question()
        assert caught.value.code == "proof-out-of-range"
