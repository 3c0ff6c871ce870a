"""The chain of custody as a tree for people: from the artifact back to everybody behind it.

It shows what a bundle says; whether that holds is for :mod:`jupyter_aisec.provenance.verify`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta

import msgspec

from jupyter_aisec.grants.statements import Approval, Declassification, Request, Review
from jupyter_aisec.ledger import bodies
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.provenance.bundle import Bundle
from jupyter_aisec.provenance.chain import Chain
from jupyter_aisec.provenance.facts import Cell, Input, Record
from jupyter_aisec.provenance.statement import signed_differences
from jupyter_aisec.texts import printable
from jupyter_aisec.times import format_duration

__all__ = ["Node", "chain_of_custody"]

_MOST_CELLS = 20  # shown; the record has them all


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One line, and what it rests on."""

    text: str
    children: tuple[Node, ...] = ()

    def __str__(self) -> str:
        """The tree as lines of text."""
        return "\n".join((self.text, *_lines(self.children)))


def chain_of_custody(bundle: Bundle) -> Node:
    """The tree of a bundle; raises an error of the family for parts that cannot be read."""
    chain = Chain(one.entry for one in bundle.entries)
    record = bundle.record.read(Record, Record.payload_type, "The record")
    entry, sealed = chain.sealed(record.output.seal_id)
    seat = chain.seat(record.kernel, entry.index).binding
    differences = signed_differences(bundle.statement)
    steps = sum(one.steps for one in record.steps)
    run = Node(
        text=f"{record.run}: {steps} training steps in {seat.person}'s kernel, "
        f"isolation {seat.isolation} ({'vouched' if seat.vouched else 'claimed'})",
        children=(
            Node(text=f"{record.started} to {record.finished}"),
            *([Node(text=f"cut short: {printable(record.cut_short)}")] if record.cut_short else []),
            *_circumstances(record),
            Node(
                text=f"{len(record.cells)} cells"
                + (f", {record.cells_missing} missing" if record.cells_missing else ""),
                children=_cells(record.cells),
            ),
            Node(
                text="the observers agree" if not differences else "the observers differ",
                children=tuple(Node(text=printable(one.what)) for one in differences),
            ),
            *(_input(chain, one) for one in record.inputs),
        ),
    )
    return Node(
        text=f"{record.output.artifact} version {sealed.version} ({record.output.seal_id}), "
        f"sealed by {sealed.by} in entry {entry.index}",
        children=(*_dropped(chain, record.output.seal_id), run),
    )


def _circumstances(record: Record) -> Iterator[Node]:
    """What trained, and on what."""
    for step in record.steps:
        yield Node(text=f"{printable(step.optimizer)}: {step.steps} steps")
    for framework in record.frameworks:
        yield Node(text=printable(framework))
    for gpu in record.gpus:
        yield Node(text=f"{printable(gpu.name)}, {printable(gpu.uuid)}")
    environment = record.environment
    yield Node(
        text=f"{printable(environment.python)}, {printable(environment.platform)}, "
        f"{len(environment.packages)} packages"
    )


def _cells(cells: Sequence[Cell]) -> tuple[Node, ...]:
    shown = [
        Node(text=f"cell {cell.n}: sha256:{cell.sha256[:16]}… {_ended(cell)}".rstrip())
        for cell in cells[:_MOST_CELLS]
    ]
    if len(cells) > _MOST_CELLS:
        shown.append(Node(text=f"and {len(cells) - _MOST_CELLS} more"))
    return tuple(shown)


def _ended(cell: Cell) -> str:
    return "" if cell.ok is None else "ok" if cell.ok else "failed"


def _input(chain: Chain, one: Input) -> Node:
    entry, sealed = chain.sealed(one.seal_id)
    return Node(
        text=f"{one.artifact} version {one.version} ({one.seal_id}), sealed by {sealed.by} "
        f"in entry {entry.index}",
        children=(*_dropped(chain, one.seal_id), _grant(chain, one)),
    )


def _dropped(chain: Chain, seal_id: str) -> Iterator[Node]:
    """The labels that a version lost, and who decided it."""
    for entry, body in chain.declassified(seal_id):
        said = body.by.read(Declassification, Declassification.payload_type, "The declassification")
        others = ", ".join(name for name in _signers(chain, body.by) if name != said.person)
        yield Node(
            text=f"label{'s' if len(body.drops) > 1 else ''} {', '.join(body.drops)} dropped in "
            f"entry {entry.index} by {said.person} with {others}: {printable(said.reason)}"
        )


def _signers(chain: Chain, envelope: Envelope) -> tuple[str, ...]:
    """Whose keys an envelope names, as far as the chain shows it."""
    owners = {one.key.key_id: one.name for one in chain.genesis[1].people}
    owners.update((body.key.key_id, body.person) for _, body in chain.all(bodies.KeyEnrolled))
    return tuple(owners.get(one.keyid, "somebody") for one in envelope.signatures)


def _grant(chain: Chain, one: Input) -> Node:
    entry, body = chain.requested(one.grant)
    request = body.request.read(Request, Request.payload_type, "The request")
    length = format_duration(timedelta(seconds=request.seconds))
    approvals = [
        (place, approved.approval.read(Approval, Approval.payload_type, "The approval"))
        for place, approved in chain.approved(one.grant)
    ]
    return Node(
        text=f"{one.grant}: keys released in entry {one.entry}",
        children=(
            Node(
                text=f"asked by {request.person} for {length} in entry {entry.index}: "
                f"{printable(request.reason)}"
            ),
            *(
                Node(text=f"approved by {approval.person} in entry {place.index}")
                for place, approval in approvals
            ),
            *_unapproved(chain, body),
        ),
    )


def _unapproved(chain: Chain, body: bodies.GrantRequested) -> Iterator[Node]:
    """That nobody was asked; where the glass was broken, what was said of it afterwards."""
    if body.terms.approvals:
        return
    if not body.terms.reviews:
        yield Node(text="no approval was demanded")
        return
    reviews = chain.reviewed(body.grant)
    yield Node(
        text="no approval was demanded: break-glass, "
        f"{len(reviews)} of {body.terms.reviews} reviews so far"
    )
    for entry, one in reviews:
        said = one.statement.read(Review, Review.payload_type, "The review")
        comment = f": {printable(said.comment)}" if said.comment else ""
        yield Node(text=f"{said.verdict}, {said.person} in entry {entry.index}{comment}")


def _lines(nodes: Sequence[Node], indent: str = "") -> Iterator[str]:
    for node in nodes:
        last = node is nodes[-1]
        yield f"{indent}{'└─' if last else '├─'} {node.text}"
        yield from _lines(node.children, indent + ("   " if last else "│  "))
