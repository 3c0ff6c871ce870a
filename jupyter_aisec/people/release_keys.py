"""Public HPKE keys, of the hybrid post-quantum KEM MLKEM768-X25519 (draft-ietf-hpke-pq).

They are read in this room, below the rules, so that a key to which nothing can be encrypted is
refused as soon as somebody signs for it, not when the first data key is released to it.
:mod:`jupyter_aisec.sealed.release` encrypts to them.
"""

from __future__ import annotations

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric import mlkem, x25519

from jupyter_aisec.errors import MalformedError

__all__ = ["MLKEM_SIZE", "X25519_SIZE", "load_release_key"]

MLKEM_SIZE, X25519_SIZE = 1_184, 32  # bytes of the two halves, in this order

# Any private key shows whether a point is of low order: RFC 7748, section 6.1.
_ANY = x25519.X25519PrivateKey.from_private_bytes(bytes([1] * X25519_SIZE))


def load_release_key(public: bytes) -> hpke.MLKEM768X25519PublicKey:
    """The key with these bytes; raises MalformedError if nothing can be encrypted to it.

    Such are a key of another length, an ML-KEM key with a coefficient that is not reduced
    (FIPS 203, section 7.2), and an X25519 point of low order (all zeros, for one).
    """
    try:
        first = mlkem.MLKEM768PublicKey.from_public_bytes(public[:MLKEM_SIZE])
        second = x25519.X25519PublicKey.from_public_bytes(public[MLKEM_SIZE:])
        _ANY.exchange(second)
    except ValueError:
        raise MalformedError(
            "A public HPKE key cannot be used.", code="hpke-key-malformed"
        ) from None
    return hpke.MLKEM768X25519PublicKey(first, second)
