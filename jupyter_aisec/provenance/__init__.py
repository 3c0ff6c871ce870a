"""Statements, bundles, numbered verification, and the chain of custody.

Modules load when a name is first used: a kernel that records needs the facts alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_aisec.lazy import lazily

if TYPE_CHECKING:
    from jupyter_aisec.provenance.bom import BOM_MEDIA_TYPE, bill_of_materials
    from jupyter_aisec.provenance.bundle import Bundle, parse_bundle
    from jupyter_aisec.provenance.custody import Node, chain_of_custody
    from jupyter_aisec.provenance.differences import Difference, compare
    from jupyter_aisec.provenance.evidence import Check, Report, SealedBytes
    from jupyter_aisec.provenance.facts import (
        Cell,
        Environment,
        Gpu,
        Input,
        Observation,
        Output,
        Record,
        SeenCell,
        Steps,
    )
    from jupyter_aisec.provenance.model_signing import ModelSignature, sign_model
    from jupyter_aisec.provenance.run import SignedRun, make_bundle, sign_run
    from jupyter_aisec.provenance.verify import verify_bundle

__all__ = [
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

__getattr__ = lazily(
    __name__,
    {
        "bom": ("BOM_MEDIA_TYPE", "bill_of_materials"),
        "bundle": ("Bundle", "parse_bundle"),
        "differences": ("Difference", "compare"),
        "custody": ("Node", "chain_of_custody"),
        "evidence": ("Check", "Report", "SealedBytes"),
        "facts": (
            "Cell",
            "Environment",
            "Gpu",
            "Input",
            "Observation",
            "Output",
            "Record",
            "SeenCell",
            "Steps",
        ),
        "model_signing": ("ModelSignature", "sign_model"),
        "run": ("SignedRun", "make_bundle", "sign_run"),
        "verify": ("verify_bundle",),
    },
)
