"""Labels as they counted at a place in the ledger: the manifest's, without those dropped before."""

from __future__ import annotations

from jupyter_aisec.ledger.bodies import ArtifactSealed
from jupyter_aisec.provenance.chain import Chain
from jupyter_aisec.sealed.manifest import read_manifest

__all__ = ["labels_at"]


def labels_at(chain: Chain, sealed: ArtifactSealed, before: int) -> frozenset[str]:
    """The labels of a version when entry ``before`` was appended.

    Whether they were dropped as they may be is :mod:`~.declassifications`' to check.
    """
    labels = set(read_manifest(sealed.manifest).labels)
    for entry, body in chain.declassified(sealed.seal_id):
        if entry.index < before:
            labels.difference_update(body.drops)
    return frozenset(labels)
