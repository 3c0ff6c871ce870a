"""Keyed digests of an entry's columns: which column of which row is not as it was written.

They decide nothing, the signed root does. The root says *that* something was changed, and
these say *where*: HMAC-SHA-256 (RFC 2104, cut to 128 bits as in RFC 4868) of each column's
value with the table, the row's index and the column's name, under a key that only the
broker's key store has. So nobody can make them match a value that the broker did not write
there, nor bring them from another row or column. A last one over the others tells a changed
digest from a changed value.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

__all__ = ["COLUMNS", "SIZE", "ColumnDigests"]

COLUMNS: Final = ("idx", "at", "type", "salt", "body", "digests")  # of the table `entries`
_SIZE_OF_ONE = 16  # bytes
SIZE: Final = _SIZE_OF_ONE * len(COLUMNS)


class ColumnDigests:
    """Makes and checks the column ``digests`` of the table ``entries``."""

    def __init__(self, key: bytes) -> None:
        """``key`` is 32 secret bytes; see ``KeyStore.digest_key``."""
        self._keyed = HMAC(key, SHA256())

    def of(self, idx: int, at: str, type: str, salt: bytes, body: bytes) -> bytes:
        """The digests of a row, one after the other in the order of ``COLUMNS``."""
        values = (idx, at, type, salt, body)
        digests = b"".join(
            self._digest(idx, column, value) for column, value in zip(COLUMNS, values, strict=False)
        )
        return digests + self._digest(idx, "digests", digests)

    def changed(self, row: Sequence[Any], idx: int) -> tuple[str, ...]:
        """The columns of a stored row that are not as they were written for entry ``idx``.

        ``digests`` among them means that those of the others may be wrong, and not they.
        """
        *values, digests = row
        if not isinstance(digests, bytes) or len(digests) != SIZE:
            return COLUMNS
        parts = [digests[at : at + _SIZE_OF_ONE] for at in range(0, SIZE, _SIZE_OF_ONE)]
        values.append(digests[:-_SIZE_OF_ONE])
        return tuple(
            column
            for column, value, part in zip(COLUMNS, values, parts, strict=True)
            if not bytes_eq(self._digest(idx, column, value), part)
        )

    def index_digests(self, size: int) -> dict[bytes, int]:
        """What the digests of the first ``size`` entries begin with, and whose it is."""
        return {self._digest(idx, "idx", idx): idx for idx in range(size)}

    @staticmethod
    def index_digest(row: Sequence[Any]) -> bytes:
        """What the digests of a stored row begin with; b"" where there are none."""
        digests = row[-1]
        return digests[:_SIZE_OF_ONE] if isinstance(digests, bytes) else b""

    def _digest(self, idx: int, column: str, value: object) -> bytes:
        keyed = self._keyed.copy()
        keyed.update(b"entries\0%d\0%s\0%s\0" % (idx, column.encode(), _kind(value)))
        keyed.update(_as_bytes(value))
        return keyed.finalize()[:_SIZE_OF_ONE]


def _kind(value: object) -> bytes:
    """SQLite keeps a value of any type in any column: the same text as bytes is another."""
    return type(value).__name__.encode()


def _as_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
