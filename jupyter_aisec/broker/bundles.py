"""Checking stored bundles: each must be the one that its run's entry stands for."""

from __future__ import annotations

from jupyter_aisec.broker.audit import Logged
from jupyter_aisec.errors import LedgerError
from jupyter_aisec.ledger.bodies import RunRecorded
from jupyter_aisec.ledger.checkpoint import open_checkpoint
from jupyter_aisec.ledger.trust import trust_of
from jupyter_aisec.people.canonical import canonical
from jupyter_aisec.provenance.bundle import parse_bundle
from jupyter_aisec.provenance.chain import Chain, collect
from jupyter_aisec.provenance.evidence import SealedBytes
from jupyter_aisec.provenance.facts import Record
from jupyter_aisec.provenance.verify import verify_bundle
from jupyter_aisec.sealed.manifest import read_manifest

__all__ = ["check_bundle"]


def check_bundle(bundle: bytes, logged: Logged[RunRecorded]) -> None:
    """Raises unless a stranger could verify the bundle, and it holds exactly what it held.

    The model signature alone is free: ECDSA signs the same thing differently each time.
    """
    ledger = [*logged.earlier, logged.entry]
    trust = trust_of(ledger[0])
    parsed = parse_bundle(bundle)
    record = parsed.record.read(Record, Record.payload_type, "The record")
    manifest = Chain(ledger).sealed(record.output.seal_id)[1].manifest
    files = {
        file.stored_as: SealedBytes(file.sealed_size, file.sha256)
        for file in read_manifest(manifest).files
    }
    verify_bundle(bundle, trust, canonical(manifest), files).require()
    checkpoint = open_checkpoint(parsed.checkpoint, trust.log_key)
    if (
        record.run != logged.body.run
        or checkpoint.size != len(ledger)
        or checkpoint.root != logged.tree.root(len(ledger))
        or [one.entry for one in parsed.entries] != list(collect(ledger, record))
    ):
        raise LedgerError("The bundle is not the one that was made when the run was recorded.")
