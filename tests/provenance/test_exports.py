"""The public names of the room, pinned."""

from __future__ import annotations

import jupyter_aisec.provenance as provenance


def test_exports() -> None:
    assert sorted(provenance.__all__) == [
        "BOM_MEDIA_TYPE",
        "Bundle",
        "Cell",
        "Check",
        "Difference",
        "Environment",
        "Gpu",
        "Input",
        "ModelSignature",
        "Node",
        "Observation",
        "Output",
        "Record",
        "Report",
        "SealedBytes",
        "SeenCell",
        "SignedRun",
        "Steps",
        "bill_of_materials",
        "chain_of_custody",
        "compare",
        "make_bundle",
        "parse_bundle",
        "sign_model",
        "sign_run",
        "verify_bundle",
    ]
    assert all(hasattr(provenance, name) for name in provenance.__all__)
