"""``%provenance``: a run and its chain of custody, as the bundle of its result tells it.

This shows; it does not verify. ``aisec verify`` checks every signature and proof, offline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_aisec.errors import UsageError
from jupyter_aisec.grants.statements import Approval, Request
from jupyter_aisec.kernel.card import visible
from jupyter_aisec.people.canonical import canonical
from jupyter_aisec.provenance.bundle import Bundle, parse_bundle
from jupyter_aisec.provenance.chain import Chain
from jupyter_aisec.provenance.facts import Observation, Record
from jupyter_aisec.times import format_duration, parse_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jupyter_aisec.kernel.face import Face
    from jupyter_aisec.people.dsse import Envelope
    from jupyter_aisec.provenance.facts import Input

__all__ = ["describe", "show_run"]


def show_run(face: Face, run: str | None) -> None:
    """Prints a run: the one named, or the last one this kernel sealed, or the newest."""
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
    print(describe(parse_bundle(canonical(bundle))))  # noqa: T201 - the magic's answer


def describe(bundle: Bundle) -> str:
    """The run in a bundle as text. Raises MalformedError for parts that cannot be read."""
    record = bundle.record.read(Record, Record.payload_type, "The record")
    chain = Chain(one.entry for one in bundle.entries)
    lasted = parse_time(record.finished) - parse_time(record.started)
    environment = record.environment
    missing = f", {record.cells_missing} missing" if record.cells_missing else ""
    lines = [f"{record.output.artifact}   {record.output.seal_id}"]
    lines.append(f"└─ {record.run}   {record.started}, {format_duration(lasted)}")
    if record.cut_short:
        lines.append(f"   ! cut short: {visible(record.cut_short)}")
    lines.append(
        f"   cells      {len(record.cells)} recorded{missing}; {_seen(bundle.observation)}"
    )
    for step in record.steps:
        lines.append(f"   training   {visible(step.optimizer)}, {step.steps} steps")
    for gpu in record.gpus:
        lines.append(f"   GPU        {visible(gpu.name)}, {visible(gpu.uuid)}")
    lines.append(f"   ran on     {visible(environment.python)}, {visible(environment.platform)}")
    lines.append(f"              {len(environment.packages)} packages installed")
    for one in record.inputs:
        lines.extend(_input(one, chain))
    lines.append(f"Verify it offline: aisec verify {record.output.artifact} --trust FILE")
    return "\n".join(lines)


def _seen(observation: Envelope | None) -> str:
    if observation is None:
        return "not seen from outside: this kernel has no keeper"
    seen = observation.read(Observation, Observation.payload_type, "The observation")
    return f"{len(seen.cells)} seen from outside, isolation {seen.isolation}"


def _input(one: Input, chain: Chain) -> Iterator[str]:
    """An input with whoever sealed it, its grant, who asked for that and who approved."""
    yield f"   ├─ {one.artifact} version {one.version}   {one.seal_id}"
    yield f"   │    sealed by {visible(chain.sealed(one.seal_id)[1].by)}"
    yield f"   │    {one.grant}, keys released in ledger entry {one.entry}"
    request = chain.requested(one.grant)[1].request
    asked = request.read(Request, Request.payload_type, "The request")
    yield f"   │    asked by {visible(asked.person)}: {visible(asked.reason)}"
    approvals = [body.approval for _, body in chain.approved(one.grant)]
    by = [
        approval.read(Approval, Approval.payload_type, "The approval").person
        for approval in approvals
    ]
    yield f"   │    approved by {', '.join(map(visible, by)) or 'nobody: policy asked for none'}"
