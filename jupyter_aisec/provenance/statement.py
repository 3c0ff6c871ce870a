"""The statement of a run: in-toto Statement v1 with a SLSA Provenance v1 predicate.

Specs: https://in-toto.io/Statement/v1, https://slsa.dev/provenance/v1. The build type is
documented in ``docs/buildtype.md``. The statement is a function of the chain of custody,
the record, the observation and their differences: whoever has those makes the same bytes,
so a verifier checks it by making it again.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import Any

from jupyter_aisec.errors import MalformedError
from jupyter_aisec.grants.catalog import MANIFEST_TYPE
from jupyter_aisec.grants.signed import payload_sha256
from jupyter_aisec.grants.statements import Approval, Request, Review
from jupyter_aisec.ledger import bodies
from jupyter_aisec.ledger.entry import Entry
from jupyter_aisec.people.canonical import canonical, parse_canonical
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.provenance.bom import BOM_MEDIA_TYPE, bill_of_materials
from jupyter_aisec.provenance.chain import Chain
from jupyter_aisec.provenance.differences import Difference
from jupyter_aisec.provenance.facts import Input, Observation, Record
from jupyter_aisec.sealed.manifest import MANIFEST_FILE, read_manifest

__all__ = [
    "BUILD_TYPE",
    "DIFFERENCES_MEDIA_TYPE",
    "PREDICATE_TYPE",
    "STATEMENT_TYPE",
    "make_statement",
    "signed_differences",
]

STATEMENT_TYPE = "application/vnd.in-toto+json"  # the DSSE payload type
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "urn:jupyter-aisec:buildtype:notebook-run:v1"
DIFFERENCES_MEDIA_TYPE = "application/vnd.jupyter-aisec.differences+json"


def make_statement(
    chain: Chain,
    record: Envelope,
    observation: Envelope | None,
    differences: Sequence[Difference],
) -> dict[str, Any]:
    """The statement; raises an error of the family where the chain lacks what it speaks of."""
    facts = record.read(Record, Record.payload_type, "The record")
    genesis = chain.genesis[1]
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": _subjects(chain, facts),
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "artifact": facts.output.artifact,
                    "cells": [{"n": cell.n, "sha256": cell.sha256} for cell in facts.cells],
                },
                "internalParameters": _internal(chain, facts),
                "resolvedDependencies": [_dependency(chain, one) for one in facts.inputs],
            },
            "runDetails": {
                "builder": {"id": f"urn:jupyter-aisec:broker:{genesis.origin}"},
                "metadata": {
                    "invocationId": facts.run,
                    "startedOn": facts.started,
                    "finishedOn": facts.finished,
                },
                "byproducts": _byproducts(facts, record, observation, differences),
            },
        },
    }


def signed_differences(statement: Envelope) -> tuple[Difference, ...]:
    """What the broker signed that the two observers disagree about; raises MalformedError."""
    said = parse_canonical(statement.payload, dict[str, Any], "The statement")
    try:
        products = said["predicate"]["runDetails"]["byproducts"]
        (listed,) = (one["content"] for one in products if one["name"] == "differences")
        content = base64.b64decode(listed, validate=True)
    except (LookupError, TypeError, ValueError) as error:
        raise MalformedError("The statement does not say what the observers differ in.") from error
    return parse_canonical(content, tuple[Difference, ...], "The differences")


def _subjects(chain: Chain, record: Record) -> list[dict[str, Any]]:
    """The output as it lies at its URL: the manifest's file, then every sealed file."""
    envelope = chain.sealed(record.output.seal_id)[1].manifest
    manifest = read_manifest(envelope)
    digests = {MANIFEST_FILE: hashlib.sha256(canonical(envelope)).hexdigest()}
    digests.update((file.stored_as, file.sha256) for file in manifest.files)
    return [
        {"name": f"{record.output.artifact}/{name}", "digest": {"sha256": digest}}
        for name, digest in digests.items()
    ]


def _internal(chain: Chain, record: Record) -> dict[str, Any]:
    """What the researcher does not choose with a cell: kernel, machine, what training did."""
    output, _ = chain.sealed(record.output.seal_id)
    seat = chain.seat(record.kernel, output.index).binding
    return {
        "person": seat.person,
        "kernel": record.kernel,
        "isolation": seat.isolation,
        "isolationVouched": seat.vouched,
        "isolationMissing": list(seat.missing),
        "grants": [_grant(chain, grant) for grant in chain.grants(record)],
        "frameworks": list(record.frameworks),
        "optimizers": [
            {"class": one.optimizer, "steps": one.steps, "first": one.first, "last": one.last}
            for one in record.steps
        ],
        "cutShort": record.cut_short,
        "cellsMissing": record.cells_missing,
        "environment": {
            "python": record.environment.python,
            "platform": record.environment.platform,
            "packagesSha256": record.environment.packages_sha256,
        },
        "gpus": [
            {"uuid": gpu.uuid, "name": gpu.name, "driver": gpu.driver, "used": gpu.used}
            for gpu in record.gpus
        ],
    }


def _grant(chain: Chain, grant: str) -> dict[str, Any]:
    entry, body = chain.requested(grant)
    request = body.request.read(Request, Request.payload_type, "The request")
    return {
        "grant": grant,
        "person": request.person,
        "requestSha256": payload_sha256(body.request),  # the reason stays in the ledger
        "entry": _reference(entry),
        "approvalsDemanded": body.terms.approvals,
        "approvals": [
            {"person": _approver(approval), "entry": _reference(approved)}
            for approved, approval in chain.approved(grant)
        ],
        **_break_glass(chain, grant),
    }


def _break_glass(chain: Chain, grant: str) -> dict[str, Any]:
    """Where nobody was asked before: the reviews it takes, and those there are so far.

    Nothing for other grants, whose statements keep their bytes.
    """
    _, body = chain.requested(grant)
    if not body.terms.reviews:
        return {}
    reviews = [
        (entry, one.statement.read(Review, Review.payload_type, "The review"))
        for entry, one in chain.reviewed(grant)
    ]
    return {
        "breakGlass": {
            "reviewsDemanded": body.terms.reviews,
            "reviews": [
                {"person": one.person, "verdict": one.verdict, "entry": _reference(entry)}
                for entry, one in reviews
            ],
        }
    }


def _approver(body: bodies.GrantApproved) -> str:
    return body.approval.read(Approval, Approval.payload_type, "The approval").person


def _dependency(chain: Chain, one: Input) -> dict[str, Any]:
    """An input: its signed manifest by digest, and by what right it was opened."""
    sealed, body = chain.sealed(one.seal_id)
    found = [*chain.all(bodies.KeysReleased), *chain.all(bodies.OutputReleased)]
    released = next((entry for entry, _ in found if entry.index == one.entry), None)
    requested, _ = chain.requested(one.grant)
    return {
        "name": one.artifact,
        "uri": f"urn:jupyter-aisec:artifact:{one.seal_id}",
        "digest": {"sha256": payload_sha256(body.manifest)},
        "mediaType": MANIFEST_TYPE,
        "annotations": {
            "version": one.version,
            "sealedIn": _reference(sealed),
            "grant": one.grant,
            "grantRequest": _reference(requested),
            "approvals": [_reference(entry) for entry, _ in chain.approved(one.grant)],
            "release": _reference(released) if released else None,
            **_break_glass(chain, one.grant),
        },
    }


def _byproducts(
    facts: Record,
    record: Envelope,
    observation: Envelope | None,
    differences: Sequence[Difference],
) -> list[dict[str, Any]]:
    listed = canonical(list(differences))
    products = [
        _product("record", Record.payload_type, record.payload),
        _product("differences", DIFFERENCES_MEDIA_TYPE, listed) | {"content": listed},
        _product("environment", BOM_MEDIA_TYPE, bill_of_materials(facts.environment)),
    ]
    if observation is not None:
        products.insert(1, _product("observation", Observation.payload_type, observation.payload))
    for cell in facts.cells:
        products.append(
            {
                "name": f"cell {cell.n}",
                "digest": {"sha256": cell.sha256},
                "mediaType": "text/x-ipython",
                "annotations": {
                    "cellId": cell.cell_id,
                    "startedOn": cell.started,
                    "finishedOn": cell.finished,
                    "ok": cell.ok,
                },
            }
        )
    return products


def _product(name: str, media_type: str, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    return {"name": name, "digest": {"sha256": digest}, "mediaType": media_type}


def _reference(entry: Entry) -> dict[str, Any]:
    """A ledger entry by its place and the digest that the ledger's root commits to."""
    return {"index": entry.index, "sha256": entry.leaf_hash.hex()}
