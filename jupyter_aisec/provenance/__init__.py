"""Statements, bundles, numbered verification, and the chain of custody."""

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

__all__ = [
    "Cell",
    "Environment",
    "Gpu",
    "Input",
    "Observation",
    "Output",
    "Record",
    "SeenCell",
    "Steps",
]
