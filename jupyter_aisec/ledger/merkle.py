"""The Merkle tree of RFC 6962 §2.1 (SHA-256), its proofs, and how to check them.

Leaves and inner nodes are hashed with different prefixes, so neither can pass as the
other. Checking follows RFC 9162 §2.1.3.2 and §2.1.4.2, which give the same proofs an
iterative form. A proof must be exactly as long as the sizes ask for.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Sequence

from jupyter_aisec.errors import ProofError

__all__ = [
    "HASH_SIZE",
    "Tree",
    "leaf_hash",
    "verify_consistency",
    "verify_inclusion",
]

HASH_SIZE = 32
_EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf: SHA-256(0x00 ‖ data)."""
    return hashlib.sha256(b"\x00" + data).digest()


def _node_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


class Tree:
    """An append-only tree that keeps its complete subtrees: 64 bytes a leaf in all.

    Appending costs O(1) hashes on average, a root or a proof for *any* size it has had
    O(log n). ``Tree(leaf_hashes)`` starts from leaf hashes, not from the data.
    """

    def __init__(self, leaf_hashes: Iterable[bytes] = ()) -> None:
        # _levels[k] holds, side by side, the hashes of the complete subtrees of 2**k leaves.
        self._levels: list[bytearray] = [bytearray()]
        for hash_ in leaf_hashes:
            self.append(hash_)

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return len(self._levels[0]) // HASH_SIZE

    def append(self, leaf_hash: bytes) -> None:
        """Add one leaf at the end, by its hash (:func:`leaf_hash`)."""
        if len(leaf_hash) != HASH_SIZE:
            raise ValueError(f"a leaf hash has {HASH_SIZE} bytes")
        level, rest = 0, self.size
        self._levels[0] += leaf_hash
        while rest & 1:  # the leaf completes a subtree of the next level
            if level + 1 == len(self._levels):
                self._levels.append(bytearray())
            pair = self._levels[level][-2 * HASH_SIZE :]
            self._levels[level + 1] += hashlib.sha256(b"\x01" + pair).digest()
            level, rest = level + 1, rest >> 1

    def subtree(self, level: int, index: int) -> bytes:
        """The hash of the ``index``-th complete subtree of ``2**level`` leaves."""
        start = index * HASH_SIZE
        if not (0 <= level < len(self._levels) and 0 <= start < len(self._levels[level])):
            raise ProofError(
                f"The ledger of {self.size} entries has no subtree {index} at level {level}.",
                code="proof-out-of-range",
            )
        return bytes(self._levels[level][start : start + HASH_SIZE])

    def root(self, size: int | None = None) -> bytes:
        """The root hash, now or when the tree had ``size`` leaves."""
        size = self.size if size is None else size
        self._check_size(size)
        return self._range_hash(0, size) if size else _EMPTY_ROOT

    def inclusion_proof(self, index: int, size: int | None = None) -> tuple[bytes, ...]:
        """The audit path of leaf ``index`` in the tree of ``size`` leaves (RFC 6962 §2.1.1).

        From the leaf's sibling up to a child of the root. Raises ProofError where there is
        no such leaf.
        """
        size = self.size if size is None else size
        self._check_size(size)
        if not 0 <= index < size:
            raise ProofError(
                f"A ledger of {size} entries has no entry {index}.", code="proof-out-of-range"
            )
        path: list[bytes] = []
        start, end = 0, size
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                path.append(self._range_hash(middle, end))
                end = middle
            else:
                path.append(self._range_hash(start, middle))
                start = middle
        return tuple(reversed(path))

    def consistency_proof(self, old_size: int, size: int | None = None) -> tuple[bytes, ...]:
        """That the first ``old_size`` leaves are those of the older tree (RFC 6962 §2.1.2).

        Empty for ``old_size`` 0 and for equal sizes. Raises ProofError where the older tree
        is not one of this tree's.
        """
        size = self.size if size is None else size
        self._check_size(size)
        if not 0 <= old_size <= size:
            raise ProofError(
                f"A ledger of {size} entries never had {old_size}.", code="proof-out-of-range"
            )
        if old_size in (0, size):
            return ()
        path: list[bytes] = []
        start, end = 0, size
        while old_size != end:
            middle = start + _split(end - start)
            if old_size <= middle:
                path.append(self._range_hash(middle, end))
                end = middle
            else:
                path.append(self._range_hash(start, middle))
                start = middle
        if start:  # otherwise the old tree is this very subtree, and its root is known
            path.append(self._range_hash(start, end))
        return tuple(reversed(path))

    def _check_size(self, size: int) -> None:
        if not 0 <= size <= self.size:
            raise ProofError(
                f"The ledger has {self.size} entries, not {size}.", code="proof-out-of-range"
            )

    def _range_hash(self, start: int, end: int) -> bytes:
        """MTH of the leaves ``start`` to ``end`` - 1, where ``start`` begins a subtree."""
        parts: list[bytes] = []
        while end > start:  # the smallest complete subtree, at the right end, comes first
            level = ((end - start) & -(end - start)).bit_length() - 1
            parts.append(self.subtree(level, (end - 1) >> level))
            end -= 1 << level
        return functools.reduce(lambda right, left: _node_hash(left, right), parts)


def _split(size: int) -> int:
    """The largest power of two below ``size``."""
    return 1 << ((size - 1).bit_length() - 1)


def verify_inclusion(
    leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Raises ProofError unless ``proof`` leads from leaf ``index`` to ``root`` of ``size``."""
    if not 0 <= index < size:
        raise ProofError(
            f"A ledger of {size} entries has no entry {index}.", code="proof-out-of-range"
        )
    _check_hashes((leaf_hash, root, *proof))
    hash_, position, last = leaf_hash, index, size - 1
    for sibling in proof:
        if last == 0:
            raise ProofError(f"The proof of entry {index} is too long.")
        if position & 1 or position == last:
            hash_ = _node_hash(sibling, hash_)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            hash_ = _node_hash(hash_, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise ProofError(f"The proof of entry {index} is too short.")
    if hash_ != root:
        raise ProofError(f"Entry {index} is not in the ledger with this root.")


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Raises ProofError unless the tree of ``old_size`` is the beginning of the newer one.

    The empty ledger is the beginning of any; its root must still be the empty root.
    """
    if not 0 <= old_size <= new_size:
        raise ProofError(
            f"A ledger of {new_size} entries never had {old_size}.", code="proof-out-of-range"
        )
    _check_hashes((old_root, new_root, *proof))
    if old_size in (0, new_size):
        expected = _EMPTY_ROOT if old_size == 0 else new_root
        if proof or old_root != expected:
            raise ProofError("The older ledger is not the beginning of the newer one.")
        return
    # The proof leaves out the old root where the old tree is a complete subtree.
    path = [old_root, *proof] if old_size & (old_size - 1) == 0 else list(proof)
    if not path:
        raise ProofError("The consistency proof is too short.")
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old_hash = new_hash = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofError("The consistency proof is too long.")
        if position & 1 or position == last:
            old_hash, new_hash = _node_hash(sibling, old_hash), _node_hash(sibling, new_hash)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new_hash = _node_hash(new_hash, sibling)
        position, last = position >> 1, last >> 1
    if last != 0:
        raise ProofError("The consistency proof is too short.")
    if old_hash != old_root or new_hash != new_root:
        raise ProofError("The older ledger is not the beginning of the newer one.")


def _check_hashes(hashes: Iterable[bytes]) -> None:
    if any(len(hash_) != HASH_SIZE for hash_ in hashes):
        raise ProofError("A hash in a proof is not 32 bytes long.")
