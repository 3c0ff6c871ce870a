"""The append-only Merkle log: entries, tree, proofs, signed ledger checkpoints. Pure."""

from jupyter_aisec.ledger.bodies import ENTRY_TYPES, Body
from jupyter_aisec.ledger.checkpoint import (
    Checkpoint,
    open_checkpoint,
    parse_checkpoint,
    sign_checkpoint,
)
from jupyter_aisec.ledger.entry import SALT_SIZE, Entry, make_entry
from jupyter_aisec.ledger.merkle import (
    HASH_SIZE,
    Tree,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from jupyter_aisec.ledger.note import (
    NoteSigner,
    VerifierKey,
    open_note,
    parse_verifier_key,
    sign_note,
)
from jupyter_aisec.ledger.proof import LedgerProof
from jupyter_aisec.ledger.tiles import (
    TILE_WIDTH,
    TileRef,
    entry_bundle,
    parse_tile_path,
    tile_hashes,
)
from jupyter_aisec.ledger.trust import Trust, parse_trust, trust_of

__all__ = [
    "ENTRY_TYPES",
    "HASH_SIZE",
    "SALT_SIZE",
    "TILE_WIDTH",
    "Body",
    "Checkpoint",
    "Entry",
    "LedgerProof",
    "NoteSigner",
    "TileRef",
    "Tree",
    "Trust",
    "VerifierKey",
    "entry_bundle",
    "leaf_hash",
    "make_entry",
    "open_checkpoint",
    "open_note",
    "parse_checkpoint",
    "parse_tile_path",
    "parse_trust",
    "parse_verifier_key",
    "sign_checkpoint",
    "sign_note",
    "tile_hashes",
    "trust_of",
    "verify_consistency",
    "verify_inclusion",
]
