"""``%provenance``: a run and its chain of custody, as the bundle of its result tells it.

This shows; it does not verify. ``aisec verify`` checks every signature and proof, offline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from jupyter_aisec.errors import BrokerFaultError, UsageError
from jupyter_aisec.grants.statements import Approval, Request
from jupyter_aisec.kernel.card import visible
from jupyter_aisec.ledger.bodies import ArtifactSealed, GrantApproved, GrantRequested
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.provenance.facts import Observation, Record
from jupyter_aisec.times import format_duration, parse_time

if TYPE_CHECKING:
    from jupyter_aisec.kernel.face import Face

__all__ = ["describe", "show_run"]


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    index: int
    type: str
    body: bytes


class _Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a bundle that are shown."""

    entries: tuple[_Entry, ...]
    record: Envelope
    observation: Envelope | None = None


def show_run(face: Face, run: str | None) -> None:
    """Prints a run: the one named, or the last one this kernel sealed."""
    wanted = run or face.last_run
    runs = face.session.client.http.get("/v1/runs")
    found = [one for one in runs if one["run"] == wanted] if wanted else runs[-1:]
    if not found:
        raise UsageError(
            f"There is no run {wanted[:60]!r}." if wanted else "No run has been recorded yet.",
            next="Train something, then %save_secure model as weights/NAME.",
            code="run-unknown",
        )
    bundle = face.session.client.bundle(found[0]["seal_ids"][0])
    print(describe(bundle))  # noqa: T201 - the magic's answer


def describe(bundle: Any) -> str:
    """The run in a bundle (parsed JSON) as text. Raises BrokerFaultError for no bundle."""
    try:
        read = msgspec.convert(bundle, type=_Bundle)
    except msgspec.ValidationError as error:
        raise BrokerFaultError(f"The broker's answer is not a bundle: {error}.") from error
    record = read.record.read(Record, Record.payload_type, "The record")
    lasted = parse_time(record.finished) - parse_time(record.started)
    environment = record.environment
    missing = f", {record.cells_missing} missing" if record.cells_missing else ""
    lines = [f"{record.output.artifact}   {record.output.seal_id}"]
    lines.append(f"└─ {record.run}   {record.started}, {format_duration(lasted)}")
    if record.cut_short:
        lines.append(f"   ! cut short: {visible(record.cut_short)}")
    lines.append(f"   cells      {len(record.cells)} recorded{missing}; {_seen(read.observation)}")
    for step in record.steps:
        lines.append(f"   training   {step.optimizer}, {step.steps} steps")
    for gpu in record.gpus:
        lines.append(f"   GPU        {gpu.name}, {gpu.uuid}")
    lines.append(f"   ran on     {environment.python}, {environment.platform}")
    lines.append(f"              {len(environment.packages)} packages installed")
    lines += _inputs(record, read.entries)
    lines.append(f"Verify it offline: aisec verify {record.output.artifact} --trust FILE")
    return "\n".join(lines)


def _seen(observation: Envelope | None) -> str:
    if observation is None:
        return "not seen from outside: this kernel has no keeper"
    seen = observation.read(Observation, Observation.payload_type, "The observation")
    return f"{len(seen.cells)} seen from outside, isolation {seen.isolation}"


def _inputs(record: Record, entries: tuple[_Entry, ...]) -> list[str]:
    """The inputs, each with its grant, who asked for it and who approved."""
    sealed_by = {}
    asked: dict[str, str] = {}
    approved: dict[str, list[str]] = {}
    for entry in entries:
        if entry.type == "artifact.sealed":
            body = msgspec.json.decode(entry.body, type=ArtifactSealed)
            sealed_by[body.seal_id] = body.by
        elif entry.type == "grant.requested":
            request = msgspec.json.decode(entry.body, type=GrantRequested).request
            statement = request.read(Request, Request.payload_type, "The request")
            asked[statement.grant] = f"{statement.person}: {statement.reason}"
        elif entry.type == "grant.approved":
            approval = msgspec.json.decode(entry.body, type=GrantApproved).approval
            said = approval.read(Approval, Approval.payload_type, "The approval")
            approved.setdefault(said.grant, []).append(said.person)
    lines = []
    for one in record.inputs:
        lines.append(f"   ├─ {one.artifact} version {one.version}   {one.seal_id}")
        if one.seal_id in sealed_by:
            lines.append(f"   │    sealed by {visible(sealed_by[one.seal_id])}")
        lines.append(f"   │    {one.grant}, keys released in ledger entry {one.entry}")
        if one.grant in asked:
            lines.append(f"   │    asked by {visible(asked[one.grant])}")
        by = ", ".join(visible(name) for name in approved.get(one.grant, ()))
        lines.append(f"   │    approved by {by or 'nobody: policy demanded none'}")
    return lines
