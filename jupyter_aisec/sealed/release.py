"""Key release: secrets encrypted to one recipient, with HPKE.

HPKE base mode (RFC 9180) with the hybrid post-quantum KEM MLKEM768-X25519 of
draft-ietf-hpke-pq (ML-KEM-768 of FIPS 203 beside X25519), HKDF-SHA256 and AES-256-GCM.
The KEM is that of an internet draft and can still change; a sealed secret is short-lived
or rewrapped, so a change costs a new key pair, never a resealed artifact.

Base mode does not say who sent a secret. A release is therefore signed by the broker, and
``info`` binds it to what it is for: it opens for nothing else.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519

from jupyter_aisec.errors import SealBrokenError, WrongKeyError
from jupyter_aisec.people.canonical import canonical
from jupyter_aisec.people.release_keys import MLKEM_SIZE, X25519_SIZE, load_release_key

if TYPE_CHECKING:
    from cryptography.utils import Buffer

__all__ = [
    "PRIVATE_SIZE",
    "PUBLIC_SIZE",
    "SEALED_OVERHEAD",
    "ReleaseKey",
    "deposit_info",
    "output_release_info",
    "release_info",
    "seal_key",
]

_MLKEM_SEED = 64
PRIVATE_SIZE = _MLKEM_SEED + X25519_SIZE
PUBLIC_SIZE = MLKEM_SIZE + X25519_SIZE
_SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)
SEALED_OVERHEAD = hpke.KEM.MLKEM768_X25519.enc_length() + 16


def release_info(*, grant: str, artifact: str, seal_id: str, key_id: str, kernel: str) -> bytes:
    """What a key released to a kernel is bound to; ``kernel`` is its signing key's id."""
    return canonical(
        {
            "artifact": artifact,
            "grant": grant,
            "kernel": kernel,
            "key_id": key_id,
            "purpose": "release",
            "seal_id": seal_id,
        }
    )


def deposit_info(*, seal_id: str, key_id: str) -> bytes:
    """What a new key sent to the broker is bound to; an output key's id is ``"output"``."""
    return canonical({"key_id": key_id, "purpose": "seal", "seal_id": seal_id})


def output_release_info(*, ciphertext_sha256: str, kernel: str) -> bytes:
    """What the content key of an output, released to a kernel, is bound to."""
    return canonical(
        {"ciphertext_sha256": ciphertext_sha256, "kernel": kernel, "purpose": "output-release"}
    )


def seal_key(secret: Buffer, recipient: bytes, info: bytes) -> bytes:
    """``secret`` encrypted to the public key ``recipient``, for the purpose ``info`` only.

    Raises MalformedError if ``recipient`` is not a public key.
    """
    return _SUITE.encrypt(secret, load_release_key(recipient), info)


class ReleaseKey:
    """A private HPKE key of a kernel, a broker or an artifact's outputs.

    It keeps the ML-KEM seed and the X25519 key, from which both halves follow.
    """

    __slots__ = ("_private", "_secret", "public")

    def __init__(self, secret: Buffer) -> None:
        """The inverse of :meth:`to_bytes`; raises WrongKeyError for another length."""
        self._secret = bytes(secret)
        if len(self._secret) != PRIVATE_SIZE:
            raise WrongKeyError(
                f"A private HPKE key has {PRIVATE_SIZE} bytes, not {len(self._secret)}.",
                code="key-size-wrong",
            )
        first = mlkem.MLKEM768PrivateKey.from_seed_bytes(self._secret[:_MLKEM_SEED])
        second = x25519.X25519PrivateKey.from_private_bytes(self._secret[_MLKEM_SEED:])
        self._private = hpke.MLKEM768X25519PrivateKey(first, second)
        self.public: bytes = (
            first.public_key().public_bytes_raw() + second.public_key().public_bytes_raw()
        )

    @classmethod
    def generate(cls) -> ReleaseKey:
        return cls(os.urandom(PRIVATE_SIZE))

    def to_bytes(self) -> bytes:
        """ML-KEM seed (64 bytes) ‖ X25519 private key (32 bytes): for a key store only."""
        return self._secret

    def open(self, sealed: Buffer, info: bytes) -> bytes:
        """The secret in ``sealed``.

        Raises SealBrokenError if it is cut short, and WrongKeyError if it was changed,
        encrypted to another key, or meant for another purpose than ``info`` (HPKE does not
        tell these apart).
        """
        if memoryview(sealed).nbytes < SEALED_OVERHEAD:
            raise SealBrokenError("A sealed key is cut short.", code="sealed-key-truncated")
        try:
            return _SUITE.decrypt(sealed, self._private, info)
        except InvalidTag:
            raise WrongKeyError(
                "A sealed key does not open: it was changed, or is for another key or purpose.",
                next="Start the kernel again, so that it binds anew, and load again.",
                code="sealed-key-wrong",
            ) from None

    def __repr__(self) -> str:
        return "<ReleaseKey>"
