"""Recording runs: both observers compared, the statement signed, entry and bundle in one commit."""

from __future__ import annotations

from jupyter_aisec.broker.audit import Logged
from jupyter_aisec.broker.failpoints import failpoint
from jupyter_aisec.broker.kernel_requests import KernelRequest
from jupyter_aisec.broker.schemas import RunIn
from jupyter_aisec.broker.service import Broker
from jupyter_aisec.broker.store import BundleRow
from jupyter_aisec.errors import ConflictError, IdentityError, MalformedError
from jupyter_aisec.grants.artifacts import propose_run
from jupyter_aisec.grants.signed import payload_sha256
from jupyter_aisec.grants.state import State
from jupyter_aisec.ledger.bodies import RunRecorded
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.provenance.facts import Record
from jupyter_aisec.provenance.run import make_bundle, sign_run

__all__ = ["record_run"]


def record_run(broker: Broker, handed: RunIn, signed: KernelRequest) -> tuple[str, bytes]:
    """The run's id, and its bundle as it is stored.

    The same record sent again gets the bundle it became, whatever the keeper saw since.
    Raises RefusedError (``run-refused``) for a record that cannot be signed for, ConflictError
    if the run, or what it sealed, is recorded with other content.
    """
    record = handed.record.envelope()
    observation = handed.observation.envelope() if handed.observation else None
    facts = record.read(Record, Record.payload_type, "The record")
    if facts.kernel != signed.kernel:
        raise IdentityError(
            "The record is another kernel's.",
            next="Hand it in from the kernel that made it.",
            code="record-of-another",
        )
    if facts.output.seal_id != handed.seal_id:
        raise MalformedError("The record is about another output.", code="output-differs")
    with broker.ledger.reading() as (state, _):
        if facts.run not in state.runs and broker.ledger.bundle(facts.output.seal_id) is None:
            _record(broker, state, facts, record, observation)
        bundle = _recorded(broker, state, facts, record)
    failpoint("run.recorded")
    return facts.run, bundle


def _recorded(broker: Broker, state: State, facts: Record, record: Envelope) -> bytes:
    body = state.runs.get(facts.run)
    bundle = broker.ledger.bundle(facts.output.seal_id)
    if body is None or bundle is None or body.record_sha256 != payload_sha256(record):
        raise ConflictError(
            f"The run {facts.run}, or what it sealed, is recorded with another record.",
            next=f"See it: `aisec run show {facts.run}`.",
            code="run-recorded",
        )
    return bundle


def _record(
    broker: Broker, state: State, facts: Record, record: Envelope, observation: Envelope | None
) -> None:
    ledger, keys = broker.ledger, broker.keys

    def rows(logged: Logged[RunRecorded]) -> list[BundleRow]:
        entries = [*logged.earlier, logged.entry]
        bundle = make_bundle(entries, logged.tree, logged.checkpoint, run, keys.model)
        failpoint("run.bundled")
        return [BundleRow(facts.output.seal_id, bundle)]

    person = state.kernels[facts.kernel].person  # its signature was checked with its key
    with broker.noting_refusals(person, "record", facts.run):
        run = sign_run(ledger.entries, record, observation, keys.broker)
        failpoint("run.signed")
        ledger.append(lambda state, now: propose_run(state, run.body, now), rows)
