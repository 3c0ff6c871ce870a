"""Tiles: a monitor that knows only the spec rebuilds the root from them."""

from __future__ import annotations

import pytest

from jupyter_aisec.errors import MalformedError, ProofError
from jupyter_aisec.ledger import (
    HASH_SIZE,
    TileRef,
    Tree,
    entry_bundle,
    leaf_hash,
    parse_tile_path,
    tile_hashes,
)
from tests.ledger.model import root_of, tiles_of

PATHS = {
    "tile/0/000": TileRef(0, 0),
    "tile/0/x001/x234/067": TileRef(0, 1234067),
    "tile/3/x999/999.p/17": TileRef(3, 999999, 17),
    "tile/63/001.p/255": TileRef(63, 1, 255),
    "tile/entries/x001/000.p/1": TileRef("entries", 1000, 1),
}


@pytest.mark.parametrize("path", PATHS)
def test_a_path_names_a_tile(path: str) -> None:
    assert parse_tile_path(path) == PATHS[path]
    assert PATHS[path].path == path


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("tile/64/000", id="level-too-high"),
        pytest.param("tile/00/000", id="level-with-zeros"),
        pytest.param("tile/-1/000", id="negative-level"),
        pytest.param("tile/0/0", id="short-index"),
        pytest.param("tile/0/1234", id="long-group"),
        pytest.param("tile/0/001/067", id="group-without-x"),
        pytest.param("tile/0/x000/067", id="leading-zero-group"),
        pytest.param("tile/0/x001", id="x-at-the-end"),
        pytest.param("tile/0/000.p/0", id="empty-tile"),
        pytest.param("tile/0/000.p/256", id="full-tile-as-partial"),
        pytest.param("tile/0/000.p/999", id="too-wide"),
        pytest.param("tile/0/000.p/01", id="width-with-zeros"),
        pytest.param("tile/0/000/", id="slash-at-the-end"),
        pytest.param("tile/0/../000", id="dots"),
        pytest.param("/tile/0/000", id="slash-at-the-start"),
        pytest.param("tile/0/٠٠٠", id="digits-of-another-script"),  # noqa: RUF001
        pytest.param("tile/" + "9" * 5000, id="very-long"),
        pytest.param("", id="empty"),
    ],
)
def test_any_other_path_is_refused(path: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_tile_path(path)
    assert caught.value.code == "tile-path"


def test_the_tiles_of_the_example_of_the_spec() -> None:
    tiles = tiles_of(70_000)
    by_level = [[tile for tile in tiles if tile.level == level] for level in range(4)]
    assert [len(level) for level in by_level] == [274, 2, 1, 0]
    assert by_level[0][-1] == TileRef(0, 273, 112)
    assert by_level[1][-1] == TileRef(1, 1, 17)
    assert by_level[2] == [TileRef(2, 0, 1)]
    assert tiles_of(256)[-1] == TileRef(1, 0, 1)
    assert tiles_of(0) == ()
    bundles = [tile for tile in tiles if tile.level == "entries"]
    assert [(one.index, one.width) for one in bundles] == [
        (one.index, one.width) for one in by_level[0]
    ]


@pytest.mark.parametrize("size", [1, 255, 256, 257, 700])
def test_a_monitor_rebuilds_the_root_from_bundles_and_tiles(size: int) -> None:
    leaves = [b"leaf %d" % number for number in range(size)]
    tree = Tree(map(leaf_hash, leaves))
    fetched: list[bytes] = []
    level_1: list[bytes] = []
    for tile in tiles_of(size):
        assert parse_tile_path(tile.path) == tile
        if tile.level == "entries":
            first = tile.index * 256
            bundle = entry_bundle(leaves[first : first + tile.width])
            while bundle:
                length = int.from_bytes(bundle[:2], "big")
                fetched.append(bundle[2 : 2 + length])
                bundle = bundle[2 + length :]
        else:
            content = tile_hashes(tree, tile)
            assert len(content) == tile.width * HASH_SIZE
            if tile.level == 1:
                level_1 += [content[at : at + 32] for at in range(0, len(content), 32)]
    assert fetched == leaves
    assert root_of([leaf_hash(leaf) for leaf in fetched]) == tree.root()
    for number, hash_ in enumerate(level_1):
        part = leaves[number * 256 : (number + 1) * 256]
        assert hash_ == root_of([leaf_hash(leaf) for leaf in part])


def test_a_tile_that_the_tree_has_not_reached_is_refused() -> None:
    tree = Tree([leaf_hash(b"")] * 5)
    for tile in (TileRef(0, 0, 6), TileRef(0, 1, 1), TileRef(1, 0, 1), TileRef(0, 0)):
        with pytest.raises(ProofError):
            tile_hashes(tree, tile)


def test_an_entry_bundle_is_not_made_of_hashes() -> None:
    with pytest.raises(ValueError, match="leaves"):
        tile_hashes(Tree([leaf_hash(b"")]), TileRef("entries", 0, 1))


@pytest.mark.parametrize(
    "leaves",
    [
        pytest.param([], id="none"),
        pytest.param([b""] * 257, id="too-many"),
        pytest.param([b"x" * 65_536], id="too-long"),
    ],
)
def test_a_bundle_outside_the_limits_is_refused(leaves: list[bytes]) -> None:
    with pytest.raises(ProofError):
        entry_bundle(leaves)


def test_the_longest_leaf_fits() -> None:
    assert entry_bundle([b"x" * 65_535])[:3] == b"\xff\xffx"
