"""The ledger's formats read by their specs alone: what ours are held against."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence

from jupyter_aisec.ledger import TILE_WIDTH, TileRef


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root of these leaf hashes: RFC 6962, section 2.1, word by word."""
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    middle = _split(len(hashes))
    return _node(root_of(hashes[:middle]), root_of(hashes[middle:]))


def root_from(leaf_hash: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """The root that an inclusion proof leads to: section 2.1.1, read backwards."""
    if size == 1:
        assert not path
        return leaf_hash
    middle = _split(size)
    *lower, top = path
    if index < middle:
        return _node(root_from(leaf_hash, index, middle, lower), top)
    return _node(top, root_from(leaf_hash, index - middle, size - middle, lower))


def read_proof(text: str) -> tuple[int, list[bytes], str]:
    """Index, hashes and signed checkpoint of a ``.tlog-proof`` file (c2sp.org/tlog-proof)."""
    head, _, checkpoint = text.partition("\n\n")
    header, index, *hashes = head.split("\n")
    assert header == "c2sp.org/tlog-proof@v1"
    assert index.startswith("index ")
    return int(index[6:]), [base64.b64decode(one, validate=True) for one in hashes], checkpoint


def tiles_of(size: int) -> tuple[TileRef, ...]:
    """Every tile of a tree of ``size`` leaves, entry bundles included (c2sp.org/tlog-tiles)."""
    tiles: list[TileRef] = []
    level, count = 0, size
    while count:
        whole, width = divmod(count, TILE_WIDTH)
        widths = [TILE_WIDTH] * whole + [width] * bool(width)
        tiles += [TileRef(level, index, width) for index, width in enumerate(widths)]
        if level == 0:
            tiles += [TileRef("entries", index, width) for index, width in enumerate(widths)]
        level, count = level + 1, whole
    return tuple(tiles)


def _split(size: int) -> int:
    """The largest power of two below ``size``."""
    split = 1
    while split * 2 < size:
        split *= 2
    return split


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
