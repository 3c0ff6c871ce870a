"""Where sealed bytes come from: anything that can be read at an offset."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from jupyter_aisec.errors import SealBrokenError, SealError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.utils import Buffer

__all__ = ["RESEAL", "FileSource", "RangeSource", "Source"]

RESEAL = "Restore it from a backup of the store, or seal it again: `aisec artifact seal SRC NAME`."


class Source(Protocol):
    """A sealed file: its size in bytes, and a way to read a part of it.

    ``batch`` is how many segments are worth one read: one where reading is cheap, more
    where each read is a request. ``fetch`` may be called by several threads at once.
    """

    @property
    def size(self) -> int: ...

    @property
    def batch(self) -> int: ...

    def fetch(self, start: int, stop: int, scratch: memoryview) -> Buffer:
        """Bytes ``start`` to ``stop``, in ``scratch`` (which is large enough) or elsewhere.

        Raises SealError unless all of them can be read.
        """
        ...


class FileSource:
    """A local file.

    Read with ``preadv`` into memory that stays in the processor's cache. Mapping the file
    would be no faster to load from, and a file cut short while mapped kills the process.
    """

    batch = 1

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raises SealError if the file cannot be opened."""
        try:
            self._file = open(path, "rb", buffering=0)  # noqa: SIM115  # closed with the source
        except OSError as error:
            raise _unreadable(error) from error
        self.size = os.fstat(self._file.fileno()).st_size

    def fetch(self, start: int, stop: int, scratch: memoryview) -> Buffer:
        wanted = scratch[: stop - start]
        done = 0
        try:
            while done < len(wanted):
                count = os.preadv(self._file.fileno(), [wanted[done:]], start + done)
                if not count:
                    raise _cut_short()
                done += count
        except (OSError, ValueError) as error:  # ValueError: closed in between
            raise _unreadable(error) from error
        return wanted

    def close(self) -> None:
        self._file.close()


class RangeSource:
    """A file somewhere else, of ``size`` bytes; ``read(start, stop)`` gets a part of it."""

    batch = 16

    def __init__(self, size: int, read: Callable[[int, int], Buffer]) -> None:
        self.size = size
        self._read = read

    def fetch(self, start: int, stop: int, scratch: memoryview) -> Buffer:
        try:
            data = self._read(start, stop)
        except SealError:
            raise
        except Exception as error:  # every store has errors of its own
            raise _unreadable(error) from error
        if memoryview(data).nbytes != stop - start:
            raise _cut_short()
        return data


def _cut_short() -> SealBrokenError:
    return SealBrokenError(
        "A sealed file became shorter while it was read.",
        next=RESEAL,
        code="seal-truncated",
    )


def _unreadable(error: Exception) -> SealError:
    return SealError(
        f"A sealed file cannot be read from its store: {type(error).__name__}: {error}.",
        next="Check that the artifact's URL can be reached; `aisec artifact show` names it.",
        code="store-unreadable",
    )
