"""The public names of the room, pinned."""

from __future__ import annotations

import jupyter_aisec.ledger as ledger


def test_exports() -> None:
    assert sorted(ledger.__all__) == [
        "Body",
        "Checkpoint",
        "ENTRY_TYPES",
        "Entry",
        "HASH_SIZE",
        "LedgerProof",
        "NoteSigner",
        "SALT_SIZE",
        "TILE_WIDTH",
        "TileRef",
        "Tree",
        "Trust",
        "VerifierKey",
        "consistency_proof",
        "entry_bundle",
        "inclusion_proof",
        "leaf_hash",
        "make_entry",
        "open_checkpoint",
        "open_note",
        "parse_checkpoint",
        "parse_proof",
        "parse_tile_path",
        "parse_trust",
        "parse_verifier_key",
        "root_of",
        "sign_checkpoint",
        "sign_note",
        "tile_hashes",
        "tiles_of",
        "trust_of",
        "verify_consistency",
        "verify_inclusion",
    ]
    assert all(hasattr(ledger, name) for name in ledger.__all__)
