"""From a run's signed accounts to its statement and bundle: what a broker does with them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from jupyter_aisec.errors import RefusedError
from jupyter_aisec.grants.signed import payload_sha256
from jupyter_aisec.ledger.bodies import RunRecorded
from jupyter_aisec.ledger.checkpoint import parse_checkpoint
from jupyter_aisec.ledger.entry import Entry
from jupyter_aisec.ledger.merkle import Tree
from jupyter_aisec.people.dsse import Envelope, sign
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.provenance.bundle import Bundle, SeenCheckpoint, prove
from jupyter_aisec.provenance.chain import Chain, collect
from jupyter_aisec.provenance.differences import Difference
from jupyter_aisec.provenance.evidence import Evidence, read_run
from jupyter_aisec.provenance.facts import Record
from jupyter_aisec.provenance.model_signing import sign_model
from jupyter_aisec.provenance.statement import STATEMENT_TYPE, make_statement
from jupyter_aisec.provenance.verify import run_checks_before_signing

__all__ = ["SignedRun", "make_bundle", "sign_run"]


class SignedRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run's statement, and the body of the entry that records it."""

    body: RunRecorded
    statement: Envelope
    record: Envelope
    observation: Envelope | None
    differences: tuple[Difference, ...]


def sign_run(
    entries: Sequence[Entry], record: Envelope, observation: Envelope | None, key: SigningKey
) -> SignedRun:
    """Compare both accounts with each other and with the whole ledger, and sign the statement.

    ``entries`` is the whole ledger so far, ``key`` the broker's. Raises RefusedError
    (``run-refused``) naming the check that fails: nothing is signed that
    :func:`~jupyter_aisec.provenance.verify.verify_bundle` would not accept.
    """
    facts = record.read(Record, Record.payload_type, "The record")
    chain = Chain(collect(entries, facts))
    evidence = Evidence.before_signing(read_run(chain, record, observation, len(entries)))
    for check in run_checks_before_signing(evidence).checks:
        if not check.ok:
            raise RefusedError(
                f"The run cannot be signed for ({check.name}): {check.detail}", code="run-refused"
            )
    statement = sign(
        make_statement(chain, record, observation, evidence.differences),
        STATEMENT_TYPE,
        key,
    )
    grants = chain.grants(facts)
    return SignedRun(
        body=RunRecorded(
            run=facts.run,
            grant=grants[0] if len(grants) == 1 else None,
            kernel=facts.kernel,
            seal_ids=(facts.output.seal_id,),
            record_sha256=payload_sha256(record),
            observation_sha256=None if observation is None else payload_sha256(observation),
            differences=len(evidence.differences),
            statement_sha256=payload_sha256(statement),
        ),
        statement=statement,
        record=record,
        observation=observation,
        differences=evidence.differences,
    )


def make_bundle(
    entries: Sequence[Entry],
    tree: Tree,
    checkpoint: str,
    signed: SignedRun,
    model_key: SigningKey,
) -> bytes:
    """The content of ``bundle.json``.

    ``entries`` and ``tree`` are the whole ledger with the run's entry in it, ``checkpoint``
    a signed note of a size that covers that entry, ``model_key`` the broker's P-256 key.
    """
    facts = signed.record.read(Record, Record.payload_type, "The record")
    chosen = collect(entries, facts)
    chain = Chain(chosen)
    size = parse_checkpoint(checkpoint.partition("\n\n")[0] + "\n").size
    _, output = chain.sealed(facts.output.seal_id)
    return Bundle(
        statement=signed.statement,
        record=signed.record,
        observation=signed.observation,
        checkpoint=checkpoint,
        entries=prove(chosen, tree, size),
        seen=tuple(
            SeenCheckpoint(size=seen, proof=tree.consistency_proof(seen, size))
            for seen in sorted({one.size for _, _, one in chain.seen(facts)})
        ),
        model_signature=sign_model(output.manifest, model_key),
    ).to_bytes()
