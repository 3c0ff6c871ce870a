"""Sealed files: Tink's streaming AEAD, type ``AES256_GCM_HKDF_1MB``, bit for bit.

Specification: https://developers.google.com/tink/streaming-aead/aes_gcm_hkdf_streaming.
A file is a header (one byte with the header's length, a 32-byte salt, a 7-byte nonce
prefix) and segments of 1 MiB of ciphertext, the first shorter by the header, the last as
short as needed. The file's key is HKDF-SHA256(data key, salt, info = associated data), a
segment's nonce is prefix ‖ u32be number ‖ 1 if it is the last; so segments can be read in
any order, and none can be moved, dropped or taken from another file.

Tink's own implementation reads in order only; this one has random access and decrypts
straight into the caller's memory.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from jupyter_aisec.errors import UsageError

if TYPE_CHECKING:
    from cryptography.utils import Buffer

    from jupyter_aisec.sealed.datakey import DataKey

__all__ = [
    "HEADER_SIZE",
    "MAX_SIZE",
    "SEGMENT_SIZE",
    "TAG_SIZE",
    "SealWriter",
    "derive_aead",
    "nonce",
    "plain_start",
    "sealed_size",
    "segment_count",
]

SEGMENT_SIZE = 1 << 20  # bytes of ciphertext
TAG_SIZE = 16
_SALT_SIZE = 32
_PREFIX_SIZE = 7
HEADER_SIZE = 1 + _SALT_SIZE + _PREFIX_SIZE
PLAIN_SIZE = SEGMENT_SIZE - TAG_SIZE  # bytes of plaintext in every segment but the first
_AHEAD = 32  # sealed segments that may wait to be hashed, each a SEGMENT_SIZE of memory
MAX_SIZE = (PLAIN_SIZE << 32) - HEADER_SIZE  # segment numbers have 32 bits


def plain_start(segment: int) -> int:
    """The offset in the plaintext at which a segment begins."""
    return max(0, segment * PLAIN_SIZE - HEADER_SIZE)


def segment_count(size: int) -> int:
    """How many segments ``size`` bytes of plaintext take: at least one, and none empty."""
    return max(1, -(-(size + HEADER_SIZE) // PLAIN_SIZE))


def sealed_size(size: int) -> int:
    """The size of a sealed file with ``size`` bytes of plaintext."""
    return HEADER_SIZE + size + segment_count(size) * TAG_SIZE


def derive_aead(key: DataKey, header: Buffer, associated_data: bytes) -> AESGCM:
    """The file's own AES-256-GCM, from the salt in its header."""
    salt = bytes(memoryview(header)[1 : 1 + _SALT_SIZE])
    return AESGCM(HKDF(hashes.SHA256(), 32, salt=salt, info=associated_data).derive(key.secret))


def nonce(header: Buffer, segment: int, last: bool) -> bytes:
    """The nonce of one segment."""
    prefix = bytes(memoryview(header)[1 + _SALT_SIZE : HEADER_SIZE])
    return prefix + struct.pack(">IB", segment, last)


class SealWriter(io.RawIOBase):
    """Seals what is written to it into ``sink``, in chunks of any size.

    Only :meth:`finish` writes the last segment: a writer that is closed or dropped before
    leaves a file that does not open, never a shorter one that does. A write that fails or is
    interrupted closes the writer, for the same reason, and because a nonce must not seal
    two things. The sink is used by the caller's thread only, and stays open.

    SHA-256 takes longer than AES and the sink together, so it has a thread of its own: on two
    cores that seals 1 GiB between files in memory in 0.57 s instead of 1.07 s.
    """

    def __init__(self, sink: BinaryIO, key: DataKey, associated_data: bytes) -> None:
        super().__init__()
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="aisec-seal")
        self._hashing: deque[tuple[Future[None], bytearray]] = deque()
        self._digest = hashlib.sha256()
        self._sink = sink
        self._header = bytes([HEADER_SIZE]) + os.urandom(_SALT_SIZE) + os.urandom(_PREFIX_SIZE)
        self._aead = derive_aead(key, self._header, associated_data)
        self._segment = 0
        self._room = PLAIN_SIZE - HEADER_SIZE  # in the current segment
        self._pending = bytearray()  # the current segment's plaintext, while it is not full
        self.size = 0  # bytes of plaintext so far
        self.sealed_size = HEADER_SIZE  # bytes written to the sink so far
        self._sink.write(self._header)
        self._digest.update(self._header)

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of the sealed bytes so far."""
        for hashed, _ in self._hashing:
            hashed.result()
        return self._digest.hexdigest()

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:  # type: ignore[override]  # typeshed's own Buffer
        """Takes all of ``data``. Raises UsageError after :meth:`finish` or a failed write."""
        with self._unfinished(), memoryview(data) as whole, whole.cast("B") as view:
            length = len(view)
            start = 0
            while start < length:
                # A full segment waits until more comes: it could be the last one.
                if len(self._pending) == self._room:
                    self._seal(self._pending, last=False)
                    self._pending.clear()
                if not self._pending and length - start > self._room:
                    stop = start + self._room
                    self._seal(view[start:stop], last=False)
                else:
                    stop = min(length, start + self._room - len(self._pending))
                    self._pending += view[start:stop]
                start = stop
            self.size += length
            return length

    def finish(self) -> None:
        """Writes the last segment. The sink is then a whole sealed file."""
        with self._unfinished():
            self._seal(self._pending, last=True)
            self._pending.clear()
        self.close()

    def close(self) -> None:
        """Nothing can be added from now on, whether :meth:`finish` was called or not."""
        self._hasher.shutdown()
        super().close()

    @contextmanager
    def _unfinished(self) -> Iterator[None]:
        if self.closed:
            raise UsageError(
                "This sealed file is finished or given up; nothing can be added to it."
            )
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _seal(self, plain: Buffer, *, last: bool) -> None:
        buffer = self._buffer()
        out = memoryview(buffer)[: memoryview(plain).nbytes + TAG_SIZE]
        self._aead.encrypt_into(nonce(self._header, self._segment, last), plain, None, out)
        self._hashing.append((self._hasher.submit(self._digest.update, out), buffer))
        self._sink.write(out)
        self.sealed_size += len(out)
        self._segment += 1
        self._room = PLAIN_SIZE

    def _buffer(self) -> bytearray:
        """Memory for a sealed segment: that of one that has been hashed, or new."""
        if self._hashing and (len(self._hashing) == _AHEAD or self._hashing[0][0].done()):
            hashed, buffer = self._hashing.popleft()
            hashed.result()
            return buffer
        return bytearray(SEGMENT_SIZE)
