"""Public HPKE keys, of the hybrid post-quantum KEM MLKEM768-X25519 (draft-ietf-hpke-pq).

They are read here, below the rules, so that one that nothing can be encrypted to is refused
when it is signed for and not when the first key is released. :mod:`jupyter_aisec.sealed.release`
uses them.
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
    """The key with these bytes; raises MalformedError unless something can be encrypted to it.

    That is: of another length, an ML-KEM key with a coefficient that is not reduced (FIPS
    203, section 7.2), or an X25519 point of low order (all zeros, for one).
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
