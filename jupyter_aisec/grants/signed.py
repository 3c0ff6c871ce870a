"""A statement together with whoever signed it.

Who signed is looked up at once and is cheap; checking the signatures themselves costs some
hundred microseconds each, so it is a step of its own: done before anything is appended,
again before keys are released, and by a full audit, but not each time a broker starts.
"""

from __future__ import annotations

import hashlib
from typing import Generic, TypeVar

import msgspec

from jupyter_aisec.people.dsse import Envelope, verify
from jupyter_aisec.people.keys import PublicKey

__all__ = ["Signed", "payload_sha256", "without_signature"]

T = TypeVar("T")


class Signed(msgspec.Struct, Generic[T], frozen=True, kw_only=True):
    """What was signed, by whom (first the one it names), and with which keys."""

    statement: T
    envelope: Envelope
    people: tuple[str, ...]
    keys: tuple[PublicKey, ...]

    @property
    def sha256(self) -> str:
        return payload_sha256(self.envelope)

    def verify(self) -> None:
        """Raises SignatureError unless every one of the keys signed it."""
        for key in self.keys:
            verify(self.envelope, key)


def payload_sha256(envelope: Envelope) -> str:
    """SHA-256 of the payload in hex: how one statement names another."""
    return hashlib.sha256(envelope.payload).hexdigest()


def without_signature(envelope: Envelope, key_id: str) -> Envelope:
    """The envelope without its last signature by ``key_id``, which is checked apart."""
    signatures = list(envelope.signatures)
    for place in reversed(range(len(signatures))):
        if signatures[place].keyid == key_id:
            del signatures[place]
            break
    return msgspec.structs.replace(envelope, signatures=tuple(signatures))
