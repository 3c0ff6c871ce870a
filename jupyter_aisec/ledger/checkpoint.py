"""Signed ledger checkpoints: origin, size and root hash, as a signed note.

Spec: https://c2sp.org/tlog-checkpoint. The origin is also the name of the log's key, as
the spec recommends, so that a key of one log cannot speak for another. We write no
extension lines and refuse them, because monitors cannot audit them.
"""

from __future__ import annotations

import base64
import binascii

import msgspec

from jupyter_aisec.errors import MalformedError
from jupyter_aisec.ledger.merkle import HASH_SIZE
from jupyter_aisec.ledger.note import NoteSigner, open_note, parse_verifier_key, sign_note

__all__ = ["Checkpoint", "open_checkpoint", "parse_checkpoint", "sign_checkpoint"]


class Checkpoint(msgspec.Struct, frozen=True):
    """What the log says it was: ``size`` entries under ``root``."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def from_brief(cls, origin: str, brief: str) -> Checkpoint:
        """The inverse of :attr:`brief`; raises MalformedError."""
        return parse_checkpoint(f"{origin}\n{brief.replace(':', chr(10), 1)}\n")

    @property
    def brief(self) -> str:
        """``<size>:<root>``, as an approval repeats the checkpoint its approver saw."""
        return f"{self.size}:{base64.b64encode(self.root).decode()}"


def sign_checkpoint(checkpoint: Checkpoint, signer: NoteSigner) -> str:
    """The checkpoint as a signed note, under the log's key."""
    _check_origin(checkpoint.origin, signer.name)
    parse_checkpoint(checkpoint.text)  # never sign what nobody could open
    return sign_note(checkpoint.text, signer)


def open_checkpoint(note: str, verifier_key: str) -> Checkpoint:
    """The checkpoint in a note signed by ``verifier_key`` (``name+hash+base64``).

    Raises SignatureError or MalformedError.
    """
    checkpoint = parse_checkpoint(open_note(note, verifier_key))
    _check_origin(checkpoint.origin, parse_verifier_key(verifier_key).name)
    return checkpoint


def parse_checkpoint(text: str) -> Checkpoint:
    """The checkpoint that ``text`` spells; says nothing about a signature."""
    try:
        origin, size, root, end = text.split("\n")
        checkpoint = Checkpoint(origin, int(size), base64.b64decode(root, validate=True))
        if end or not origin or len(checkpoint.root) != HASH_SIZE or checkpoint.size < 0:
            raise ValueError("a line is wrong")
        if checkpoint.text != text:  # another spelling of the same numbers
            raise ValueError("not canonical")
    except (ValueError, binascii.Error) as error:
        raise MalformedError(
            "This is not a ledger checkpoint (C2SP tlog-checkpoint).",
            code="checkpoint-malformed",
        ) from error
    return checkpoint


def _check_origin(origin: str, key_name: str) -> None:
    if origin != key_name:
        raise MalformedError(
            f"The checkpoint is of {origin[:80]!r}, its key of {key_name[:80]!r}.",
            code="checkpoint-origin",
        )
