"""Reading sealed files: at any offset, straight into the caller's memory, on two threads.

Nothing is handed out before it is authenticated, and no length is believed before the last
segment is: a file cut at a segment's end looks whole otherwise.
"""

from __future__ import annotations

import io
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from cryptography.exceptions import InvalidTag

from jupyter_aisec.errors import PlaintextError, SealBrokenError
from jupyter_aisec.sealed.memory import Memory, wipe
from jupyter_aisec.sealed.source import RESEAL
from jupyter_aisec.sealed.stream import (
    HEADER_SIZE,
    PLAIN_SIZE,
    SEGMENT_SIZE,
    TAG_SIZE,
    derive_aead,
    nonce,
    plain_start,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    from cryptography.utils import Buffer

    from jupyter_aisec.sealed.datakey import DataKey
    from jupyter_aisec.sealed.source import Source

__all__ = ["SealReader", "SealedIO"]

Target = tuple[int, memoryview]  # an offset in the plaintext, and the memory to fill from there
Progress = Callable[[int], None]

_THREADS = 2
_TASK = 16  # segments that a thread takes at a time
_DIAGNOSED = 256  # segments looked at to say what is wrong with a broken file


class SealReader:
    """The plaintext of one sealed file.

    Opening checks the header, then the last segment. ``size`` is the plaintext's, in bytes.
    Reading raises SealBrokenError for a segment that is not authentic, and then leaves
    nothing in the buffers it was given.
    """

    def __init__(
        self,
        source: Source,
        key: DataKey,
        associated_data: bytes,
        *,
        name: str = "The file",
        expected_size: int | None = None,
    ) -> None:
        """Opens ``source``; ``expected_size`` is the sealed size that a manifest tells.

        Raises PlaintextError if this is no sealed file at all, and SealBrokenError
        (``seal-truncated``, ``seal-oversized``, ``seal-swapped``, ``seal-broken``).
        """
        self._source = source
        self._name = name
        scratch = _Scratch(1)
        head = bytes(memoryview(source.fetch(0, min(HEADER_SIZE, source.size), scratch.sealed)))
        if not head or head[0] != HEADER_SIZE:
            raise PlaintextError(
                f"{name} is not a sealed file: its beginning is of another format.",
                next="Seal it: `aisec artifact seal SRC NAME`. Never put plaintext at the store.",
            )
        expected = source.size if expected_size is None else expected_size
        if source.size < max(expected, HEADER_SIZE + TAG_SIZE):
            raise self._broken("is cut short", "seal-truncated")
        if source.size > expected:
            raise self._broken("has more bytes than were sealed", "seal-oversized")
        self._count = -(-source.size // SEGMENT_SIZE)
        if source.size - self._sealed_start(self._count - 1) < TAG_SIZE:
            raise self._broken("is cut short", "seal-truncated")
        self.size = source.size - HEADER_SIZE - self._count * TAG_SIZE
        self._head = head
        self._aead: AESGCM | None = derive_aead(key, head, associated_data)
        last = self._count - 1
        try:
            self._decrypt(last, self._fetch(last, last + 1, scratch), scratch.plain)
        finally:
            wipe(scratch.plain)

    def read_into(self, offset: int, buffer: Buffer) -> None:
        """Fills ``buffer`` with plaintext from ``offset`` on; ValueError past the end."""
        with memoryview(buffer) as whole, whole.cast("B") as view:
            self.read_many([(offset, view)])

    def read(self, offset: int, length: int) -> bytearray:
        """``length`` bytes of plaintext from ``offset`` on."""
        data = bytearray(length)
        self.read_into(offset, data)
        return data

    def read_many(self, targets: Sequence[Target], progress: Progress | None = None) -> None:
        """Fills several buffers, decrypting each segment that any of them needs once.

        ``targets`` are pairs of an offset and a writable view of bytes that do not overlap
        in the file (ValueError). ``progress`` is called, by any thread, with the number of
        bytes that have just been read. On an error all buffers are wiped.
        """
        wanted = sorted((t for t in targets if len(t[1])), key=lambda target: target[0])
        starts = [offset for offset, _ in wanted]
        stops = [offset + len(view) for offset, view in wanted]
        bounds = [
            0,
            *(edge for pair in zip(starts, stops, strict=True) for edge in pair),
            self.size,
        ]
        if bounds != sorted(bounds):
            raise ValueError("the buffers overlap, or reach past the end of the file")
        work = _Work(self, wanted, starts, stops, progress)
        try:
            work.run()
        except BaseException:
            for _, view in wanted:
                wipe(view)
            raise

    def open(self, memory: Memory | None = None) -> io.BufferedReader:
        """The plaintext as a seekable binary file, for libraries that read files."""
        return io.BufferedReader(SealedIO(self, memory or Memory()), 128 << 10)

    def close(self) -> None:
        """Forgets the file's key: nothing can be read any more."""
        self._aead = None

    def _fetch(self, first: int, stop: int, scratch: _Scratch) -> memoryview:
        """The ciphertext of consecutive segments."""
        end = min(stop * SEGMENT_SIZE, self._source.size)
        return memoryview(self._source.fetch(self._sealed_start(first), end, scratch.sealed)).cast(
            "B"
        )

    @staticmethod
    def _sealed_start(segment: int) -> int:
        return max(HEADER_SIZE, segment * SEGMENT_SIZE)

    def _plain_stop(self, segment: int) -> int:
        return min(plain_start(segment + 1), self.size)

    def _decrypt(self, segment: int, sealed: memoryview, out: memoryview) -> None:
        """One segment into ``out``, as long as its plaintext or longer."""
        aead = self._aead
        if aead is None:
            raise SealBrokenError(f"{self._name} has been closed.", code="seal-closed")
        out = out[: len(sealed) - TAG_SIZE]
        try:
            aead.decrypt_into(
                nonce(self._head, segment, segment == self._count - 1), sealed, None, out
            )
        except InvalidTag:
            wipe(out)  # it holds plaintext that nobody vouches for
            raise self._diagnosis(segment, sealed, aead) from None

    def _diagnosis(self, segment: int, sealed: memoryview, aead: AESGCM) -> SealBrokenError:
        """What is wrong with a segment that is not authentic, as far as can be told."""
        others = [n for n in range(min(self._count, _DIAGNOSED)) if n != segment]

        def opens(data: memoryview, number: int) -> bool:
            out = bytearray(len(data) - TAG_SIZE)
            try:
                at = nonce(self._head, number, number == self._count - 1)
                aead.decrypt_into(at, data, None, out)
            except InvalidTag:
                return False
            finally:
                wipe(out)
            return True

        for number in others:
            if opens(sealed, number):
                return self._broken(
                    f"has its segment {number} where segment {segment} should be", "seal-reordered"
                )
        scratch = _Scratch(1)
        if others and not any(
            opens(self._fetch(number, number + 1, scratch), number)
            for number in {others[0], others[-1]}
        ):
            return self._broken("belongs to another version or another file", "seal-swapped")
        return self._broken(
            f"is not what was sealed: segment {segment} of {self._count} was changed", "seal-broken"
        )

    def _broken(self, what: str, code: str) -> SealBrokenError:
        return SealBrokenError(f"{self._name} {what}.", next=RESEAL, code=code)


class SealedIO(io.RawIOBase):
    """A :class:`SealReader` as a raw seekable file; keeps one segment for small reads."""

    def __init__(self, reader: SealReader, memory: Memory) -> None:
        super().__init__()
        self._reader = reader
        self._memory = memory
        self._position = 0
        self._cached = range(0)  # which plaintext the cache holds
        self._cache = memory.allocate(min(PLAIN_SIZE, max(reader.size, 1)))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._reader.size}
        if base[whence] + offset < 0:
            raise ValueError("a position before the file's beginning")
        self._position = base[whence] + offset
        return self._position

    def readinto(self, buffer: Buffer) -> int:  # type: ignore[override]  # typeshed's own Buffer
        self._memory.check()
        with memoryview(buffer) as whole, whole.cast("B") as view:
            length = min(len(view), max(0, self._reader.size - self._position))
            if length >= PLAIN_SIZE:
                self._reader.read_into(self._position, view[:length])
            elif length:
                length = self._copy(view[:length])
        self._position += length
        return length

    def _copy(self, view: memoryview) -> int:
        """As much as one segment has of what is wanted here."""
        if self._position not in self._cached:
            segment = (self._position + HEADER_SIZE) // PLAIN_SIZE
            start = plain_start(segment)
            stop = min(plain_start(segment + 1), self._reader.size)
            self._cached = range(0)
            with memoryview(self._cache) as cache:
                self._reader.read_into(start, cache[: stop - start])
            self._cached = range(start, stop)
        offset = self._position - self._cached.start
        length = min(len(view), len(self._cached) - offset)
        view[:length] = self._cache[offset : offset + length]
        return length

    def close(self) -> None:
        if not self.closed:
            wipe(self._cache)
        super().close()


class _Scratch:
    """One thread's memory: ciphertext that was read, and a segment that several buffers share."""

    def __init__(self, segments: int) -> None:
        self.sealed = memoryview(bytearray(segments * SEGMENT_SIZE))
        self.plain = memoryview(bytearray(PLAIN_SIZE))


class _Work:
    """One :meth:`SealReader.read_many`: runs of segments, taken by threads in turn."""

    def __init__(
        self,
        reader: SealReader,
        wanted: Sequence[Target],
        starts: Sequence[int],
        stops: Sequence[int],
        progress: Progress | None,
    ) -> None:
        self._reader = reader
        self._wanted = wanted
        self._starts = starts
        self._stops = stops
        self._progress = progress
        self._tasks = iter(list(self._runs()))  # next() of a list's iterator is atomic
        self._segments = sum(stop - first for first, stop in self._runs())

    def run(self) -> None:
        if self._segments <= _TASK:
            self._thread()
            return
        # A pool of its own: one that outlives the call would hang in a forked data loader.
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="aisec-open") as pool:
            try:
                for future in [pool.submit(self._thread) for _ in range(_THREADS)]:
                    future.result()
            finally:
                self._stop()

    def _runs(self) -> Iterator[tuple[int, int]]:
        """The segments needed, as runs (first, stop) of consecutive ones, at most a task long."""
        first = stop = 0
        for low, high in zip(self._starts, self._stops, strict=True):
            begin = (low + HEADER_SIZE) // PLAIN_SIZE
            end = (high - 1 + HEADER_SIZE) // PLAIN_SIZE + 1
            for segment in range(max(begin, stop), end):
                if segment != stop or stop - first == _TASK:
                    if stop > first:
                        yield first, stop
                    first = segment
                stop = segment + 1
        if stop > first:
            yield first, stop

    def _thread(self) -> None:
        batch = self._reader._source.batch
        scratch = _Scratch(batch)
        try:
            for first, stop in self._tasks:
                for low in range(first, stop, batch):
                    self._open(low, min(low + batch, stop), scratch)
        except BaseException:
            self._stop()
            raise
        finally:
            wipe(scratch.plain)

    def _stop(self) -> None:
        """Leaves nothing for the other thread to take."""
        for _ in self._tasks:
            pass

    def _open(self, first: int, stop: int, scratch: _Scratch) -> None:
        reader = self._reader
        sealed = reader._fetch(first, stop, scratch)
        base = reader._sealed_start(first)
        done = 0
        for segment in range(first, stop):
            start, end = plain_start(segment), reader._plain_stop(segment)
            at = reader._sealed_start(segment) - base
            done += self._fill(
                segment, start, end, sealed[at : at + end - start + TAG_SIZE], scratch
            )
        if self._progress:
            self._progress(done)

    def _fill(
        self, segment: int, start: int, end: int, sealed: memoryview, scratch: _Scratch
    ) -> int:
        """Decrypts one segment into the buffers that want some of it; how many bytes."""
        first = bisect_right(self._stops, start)
        beyond = bisect_left(self._starts, end)
        offset, view = self._wanted[first]
        if offset <= start and end <= self._stops[first]:
            self._reader._decrypt(segment, sealed, view[start - offset : end - offset])
            return end - start
        self._reader._decrypt(segment, sealed, scratch.plain)
        done = 0
        for offset, view in self._wanted[first:beyond]:
            low, high = max(offset, start), min(offset + len(view), end)
            view[low - offset : high - offset] = scratch.plain[low - start : high - start]
            done += high - low
        return done
