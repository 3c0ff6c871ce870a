"""Whether what a kernel wants stored looks like a sealed file: structure and randomness.

The keeper has no key, so it cannot tell ciphertext from random bytes; it can tell both from
plaintext. Four tests, each over bytes that have not been written yet:

- the first byte is that of Tink's header, and the size is one that a sealed file can have;
- no run of 80 bytes below 0x80: text in ASCII, however it is mixed with other bytes;
- in every block of 64 KiB, Pearson's chi-squared of the byte values (255 degrees of freedom)
  is below 600;
- in the last 4 KiB, or all there is, chi-squared of the half bytes (15 degrees of freedom) is
  below 150: short files have too few bytes for 256 cells.

How often honest ciphertext is refused: a run begins at one of 2^30 places in a GiB, with
2^-80 each, so below 1e-15 per GiB. By Chernoff's bound, P(chi-squared with k degrees of
freedom > x) <= exp(-(x - k)/2 + k/2 * ln(x/k)): below 1e-27 per block, 1e-23 per GiB; and
below 1e-21 for half bytes, once per file (for the shortest file, 56 bytes, where the bound
is only approximate, a binomial tail gives 1e-13).

Plaintext that somebody encoded to look random passes. That is steganography, which nobody
without the key can exclude, and the threat model says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_aisec.errors import RefusedError
from jupyter_aisec.sealed.stream import HEADER_SIZE, SEGMENT_SIZE, TAG_SIZE, sealed_size

if TYPE_CHECKING:
    from cryptography.utils import Buffer

__all__ = ["CiphertextTest"]

_BLOCK = 64 * 1024
_TAIL = 4 * 1024
_RUN = b"\0" * 80
_HIGH_BIT = bytes([0] * 128 + [1] * 128)
_MAX_BYTES, _MAX_HALVES = 600.0, 150.0


class CiphertextTest:
    """One file as it passes: :meth:`feed` and :meth:`finish` hand on what was tested."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._before = b""  # the last of what was handed on
        self._size = 0

    def feed(self, data: Buffer) -> bytes:
        """Takes ``data``; the whole blocks that may be written now.

        Raises RefusedError (``not-ciphertext``) where a block is no ciphertext.
        """
        self._waiting += data
        ready = len(self._waiting) // _BLOCK * _BLOCK
        whole = bytes(self._waiting[:ready])
        del self._waiting[:ready]
        for start in range(0, ready, _BLOCK):
            self._look(whole[start : start + _BLOCK])
        return whole

    def finish(self) -> bytes:
        """What is left, tested; raises RefusedError (``not-ciphertext``) as :meth:`feed` does."""
        rest = bytes(self._waiting)
        self._waiting.clear()
        self._look(rest)
        segments = -(-self._size // SEGMENT_SIZE)
        plain = self._size - HEADER_SIZE - segments * TAG_SIZE
        if plain < 0 or sealed_size(plain) != self._size:
            raise _refused("no sealed file has its size")
        if _chi_squared(_halves(self._before), 16) > _MAX_HALVES:
            raise _refused("its bytes are not random")
        return rest

    def _look(self, block: bytes) -> None:
        if not self._size and block[:1] not in (b"", bytes([HEADER_SIZE])):
            raise _refused("it has no header of a sealed file")
        self._size += len(block)
        if (self._before[1 - len(_RUN) :] + block).translate(_HIGH_BIT).find(_RUN) >= 0:
            raise _refused("there is text in it")
        if len(block) == _BLOCK and _chi_squared(block, 256) > _MAX_BYTES:
            raise _refused("its bytes are not random")
        self._before = (self._before + block)[-_TAIL:]


def _halves(data: bytes) -> bytes:
    """Each byte as two of 0 to 15."""
    return bytes(half for byte in data for half in (byte >> 4, byte & 15))


def _chi_squared(data: bytes, cells: int) -> float:
    """Pearson's statistic of ``data``, none of it above ``cells``, against equal chances."""
    import numpy  # only the keeper of a kernel that seals needs it

    counts: Any = numpy.bincount(numpy.frombuffer(data, numpy.uint8), minlength=cells)
    expected = len(data) / cells
    return float(((counts - expected) ** 2).sum() / expected)


def _refused(why: str) -> RefusedError:
    return RefusedError(
        f"This is not a sealed file: {why}.",
        next="Seal it: `%save_secure VALUE as results/NAME`.",
        code="not-ciphertext",
    )
