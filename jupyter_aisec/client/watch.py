"""Watching the ledger: what a home has once seen of it may grow, and never change.

Each signed ledger checkpoint is checked against the last one this home saw: it must not be
smaller, and a consistency proof, made here from the log's tiles, must show that it only
appends (RFC 6962, section 2.1.2). So a broker that was rolled back or shows two people two
logs is noticed by its clients, whatever its database says.
"""

from __future__ import annotations

from collections.abc import Callable

from jupyter_aisec.client.home import Home
from jupyter_aisec.client.http import Http
from jupyter_aisec.errors import LedgerError, ProofError
from jupyter_aisec.ledger.checkpoint import Checkpoint, open_checkpoint
from jupyter_aisec.ledger.merkle import HASH_SIZE, Tree, verify_consistency
from jupyter_aisec.ledger.proof import LedgerProof
from jupyter_aisec.ledger.tiles import TILE_WIDTH, TileRef
from jupyter_aisec.ledger.trust import Trust

__all__ = ["LedgerWatch", "TileTree"]

_TILE_HEIGHT = TILE_WIDTH.bit_length() - 1


class LedgerWatch:
    """The last ledger checkpoint a home has seen, and what follows it."""

    def __init__(self, http: Http, home: Home, trust: Callable[[], Trust]) -> None:
        self._http = http
        self._home = home
        self._trust = trust

    def latest(self) -> Checkpoint:
        """The broker's ledger checkpoint now, checked against the last seen, and kept.

        Raises LedgerError ``ledger-rolled-back``.
        """
        return self._latest()[0]

    def prove(self, index: int) -> LedgerProof:
        """That an entry is in the ledger as it is now; raises ProofError where there is none.

        Made here, from tiles: it proves nothing before it is verified against the entry's leaf.
        """
        checkpoint, note = self._latest()
        hashes = TileTree(checkpoint.size, self._http.get_bytes).inclusion_proof(index)
        return LedgerProof(index, hashes, note)

    def _latest(self) -> tuple[Checkpoint, str]:
        kept = self._kept()  # read first: what another process sees meanwhile may be newer
        note = self._http.get_bytes("/v1/ledger/checkpoint").decode(errors="replace")
        new = open_checkpoint(note, self._trust().log_key)
        if kept is not None:
            self._require_grown(kept, new)
        self._keep(new, note)
        return new, note

    def accept(self, note: str) -> Checkpoint:
        """A checkpoint that came with an answer, which others may have overtaken.

        It is only kept if it is the newest seen. Raises LedgerError ``ledger-rolled-back``.
        """
        came = open_checkpoint(note, self._trust().log_key)
        kept = self._kept()
        if kept is not None:
            older, newer = sorted((kept, came), key=lambda one: one.size)
            self._require_grown(older, newer)
        self._keep(came, note)
        return came

    def require_seen(self, seen: Checkpoint) -> None:
        """That what somebody else saw is the beginning of the ledger that is seen from here.

        Raises LedgerError ``ledger-rolled-back``.
        """
        self._require_grown(seen, self.latest())

    def _kept(self) -> Checkpoint | None:
        note = self._home.checkpoint()
        return None if note is None else open_checkpoint(note, self._trust().log_key)

    def _keep(self, new: Checkpoint, note: str) -> None:
        kept = self._kept()
        if kept is None or kept.size < new.size:
            self._home.keep_checkpoint(note)

    def _require_grown(self, old: Checkpoint, new: Checkpoint) -> None:
        try:
            tree = TileTree(new.size, self._http.get_bytes)
            proof = tree.consistency_proof(old.size)
            verify_consistency(old.size, old.root, new.size, new.root, proof)
        except ProofError as error:
            raise _rolled_back(old, new) from error


class TileTree(Tree):
    """The broker's tree of a certain size, read tile by tile as a proof asks for it."""

    def __init__(self, size: int, fetch: Callable[[str], bytes]) -> None:
        self._size = size
        self._fetch = fetch
        self._tiles: dict[TileRef, bytes] = {}

    @property
    def size(self) -> int:
        return self._size

    def subtree(self, level: int, index: int) -> bytes:
        """See :meth:`Tree.subtree`; what a tile says proves nothing until a root confirms it."""
        tile_level, height = divmod(level, _TILE_HEIGHT)
        first = index << height
        tile_index, place = divmod(first, TILE_WIDTH)
        width = min(TILE_WIDTH, (self._size >> (_TILE_HEIGHT * tile_level)) - first + place)
        hashes = self._tile(TileRef(tile_level, tile_index, width))
        part = hashes[place * HASH_SIZE : (place + (1 << height)) * HASH_SIZE]
        return Tree(part[at : at + HASH_SIZE] for at in range(0, len(part), HASH_SIZE)).root()

    def _tile(self, tile: TileRef) -> bytes:
        if tile not in self._tiles:
            hashes = self._fetch(f"/v1/ledger/{tile.path}")
            if len(hashes) != tile.width * HASH_SIZE:
                raise ProofError(f"The tile {tile.path} has {len(hashes)} bytes.")
            self._tiles[tile] = hashes
        return self._tiles[tile]


def _rolled_back(old: Checkpoint, new: Checkpoint) -> LedgerError:
    return LedgerError(
        f"The ledger shows {new.size} entries and another past than the {old.size} entries "
        "seen from here before: it was rolled back or forked.",
        next="Approve nothing. An admin restores the newest backup; then check: "
        "`aisec audit verify`.",
        code="ledger-rolled-back",
    )
