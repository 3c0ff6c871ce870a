"""The data key: 32 random bytes that seal one artifact version.

AES-GCM does not commit to its key: one ciphertext can be made to open under two keys. So
the manifest carries a commitment, HKDF-SHA512 of the key under a fixed label, and a key is
checked against it before anything is decrypted.
"""

from __future__ import annotations

import hmac
import os
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from jupyter_aisec.errors import SealError, WrongKeyError
from jupyter_aisec.sealed.memory import wipe

if TYPE_CHECKING:
    from cryptography.utils import Buffer

__all__ = ["COMMITMENT_SIZE", "DATA_KEY_SIZE", "DataKey"]

DATA_KEY_SIZE = 32
COMMITMENT_SIZE = 64
_LABEL = b"jupyter-aisec/key-commitment/v1"


class DataKey:
    """A data key in memory of its own; it never shows itself in a repr.

    :meth:`wipe` overwrites this copy. AES contexts made from it keep their own until they
    are dropped, which is why readers have a ``close``.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: Buffer) -> None:
        """Copies ``secret``; raises WrongKeyError unless it has 32 bytes."""
        self._secret = bytearray(secret)
        if len(self._secret) != DATA_KEY_SIZE:
            raise WrongKeyError(
                f"A data key has {DATA_KEY_SIZE} bytes, not {len(self._secret)}.",
                code="key-size-wrong",
            )

    @classmethod
    def generate(cls) -> DataKey:
        return cls(os.urandom(DATA_KEY_SIZE))

    @property
    def secret(self) -> bytearray:
        """The key itself, not a copy; raises SealError after a wipe."""
        if not self._secret:
            raise SealError(
                "The data key has been wiped: the grant is over.",
                next="Ask again, `%grant request NAME --for 1h --reason TEXT`, then load again.",
                code="memory-wiped",
            )
        return self._secret

    def commitment(self) -> bytes:
        """64 bytes that fix the key and say nothing about it."""
        kdf = HKDF(hashes.SHA512(), COMMITMENT_SIZE, salt=None, info=_LABEL)
        return kdf.derive(self.secret)

    def check(self, commitment: bytes, key_id: str) -> None:
        """Raises WrongKeyError unless this is the key that ``commitment`` fixes."""
        if not hmac.compare_digest(self.commitment(), commitment):
            raise WrongKeyError(
                f"The key received as {key_id} is not the one that the manifest commits to.",
                next="Tell the broker's administrator; `aisec audit verify` checks its tables.",
            )

    def wipe(self) -> None:
        """Overwrites the key; it cannot be used any more."""
        wipe(self._secret)
        self._secret.clear()

    def __repr__(self) -> str:
        return "<DataKey>"
