"""What the two observers of a run disagree about, and what neither can vouch for.

Inside the kernel, IPython tells the recorder which cells run; a notebook can silence that.
Outside, every message passes the keeper, which cannot see what a cell starts by itself.
The broker signs the differences together with what they agree on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Literal

import msgspec

from jupyter_aisec.provenance.chain import Release
from jupyter_aisec.provenance.facts import Cell, Input, Observation, Record, SeenCell

__all__ = ["Difference", "compare"]

Kind = Literal[
    "unobserved",  # nobody watched from outside
    "gap",  # an observer no longer has all cells
    "cell-missing",  # seen outside, not in the record
    "cell-silent",  # ran silently: IPython does not tell the recorder
    "cell-expressions",  # expressions were evaluated after it, which no recorder hears of
    "cell-unseen",  # in the record, not seen outside
    "cell-source",  # both have a cell at this place, with different sources
    "cell-order",  # both have it, at different places
    "cell-outcome",  # one saw it fail, the other did not
    "input-missing",  # the kernel opened something, and the record is silent about it
    "input-shared",  # another kernel of the seat opened it, and may have been this one
    "input-unknown",  # the record names an input that was not released to the kernel
]


class Difference(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One thing the observers do not agree about, in one sentence for people."""

    kind: Kind
    what: str


def compare(
    record: Record,
    observation: Observation | None,
    releases: Sequence[tuple[int, Release]],
    shared: Sequence[tuple[int, Release]] = (),
) -> tuple[Difference, ...]:
    """All differences, in a fixed order.

    ``releases`` are the ledger's releases to the kernel of the record, with their entry's
    index, up to the sealing of the output; ``shared`` are those to other kernels that count as
    its own (:mod:`jupyter_aisec.grants.flow`).
    """
    return (
        *_input_differences(record.inputs, releases),
        *_shared_differences(record.inputs, shared),
        *_gaps(record, observation),
        *(() if observation is None else _cell_differences(record.cells, observation.cells)),
    )


def _input_differences(
    inputs: Sequence[Input], releases: Sequence[tuple[int, Release]]
) -> Iterator[Difference]:
    released = {
        (body.artifact, body.version, body.seal_id, body.grant): index for index, body in releases
    }
    entries = {index for index, _ in releases}
    said = set()
    for one in inputs:
        what = (one.artifact, one.version, one.seal_id, one.grant)
        said.add(what)
        if what not in released or one.entry not in entries:
            yield Difference(
                kind="input-unknown",
                what=f"The record names {one.artifact} version {one.version} as opened by entry "
                f"{one.entry}, and no such release to this kernel is in the ledger.",
            )
    for (artifact, version, *_), index in (
        (what, index) for what, index in released.items() if what not in said
    ):
        yield Difference(
            kind="input-missing",
            what=f"{artifact} version {version} was released to this kernel by entry {index}, "
            "and the record does not name it.",
        )


def _shared_differences(
    inputs: Sequence[Input], shared: Sequence[tuple[int, Release]]
) -> Iterator[Difference]:
    said = {one.seal_id for one in inputs}
    for index, one in shared:
        if one.seal_id not in said:
            said.add(one.seal_id)
            yield Difference(
                kind="input-shared",
                what=f"{one.artifact} version {one.version} was released by entry {index} to "
                "another kernel of this seat, which nobody had confirmed gone.",
            )


def _gaps(record: Record, observation: Observation | None) -> Iterator[Difference]:
    if record.cells_missing:
        yield Difference(
            kind="gap", what=f"The record no longer has {record.cells_missing} earlier cells."
        )
    if observation is None:
        yield Difference(
            kind="unobserved",
            what="Nobody watched the kernel from outside: the record stands alone.",
        )
    elif observation.cells_missing:
        yield Difference(
            kind="gap",
            what=f"The observation no longer has {observation.cells_missing} earlier cells.",
        )


def _cell_differences(cells: Sequence[Cell], seen: Sequence[SeenCell]) -> Iterator[Difference]:
    seen = _without_waiting(seen, cells)
    heard = [one for one in seen if not one.silent]
    yield from _unheard(seen)
    only_inside: list[Cell] = []
    only_outside: list[SeenCell] = []
    matcher = SequenceMatcher(
        None, [one.sha256 for one in cells], [one.sha256 for one in heard], autojunk=False
    )
    for tag, low, high, seen_low, seen_high in matcher.get_opcodes():
        inside, outside = cells[low:high], heard[seen_low:seen_high]
        if tag == "equal":
            yield from _outcomes(inside, outside)
        elif tag == "replace" and len(inside) == len(outside):
            for cell, other in zip(inside, outside, strict=True):
                yield Difference(
                    kind="cell-source",
                    what=f"Cell {cell.n} is recorded with source {_short(cell.sha256)} and was "
                    f"seen with {_short(other.sha256)}.",
                )
        else:
            only_inside += inside
            only_outside += outside
    yield from _leftovers(only_inside, only_outside)


def _unheard(seen: Sequence[SeenCell]) -> Iterator[Difference]:
    """What was asked for, and IPython tells no recorder about."""
    for one in seen:
        if one.silent:
            yield Difference(
                kind="cell-silent",
                what=f"A cell ran silently at {one.at}, source {_short(one.sha256)}.",
            )
        if one.expressions_sha256:
            yield Difference(
                kind="cell-expressions",
                what=f"Expressions were evaluated after the cell seen at {one.at}, all of them "
                f"together {_short(one.expressions_sha256)}.",
            )


def _without_waiting(seen: Sequence[SeenCell], cells: Sequence[Cell]) -> Sequence[SeenCell]:
    """What was seen, less the cells that still wait behind the one that runs ("Run All").

    A kernel takes its requests in order, so a cell waits only if nothing ever came back of it
    and of all that was asked for after it: whoever keeps an answer back cannot make a cell look
    as if it waited. The cell that runs may be so new that nothing came back of it yet; the
    record has it then, without an end.
    """
    begun = [one.began or bool(one.status or one.outputs_sha256) for one in seen]
    end = next((n for n in range(len(seen), 0, -1) if begun[n - 1]), 0)
    for one in seen[end : end + 1]:
        running = any(cell.sha256 == one.sha256 and cell.finished is None for cell in cells)
        if running and _count(one, cells) > _count(one, seen[:end]):
            end += 1
    return seen[:end]


def _count(one: SeenCell, among: Sequence[Cell | SeenCell]) -> int:
    return sum(other.sha256 == one.sha256 for other in among)


def _outcomes(cells: Sequence[Cell], seen: Sequence[SeenCell]) -> Iterator[Difference]:
    for cell, other in zip(cells, seen, strict=True):
        if cell.ok is not None and other.status is not None and cell.ok != (other.status == "ok"):
            ended = "well" if cell.ok else "in an error"
            yield Difference(
                kind="cell-outcome",
                what=f"Cell {cell.n} is recorded to have ended {ended}, and was seen to end "
                f"with {other.status!r}.",
            )


def _leftovers(cells: Sequence[Cell], seen: Sequence[SeenCell]) -> Iterator[Difference]:
    elsewhere = [one.sha256 for one in seen]
    for cell in cells:
        if cell.sha256 in elsewhere:
            elsewhere.remove(cell.sha256)
            yield Difference(
                kind="cell-order", what=f"Cell {cell.n} was seen at another place in the order."
            )
        else:
            yield Difference(
                kind="cell-unseen",
                what=f"Cell {cell.n}, source {_short(cell.sha256)}, was not seen from outside.",
            )
    recorded = [cell.sha256 for cell in cells]
    for one in seen:
        if one.sha256 in recorded:
            recorded.remove(one.sha256)
        else:
            yield Difference(
                kind="cell-missing",
                what=f"A cell seen at {one.at}, source {_short(one.sha256)}, is not recorded.",
            )


def _short(digest: str) -> str:
    return f"sha256:{digest[:12]}…"
