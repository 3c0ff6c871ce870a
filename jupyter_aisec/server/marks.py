"""Marks: which artifacts an output was made from, and to which keys it is sealed on save.

The keeper puts a mark into the metadata of every message that comes after an artifact was opened
in a kernel whose server proved that it seals on save::

    {"aisec": {"recipients": [
        {"artifact": "dataset/digits", "seal_id": "seal_…", "output_key": "<base64>"}]}}

A notebook keeps a message's content and not its metadata, so the mark is carried over into
the content on the way to the browser. Pure.
"""

from __future__ import annotations

from typing import Any

import msgspec

from jupyter_aisec.errors import MalformedError
from jupyter_aisec.sealed.messages import MARK
from jupyter_aisec.sealed.outputs import OutputKey

__all__ = [
    "Mark",
    "Recipient",
    "carry",
    "mark_of",
    "parse_mark",
    "union",
    "unmarked",
]

# Of the messages that become outputs, nbformat 4 gives the output a metadata field of its own.
_WITH_METADATA = frozenset({"display_data", "update_display_data", "execute_result"})


class Recipient(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, order=True):
    """An artifact version that was open, and its public output key."""

    artifact: str
    seal_id: str
    output_key: bytes


class Mark(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an output was made from; never nothing."""

    recipients: tuple[Recipient, ...]

    def __post_init__(self) -> None:
        if not self.recipients:
            raise ValueError("a mark names at least one artifact")

    def keys(self) -> dict[OutputKey, bytes]:
        """As :mod:`jupyter_aisec.sealed.outputs` wants them."""
        return {
            OutputKey(artifact=one.artifact, seal_id=one.seal_id): one.output_key
            for one in self.recipients
        }


def parse_mark(value: object) -> Mark:
    """The mark in ``value`` (plain JSON); raises MalformedError for anything else."""
    try:
        return msgspec.convert(value, Mark)
    except msgspec.ValidationError:
        raise MalformedError(
            "An output says that it is to be sealed, and not how.",
            next="Restart the kernel and run the cell again; `aisec doctor` checks the versions.",
            code="output-mark-malformed",
        ) from None


def mark_of(output: dict[str, Any]) -> Mark | None:
    """The mark of one output of a notebook, or None; raises MalformedError."""
    for holder in (output.get("metadata"), output):
        if isinstance(holder, dict) and MARK in holder:
            return parse_mark(holder[MARK])
    return None


def unmarked(output: dict[str, Any]) -> dict[str, Any]:
    """A copy of ``output`` as it would be without its mark."""
    bare = {name: value for name, value in output.items() if name != MARK}
    if isinstance(bare.get("metadata"), dict):
        bare["metadata"] = {n: v for n, v in bare["metadata"].items() if n != MARK}
    return bare


def carry(type_: str, mark: Mark, content: dict[str, Any]) -> dict[str, Any]:
    """A copy of a message's content that carries ``mark`` into the notebook."""
    value = msgspec.to_builtins(mark)
    if type_ in _WITH_METADATA:
        return {**content, "metadata": {**content.get("metadata", {}), MARK: value}}
    return {**content, MARK: value}


def union(*marks: Mark | None) -> Mark | None:
    """All recipients of all marks, sorted, or None where there is none."""
    recipients = {one for mark in marks if mark is not None for one in mark.recipients}
    return Mark(recipients=tuple(sorted(recipients))) if recipients else None
