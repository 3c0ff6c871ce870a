"""Tiles: the tree and its leaves as files that monitors fetch.

Spec: https://c2sp.org/tlog-tiles. A tile holds up to 256 hashes of one level (8 levels of
the tree apart); an entry bundle holds the leaves under a tile of level 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

import msgspec

from jupyter_aisec.errors import MalformedError, ProofError
from jupyter_aisec.ledger.merkle import Tree

__all__ = ["TILE_WIDTH", "TileRef", "entry_bundle", "parse_tile_path", "tile_hashes"]

TILE_WIDTH = 256
_HEIGHT = 8  # levels of the tree in one tile: 2**8 == TILE_WIDTH
_MAX_LEVEL = 63
_MAX_ENTRY = 0xFFFF
_PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/){0,5}[0-9]{3})"
    r"(?:\.p/(?P<width>[1-9][0-9]{0,2}))?",
    re.ASCII,
)


class TileRef(msgspec.Struct, frozen=True):
    """Which tile: its level (or ``entries``), its index in the level, and how wide it is."""

    level: int | Literal["entries"]
    index: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """``tile/<L>/<N>[.p/<W>]``, below the log's prefix."""
        digits = f"{self.index:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        number = "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{self.level}/{number}{partial}"


def parse_tile_path(path: str) -> TileRef:
    """The tile that ``path`` names; raises MalformedError for any other spelling."""
    match = _PATH.fullmatch(path)
    if match:
        level, width = match["level"], match["width"]
        tile = TileRef(
            level if level == "entries" else int(level),  # type: ignore[arg-type]
            int(match["index"].replace("/", "").replace("x", "")),
            int(width) if width else TILE_WIDTH,
        )
        valid_level = tile.level == "entries" or tile.level <= _MAX_LEVEL
        if valid_level and tile.width <= TILE_WIDTH and tile.path == path:
            return tile
    raise MalformedError(f"{path[:80]!r} is not the path of a tile.", code="tile-path")


def tile_hashes(tree: Tree, tile: TileRef) -> bytes:
    """The content of a tile of hashes; raises ProofError where the tree is not so large."""
    if tile.level == "entries":
        raise ValueError("an entry bundle is made of leaves")
    first = tile.index * TILE_WIDTH
    return b"".join(
        tree.subtree(tile.level * _HEIGHT, first + place) for place in range(tile.width)
    )


def entry_bundle(leaves: Sequence[bytes]) -> bytes:
    """The content of an entry bundle: each leaf behind its length (u16, big-endian)."""
    if not 0 < len(leaves) <= TILE_WIDTH or any(len(leaf) > _MAX_ENTRY for leaf in leaves):
        raise ProofError("An entry bundle holds 1 to 256 leaves of up to 65,535 bytes.")
    return b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves)
