"""DSSE v1.0.2 envelopes: a payload, its type, and signatures over both.

Spec: https://github.com/secure-systems-lab/dsse. The signature covers the
pre-authentication encoding (PAE), so a payload of one type cannot pass as another.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from jupyter_aisec.errors import SignatureError
from jupyter_aisec.people.canonical import canonical, parse_canonical
from jupyter_aisec.people.keys import PublicKey, SigningKey

__all__ = ["Envelope", "Signature", "pae", "sign", "sign_again", "verify"]

T = TypeVar("T")


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    keyid: str
    sig: bytes


class Envelope(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    kw_only=True,
    rename={"payload_type": "payloadType"},
):
    payload: bytes
    payload_type: str
    signatures: tuple[Signature, ...]

    def read(self, type_: type[T], payload_type: str, what: str) -> T:
        """The payload, canonical JSON of ``type_``; says nothing about who signed it.

        Raises SignatureError for another payload type, MalformedError for another content.
        """
        if self.payload_type != payload_type:
            raise SignatureError(
                f"{what} is signed as {self.payload_type[:80]!r}, not as {payload_type!r}.",
                code="payload-type-wrong",
            )
        return parse_canonical(self.payload, type_, what)


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed (DSSE protocol, "PAE")."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def sign(payload: object, payload_type: str, key: SigningKey) -> Envelope:
    """An envelope around ``payload`` (bytes as they are, anything else canonically)."""
    data = payload if isinstance(payload, bytes) else canonical(payload)
    return sign_again(Envelope(payload=data, payload_type=payload_type, signatures=()), key)


def sign_again(envelope: Envelope, key: SigningKey) -> Envelope:
    """The same envelope with one more signature, as a countersignature."""
    signature = Signature(
        keyid=key.public.key_id, sig=key.sign(pae(envelope.payload_type, envelope.payload))
    )
    return msgspec.structs.replace(envelope, signatures=(*envelope.signatures, signature))


def verify(envelope: Envelope, key: PublicKey) -> None:
    """Raises SignatureError unless ``key`` made one of the envelope's signatures."""
    for signature in envelope.signatures:
        if signature.keyid == key.key_id:
            return key.verify(signature.sig, pae(envelope.payload_type, envelope.payload))
    raise SignatureError(f"No signature by the key {key.key_id[:19]}….", code="signature-missing")
