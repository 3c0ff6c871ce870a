from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_aisec.client.home import Home
from jupyter_aisec.client.http import Http
from jupyter_aisec.client.watch import LedgerWatch, TileTree
from jupyter_aisec.errors import LedgerError, ProofError, SignatureError
from jupyter_aisec.ledger import (
    Checkpoint,
    NoteSigner,
    Tree,
    leaf_hash,
    parse_tile_path,
    sign_checkpoint,
    tile_hashes,
)
from jupyter_aisec.ledger.trust import Trust
from jupyter_aisec.people.keys import SigningKey
from tests.effort import examples
from tests.scripted import Answer, Got, Scripted

KEY = SigningKey.generate()
SIGNER = NoteSigner("log.example", KEY)
TRUST = Trust(
    origin="log.example",
    log_key=SIGNER.verifier_key,
    genesis_sha256="00" * 32,
    seal_key=b"",
    broker_key=KEY.public,
)


def tree_of(size: int, name: str = "entry") -> Tree:
    return Tree(leaf_hash(f"{name} {number}".encode()) for number in range(size))


def note_of(tree: Tree, size: int | None = None) -> str:
    size = tree.size if size is None else size
    return sign_checkpoint(Checkpoint("log.example", size, tree.root(size)), SIGNER)


class Log:
    """A log behind the scripted server that shows whatever tree it is given."""

    def __init__(self, scripted: Scripted, home: Home) -> None:
        self.tree = tree_of(1)
        self.scripted = scripted
        scripted.route = self.answer
        self.watch = LedgerWatch(Http(scripted.url), home, lambda: TRUST)

    def answer(self, got: Got) -> Answer:
        path = got.path.removeprefix("/v1/ledger/")
        if path == "checkpoint":
            return Answer(body=note_of(self.tree).encode())
        return Answer(body=tile_hashes(self.tree, parse_tile_path(path)))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def log(scripted: Scripted, home: Home) -> Log:
    return Log(scripted, home)


@given(st.integers(1, 70_000), st.data())
@settings(max_examples=examples(20), deadline=None)
def test_proofs_made_from_tiles_are_those_of_the_tree(size: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(0, size))
    tree = BIG
    tiles = TileTree(size, lambda path: _tile(tree, path))
    assert tiles.root() == tree.root(size)
    assert tiles.consistency_proof(old) == tree.consistency_proof(old, size)


BIG = tree_of(70_000)


def _tile(tree: Tree, path: str) -> bytes:
    return tile_hashes(tree, parse_tile_path(path.removeprefix("/v1/ledger/")))


def test_a_tile_is_fetched_once_and_few_of_them() -> None:
    fetched: list[str] = []

    def fetch(path: str) -> bytes:
        fetched.append(path)
        return _tile(BIG, path)

    TileTree(70_000, fetch).consistency_proof(12_345)
    assert len(fetched) == len(set(fetched)) <= 6


def test_a_tile_of_the_wrong_length_proves_nothing() -> None:
    with pytest.raises(ProofError, match="tile/0/000"):
        TileTree(3, lambda _: b"short").root()


def test_growth_is_accepted_and_remembered(log: Log, home: Home) -> None:
    for size in (1, 1, 2, 7, 300):
        log.tree = tree_of(size)
        assert log.watch.latest().size == size
        assert home.checkpoint() == note_of(log.tree)


def test_what_another_process_of_the_home_saw_meanwhile_stays(log: Log, home: Home) -> None:
    log.tree = tree_of(5)

    def overtaken(got: Got) -> Answer:
        if got.path.endswith("/checkpoint"):
            home.keep_checkpoint(note_of(tree_of(9)))
        return log.answer(got)

    log.scripted.route = overtaken
    assert log.watch.latest().size == 5
    assert home.checkpoint() == note_of(tree_of(9))


@pytest.mark.parametrize(
    "later",
    [tree_of(4), tree_of(5, "other"), tree_of(9, "other")],
    ids=["cut off", "another past of the same size", "forked and grown"],
)
def test_a_ledger_with_another_past_is_refused(log: Log, home: Home, later: Tree) -> None:
    log.tree = tree_of(5)
    log.watch.latest()
    log.tree = later
    with pytest.raises(LedgerError, match="rolled back or forked") as caught:
        log.watch.latest()
    assert caught.value.code == "ledger-rolled-back"
    assert home.checkpoint() == note_of(tree_of(5))


def test_a_checkpoint_signed_by_another_key_is_refused(log: Log, home: Home) -> None:
    forger = NoteSigner("log.example", SigningKey.generate())
    with pytest.raises(SignatureError):
        log.watch.accept(sign_checkpoint(Checkpoint("log.example", 1, tree_of(1).root()), forger))
    assert home.checkpoint() is None


class TestPast:
    """A checkpoint that came with an answer may be older than the newest seen."""

    def test_an_older_one_of_the_same_log_is_accepted_and_not_kept(
        self, log: Log, home: Home
    ) -> None:
        log.tree = tree_of(9)
        log.watch.latest()
        assert log.watch.accept(note_of(log.tree, 4)).size == 4
        assert home.checkpoint() == note_of(log.tree)

    def test_a_newer_one_is_kept(self, log: Log, home: Home) -> None:
        log.watch.latest()
        log.tree = tree_of(3)
        assert log.watch.accept(note_of(log.tree)).size == 3
        assert home.checkpoint() == note_of(log.tree)

    def test_an_older_one_of_another_log_is_refused(self, log: Log) -> None:
        log.tree = tree_of(9)
        log.watch.latest()
        with pytest.raises(LedgerError, match="rolled back or forked"):
            log.watch.accept(note_of(tree_of(4, "other")))
