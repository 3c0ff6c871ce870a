"""The signing keys of people, kernels and brokers.

Ed25519 for statements, requests and ledger checkpoints; P-256 only where a format asks
for it (OpenSSF Model Signing). A key's id is the SHA-256 of its SubjectPublicKeyInfo, so
anyone holding the public key can recompute it.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from jupyter_aisec.errors import MalformedError, SignatureError

__all__ = ["PublicKey", "SigningKey"]

KeyKind = Literal["ed25519", "p256"]
_ECDSA = ec.ECDSA(hashes.SHA256())


class PublicKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A public key: its kind, and its SubjectPublicKeyInfo in DER."""

    kind: KeyKind
    spki: bytes

    @property
    def key_id(self) -> str:
        return "sha256:" + hashlib.sha256(self.spki).hexdigest()

    def load(self) -> ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey:
        """The key as ``cryptography`` has it; raises MalformedError unless it is of its kind."""
        try:
            key = serialization.load_der_public_key(self.spki)
        except Exception as error:  # the loader raises ValueError, TypeError and its own
            raise MalformedError("A public key cannot be read.") from error
        if self.kind == "ed25519" and isinstance(key, ed25519.Ed25519PublicKey):
            return key
        if (
            self.kind == "p256"
            and isinstance(key, ec.EllipticCurvePublicKey)
            and isinstance(key.curve, ec.SECP256R1)
        ):
            return key
        raise MalformedError(f"A public key is not of the kind {self.kind} that it says.")

    def verify(self, signature: bytes, message: bytes) -> None:
        """Raises SignatureError unless ``signature`` over ``message`` is by this key."""
        key = self.load()
        try:
            if isinstance(key, ed25519.Ed25519PublicKey):
                key.verify(signature, message)
            else:
                key.verify(signature, message, _ECDSA)
        except InvalidSignature:
            raise SignatureError(
                f"A signature does not verify with the key {self.key_id[:19]}…."
            ) from None

    def pem(self) -> bytes:
        """SubjectPublicKeyInfo in PEM, as other tools read it."""
        return self.load().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )


class SigningKey:
    """A private key of one of the kinds; never shows itself in a repr."""

    def __init__(self, private: ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> None:
        self._private = private
        kind: KeyKind = "ed25519" if isinstance(private, ed25519.Ed25519PrivateKey) else "p256"
        self.public = PublicKey(
            kind=kind,
            spki=private.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            ),
        )

    @classmethod
    def generate(cls, kind: KeyKind = "ed25519") -> SigningKey:
        if kind == "ed25519":
            return cls(ed25519.Ed25519PrivateKey.generate())
        return cls(ec.generate_private_key(ec.SECP256R1()))

    @classmethod
    def from_bytes(cls, pkcs8: bytes) -> SigningKey:
        """The inverse of :meth:`to_bytes`; raises MalformedError."""
        try:
            private = serialization.load_der_private_key(pkcs8, password=None)
        except Exception as error:  # see PublicKey.load
            raise MalformedError("A private key cannot be read.") from error
        if not isinstance(private, ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
            raise MalformedError("A private key is of a kind that is not used here.")
        key = cls(private)
        key.public.load()  # refuses other curves
        return key

    def to_bytes(self) -> bytes:
        """PKCS #8 in DER, unencrypted: for a key store only."""
        return self._private.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @property
    def private(self) -> ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey:
        """The key as ``cryptography`` has it, for libraries that sign themselves."""
        return self._private

    def sign(self, message: bytes) -> bytes:
        if isinstance(self._private, ed25519.Ed25519PrivateKey):
            return self._private.sign(message)
        return self._private.sign(message, _ECDSA)

    def __repr__(self) -> str:
        return f"<SigningKey {self.public.key_id[:19]}…>"
