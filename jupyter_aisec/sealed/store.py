"""Sealed files at rest: the folder of one artifact version, at any fsspec URL.

A folder holds ``0000.sealed``, ``0001.sealed``, … and, written last, ``manifest.json``:
without it there is no version, so a sealing that was cut off is never taken for one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from jupyter_aisec.errors import MalformedError, NotFoundError, SealError
from jupyter_aisec.files import replaced
from jupyter_aisec.people.canonical import canonical, parse_canonical
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.sealed.manifest import MANIFEST_FILE, MAX_MANIFEST_SIZE
from jupyter_aisec.sealed.source import RESEAL, FileSource, RangeSource, Source
from jupyter_aisec.urls import check_store_url

__all__ = ["Folder", "UrlFolder", "read_envelope", "version_url"]


class Folder(Protocol):
    """What sealing and opening need of a store; a kernel's relay is another one."""

    def create(self, name: str) -> AbstractContextManager[BinaryIO]:
        """A new file to write, which exists only once the context ends without an error."""
        ...

    def source(self, name: str) -> Source:
        """A file to read parts of; raises NotFoundError if there is none."""
        ...


class UrlFolder:
    """A folder at an fsspec URL (``file:``, ``s3:``, ``memory:``, or an absolute path).

    Raises MalformedError for a URL that :func:`~jupyter_aisec.urls.check_store_url` refuses.
    """

    def __init__(self, url: str) -> None:
        self.url = check_store_url(url)
        try:
            self._fs, self._path = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise SealError(
                f"There is no way to reach {url!r}: {error}.",
                next="Install the fsspec package for it, or use a path.",
                code="store-unknown",
            ) from error
        self._local = Path(self._path) if isinstance(self._fs, LocalFileSystem) else None

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """See :class:`Folder`. Raises SealError (``store-unwritable``, ``store-exists``)."""
        try:
            if self._exists(name):
                raise SealError(
                    f"There is already a {name} at {self.url}; a version never changes.",
                    next="Seal again: every sealing is a new version in a folder of its own.",
                    code="store-exists",
                )
            writing = (
                self._create_remote(name)
                if self._local is None
                else _create_local(self._local / name)
            )
            with writing as file:
                yield file
        except OSError as error:
            raise SealError(
                f"{self.url} cannot be written: {getattr(error, 'strerror', None) or error}.",
                next="Make room there, or give permission, or seal to another place: `--to URL`.",
                code="store-unwritable",
            ) from error

    def source(self, name: str) -> Source:
        try:
            if self._local is not None:
                return FileSource(self._local / name)
            path = self._join(name)
            size = int(self._fs.size(path))
        except SealError as error:
            raise self._missing(name, error) if not self._exists(name) else error from None
        except Exception as error:  # every fsspec implementation has errors of its own
            raise self._missing(name, error) from error
        return RangeSource(
            size, lambda start, stop: cast(bytes, self._fs.cat_file(path, start=start, end=stop))
        )

    def discard(self) -> None:
        """Removes the folder of a version that nobody took."""
        self._fs.rm(self._path, recursive=True)

    def _missing(self, name: str, error: Exception) -> NotFoundError:
        return NotFoundError(
            f"There is no {name} at {self.url} ({type(error).__name__}).",
            next=RESEAL,
            code="sealed-file-missing",
        )

    def _exists(self, name: str) -> bool:
        return bool(self._fs.exists(self._join(name)))

    def _join(self, name: str) -> str:
        return f"{self._path.rstrip('/')}/{name}"

    @contextmanager
    def _create_remote(self, name: str) -> Iterator[BinaryIO]:
        path = self._join(name)
        self._fs.makedirs(self._path, exist_ok=True)
        try:
            with self._fs.open(path, "wb") as file:
                yield cast(BinaryIO, file)
        except BaseException:
            if self._fs.exists(path):
                self._fs.rm(path)
            raise


def _create_local(path: Path) -> AbstractContextManager[BinaryIO]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return replaced(path)


def version_url(store: str, artifact: str, seal_id: str) -> str:
    """Where a version's folder lies in a store."""
    return f"{store.rstrip('/')}/{artifact}/{seal_id}"


def write_envelope(folder: Folder, name: str, envelope: Envelope) -> None:
    """An envelope as canonical JSON."""
    with folder.create(name) as file:
        file.write(canonical(envelope))


def read_envelope(folder: Folder, name: str = MANIFEST_FILE) -> Envelope:
    """The inverse; raises NotFoundError, or MalformedError."""
    source = folder.source(name)
    if source.size > 2 * MAX_MANIFEST_SIZE:  # in base64, with signatures
        raise MalformedError(f"{name} is larger than any manifest may be.")
    data = source.fetch(0, source.size, memoryview(bytearray(source.size)))
    return parse_canonical(bytes(memoryview(data)), Envelope, name)
