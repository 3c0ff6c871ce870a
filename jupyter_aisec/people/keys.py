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

__all__ = ["KeyKind", "PublicKey", "SigningKey"]

KeyKind = Literal["ed25519", "p256"]
_PublicKeys = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey
_PrivateKeys = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey
_ECDSA = ec.ECDSA(hashes.SHA256())


class PublicKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A public key: its kind, and its SubjectPublicKeyInfo in DER."""

    kind: KeyKind
    spki: bytes

    @classmethod
    def from_raw(cls, raw: bytes) -> PublicKey:
        """The Ed25519 key with these 32 bytes (RFC 8032); raises MalformedError."""
        try:
            key = ed25519.Ed25519PublicKey.from_public_bytes(raw)
        except ValueError as error:
            raise MalformedError("An Ed25519 public key has 32 bytes.") from error
        return cls(kind="ed25519", spki=_spki(key))

    @property
    def key_id(self) -> str:
        """``sha256:`` and the digest of the SubjectPublicKeyInfo in hex."""
        return "sha256:" + hashlib.sha256(self.spki).hexdigest()

    def load(self) -> _PublicKeys:
        """The key as ``cryptography`` has it; raises MalformedError unless it is of its kind."""
        try:
            key = serialization.load_der_public_key(self.spki)
        except Exception as error:  # the loader raises ValueError, TypeError and its own
            raise MalformedError("A public key cannot be read.") from error
        if (
            not isinstance(key, _PublicKeys)
            or _kind_of(key) != self.kind
            or _spki(key) != self.spki  # one key, one id: a compressed point would be a second
        ):
            raise MalformedError(f"A public key is not of the kind {self.kind} that it says.")
        return key

    def raw(self) -> bytes:
        """The 32 bytes of an Ed25519 key (RFC 8032); raises MalformedError for P-256."""
        key = self.load()
        if not isinstance(key, ed25519.Ed25519PublicKey):
            raise MalformedError("Only an Ed25519 key has a raw form here.")
        return key.public_bytes_raw()

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

    def __init__(self, private: _PrivateKeys) -> None:
        """Raises MalformedError for a curve that is not used here."""
        public = private.public_key()
        kind = _kind_of(public)
        if kind is None:
            raise MalformedError("A private key is of a kind that is not used here.")
        self._private = private
        self.public = PublicKey(kind=kind, spki=_spki(public))

    @classmethod
    def generate(cls, kind: KeyKind = "ed25519") -> SigningKey:
        """A fresh key."""
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
        if not isinstance(private, _PrivateKeys):
            raise MalformedError("A private key is of a kind that is not used here.")
        return cls(private)

    def to_bytes(self) -> bytes:
        """PKCS #8 in DER, unencrypted: for a key store only."""
        return self._private.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @property
    def private(self) -> _PrivateKeys:
        """The key as ``cryptography`` has it, for libraries that sign themselves."""
        return self._private

    def sign(self, message: bytes) -> bytes:
        """A signature: 64 bytes for Ed25519, DER for P-256 (ECDSA with SHA-256)."""
        if isinstance(self._private, ed25519.Ed25519PrivateKey):
            return self._private.sign(message)
        return self._private.sign(message, _ECDSA)

    def __repr__(self) -> str:
        return f"<SigningKey {self.public.key_id[:19]}…>"


def _kind_of(key: _PublicKeys) -> KeyKind | None:
    if isinstance(key, ed25519.Ed25519PublicKey):
        return "ed25519"
    return "p256" if isinstance(key.curve, ec.SECP256R1) else None


def _spki(key: _PublicKeys) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
