"""Marks: which artifacts an output was made from, and to which keys it is sealed on save.

The keeper puts a mark into the metadata of every message that comes after an artifact was opened
in a kernel whose server proved that it seals on save::

    {"aisec": {"recipients": [
        {"artifact": "dataset/digits", "seal_id": "seal_…", "output_key": "<base64>"}]}}

A notebook keeps a message's content and not its metadata, so the server carries the mark over
into the content on the way to the browser. There it has a ``"proof"`` beside the recipients:
whoever could write a mark of their own into a notebook would have its outputs sealed to their
key, and read them without a grant. A mark without a proof of this server names nobody. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from jupyter_aisec.errors import MalformedError
from jupyter_aisec.people.canonical import canonical
from jupyter_aisec.sealed.messages import MARK
from jupyter_aisec.sealed.outputs import OutputKey

__all__ = [
    "Mark",
    "Proves",
    "Recipient",
    "carry",
    "is_claimed",
    "mark_of",
    "parse_mark",
    "proved",
    "union",
]

Proves = Callable[[bytes, bytes], bool]
"""Whether what comes second is this server's proof of what comes first (see :func:`proved`)."""

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
        if len(self.keys()) != len(set(self.recipients)):
            raise ValueError("an artifact version has one output key")

    def keys(self) -> dict[OutputKey, bytes]:
        """As :mod:`jupyter_aisec.sealed.outputs` wants them."""
        return {
            OutputKey(artifact=one.artifact, seal_id=one.seal_id): one.output_key
            for one in self.recipients
        }


class _Carried(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A mark as it stands in a message's content, and so in a notebook."""

    recipients: tuple[Recipient, ...]
    proof: bytes


def parse_mark(value: object) -> Mark:
    """The keeper's mark in ``value`` (plain JSON); raises MalformedError for anything else."""
    try:
        return msgspec.convert(value, Mark)
    except msgspec.ValidationError:
        raise MalformedError(
            "An output says that it is to be sealed, and not how.",
            next="Restart the kernel and run the cell again; `aisec doctor` checks the versions.",
            code="output-mark-malformed",
        ) from None


def proved(mark: Mark) -> bytes:
    """What the proof of a mark is over: its recipients, whatever their order."""
    return canonical(msgspec.to_builtins(sorted(mark.recipients)))


def is_claimed(output: dict[str, Any]) -> bool:
    """Whether ``output`` has a mark, be it nobody's."""
    return any(True for _ in _claims(output))


def mark_of(output: dict[str, Any], proves: Proves) -> Mark | None:
    """The mark of one output of a notebook, or None where none in it is this server's."""
    found = []
    for claim in _claims(output):
        try:
            carried = msgspec.convert(claim, _Carried)
            mark = Mark(recipients=carried.recipients)
            said = proved(mark)
        except (msgspec.ValidationError, ValueError, MalformedError):
            continue
        if proves(said, carried.proof):
            found.append(mark)
    return union(*found)


def _claims(output: dict[str, Any]) -> Iterator[object]:
    for holder in (output.get("metadata"), output):
        if isinstance(holder, dict) and MARK in holder:
            yield holder[MARK]


def carry(type_: str, mark: Mark, content: dict[str, Any], proof: bytes) -> dict[str, Any]:
    """A copy of a message's content that carries ``mark`` into the notebook.

    ``content`` has no mark of its own, and ``proof`` is over :func:`proved`.
    """
    value = msgspec.to_builtins(_Carried(recipients=mark.recipients, proof=proof))
    if type_ in _WITH_METADATA:
        return {**content, "metadata": {**content.get("metadata", {}), MARK: value}}
    return {**content, MARK: value}


def union(*marks: Mark | None) -> Mark | None:
    """All recipients of all marks, sorted, or None where there is none.

    Raises MalformedError (``output-keys-differ``) where two name one artifact version with
    different keys: with either of them, somebody might read who may not.
    """
    keys: dict[OutputKey, bytes] = {}
    for mark in marks:
        for key, output_key in mark.keys().items() if mark is not None else ():
            if keys.setdefault(key, output_key) != output_key:
                raise MalformedError(
                    f"{key.artifact} ({key.seal_id}) came with two different output keys.",
                    next="Stop, and tell an admin: a broker or a keeper is not what it was. Then "
                    "restart this server and the kernel.",
                    code="output-keys-differ",
                )
    if not keys:
        return None
    return Mark(
        recipients=tuple(
            Recipient(artifact=key.artifact, seal_id=key.seal_id, output_key=keys[key])
            for key in sorted(keys)
        )
    )
