"""The embedded key store: the broker's private keys, and the wrapping of data keys.

A data key is wrapped with AES-256-GCM (NIST SP 800-38D) under a random 96-bit nonce, with
the seal id and key id as associated data, so that a wrapped key moved to another row does
not unwrap. The key of the column digests is derived from the wrapping key by HKDF-SHA-256
(RFC 5869). Secrets lie in the operating system's keyring where one really keeps them, else
in files that only the broker's account may read; a home remembers which.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from jupyter_aisec.errors import KeyStoreError
from jupyter_aisec.people.canonical import canonical
from jupyter_aisec.people.keys import KeyKind, SigningKey
from jupyter_aisec.sealed.release import ReleaseKey
from jupyter_aisec.secrets import Secrets

__all__ = ["BrokerKeys", "EmbeddedKeyStore", "KeyStore", "open_key_store"]

_NONCE = 12  # bytes
_VERSION = b"\x01"  # of the wrapping: nonce, then ciphertext and tag
_CHECKPOINT = "checkpoint"
_DIGESTS = b"jupyter-aisec/column-digests/v1"


class BrokerKeys(msgspec.Struct, frozen=True, kw_only=True):
    """What the broker signs and decrypts with, and the name of its ledger."""

    origin: str
    log: SigningKey  # Ed25519: ledger checkpoints
    broker: SigningKey  # Ed25519: releases, countersignatures, provenance
    model: SigningKey  # P-256: OpenSSF Model Signing
    seal: ReleaseKey  # HPKE: new data keys are sent to its public half


class KeyStore(Protocol):
    """Where wrapping keys live. Every method raises KeyStoreError when it cannot."""

    @property
    def where(self) -> str:
        """In words, for people: which place protects the keys."""

    def keys(self) -> BrokerKeys: ...

    def wrap(self, data_key: bytes, seal_id: str, key_id: str) -> bytes: ...

    def unwrap(self, wrapped: bytes, seal_id: str, key_id: str) -> bytes: ...

    def digest_key(self) -> bytes:
        """32 bytes, always the same and for nothing else than the column digests."""

    def remember_checkpoint(self, note: str) -> None:
        """Keeps the newest signed ledger checkpoint, outside the database."""

    def remembered_checkpoint(self) -> str | None: ...


class EmbeddedKeyStore:
    """A key store in this process, over a keyring or files."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    @property
    def where(self) -> str:
        return self._secrets.where

    def create(self, origin: str) -> BrokerKeys:
        """Makes the keys that do not exist yet (all of them, on an empty home)."""
        if self._secrets.read("origin") is None:
            self._secrets.write("origin", origin.encode())
        for name, kind in _SIGNING.items():
            if self._secrets.read(name) is None:
                self._secrets.write(name, SigningKey.generate(kind).to_bytes())
        if self._secrets.read("seal") is None:
            self._secrets.write("seal", ReleaseKey.generate().to_bytes())
        if self._secrets.read("wrapping") is None:
            self._secrets.write("wrapping", os.urandom(32))
        return self.keys()

    def keys(self) -> BrokerKeys:
        signing = {name: SigningKey.from_bytes(self._must_read(name)) for name in _SIGNING}
        origin = self._must_read("origin").decode()
        return BrokerKeys(origin=origin, **signing, seal=ReleaseKey(self._must_read("seal")))

    def wrap(self, data_key: bytes, seal_id: str, key_id: str) -> bytes:
        nonce = os.urandom(_NONCE)
        return _VERSION + nonce + self._wrapping().encrypt(nonce, data_key, _bound(seal_id, key_id))

    def unwrap(self, wrapped: bytes, seal_id: str, key_id: str) -> bytes:
        nonce, sealed = wrapped[1 : 1 + _NONCE], wrapped[1 + _NONCE :]
        try:
            if wrapped[:1] != _VERSION or len(nonce) != _NONCE:
                raise InvalidTag
            return self._wrapping().decrypt(nonce, sealed, _bound(seal_id, key_id))
        except InvalidTag:
            raise KeyStoreError(
                f"The wrapped data key {key_id} of {seal_id} does not unwrap.",
                next="See where: `aisec audit verify`.",
                code="wrapped-key-broken",
            ) from None

    def digest_key(self) -> bytes:
        derived = HKDF(SHA256(), 32, salt=None, info=_DIGESTS)
        return derived.derive(self._must_read("wrapping"))

    def remember_checkpoint(self, note: str) -> None:
        self._secrets.write(_CHECKPOINT, note.encode())

    def remembered_checkpoint(self) -> str | None:
        note = self._secrets.read(_CHECKPOINT)
        return None if note is None else note.decode(errors="replace")

    def _wrapping(self) -> AESGCM:
        return AESGCM(self._must_read("wrapping"))

    def _must_read(self, name: str) -> bytes:
        secret = self._secrets.read(name)
        if secret is None:
            raise KeyStoreError(
                f"The key {name!r} is not in {self.where}.",
                next="Restore it from a backup; without it this broker cannot go on.",
                code="key-missing",
            )
        return secret


_SIGNING: dict[str, KeyKind] = {"log": "ed25519", "broker": "ed25519", "model": "p256"}


def _bound(seal_id: str, key_id: str) -> bytes:
    return canonical({"key_id": key_id, "purpose": "wrap", "seal_id": seal_id})


def open_key_store(home: Path) -> EmbeddedKeyStore:
    """The key store of a broker's home; its first key decides where it keeps them."""
    return EmbeddedKeyStore(Secrets(home / "keys"))
