"""Statements, bundles, numbered verification, and the chain of custody."""

from jupyter_aisec.provenance.bom import BOM_MEDIA_TYPE, bill_of_materials
from jupyter_aisec.provenance.bundle import Bundle, parse_bundle
from jupyter_aisec.provenance.compare import Difference, compare
from jupyter_aisec.provenance.custody import Node, chain_of_custody
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
