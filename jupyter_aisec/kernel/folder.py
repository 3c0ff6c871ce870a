"""Where sealed files are read and written from inside a kernel.

An ordinary kernel reaches the store itself. A secure one has the keeper's relay: ciphertext
of named artifacts in, sealed files out; it holds no credential of any store.
"""

from __future__ import annotations

import http.client
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast
from urllib.parse import urlsplit

import msgspec
import requests

from jupyter_aisec.client.http import error_of
from jupyter_aisec.errors import AisecError, NotFoundError, RefusedError, SealError
from jupyter_aisec.sealed.source import RESEAL, FileSource, RangeSource, Source

if TYPE_CHECKING:
    from cryptography.utils import Buffer

__all__ = ["RelayFolder"]

_SECONDS = 60.0
_BUFFER = 1 << 20
_LONGEST_PROBLEM = 64 << 10


class RelayFolder:
    """The folder of one artifact version, over the relay (see ``sealed.store.Folder``)."""

    def __init__(self, relay: str, artifact: str, seal_id: str, url: str = "") -> None:
        """``url`` is where the version lies, for stores on this machine that can be read."""
        self._relay = relay.rstrip("/")
        self._local = Path(url.removeprefix("file://")) if url.startswith("file://") else None
        self._path = f"/store/{artifact}/{seal_id}"
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy between this kernel and its keeper

    def source(self, name: str) -> Source:
        """Raises NotFoundError if there is no such file, SealError if the relay refuses."""
        # Ciphertext that this process may read itself need not be copied to it: ten times as
        # fast, and it is authenticated either way.
        if self._local is not None and os.access(self._local / name, os.R_OK):
            return FileSource(self._local / name)
        url = f"{self._relay}{self._path}/{name}"
        try:
            response = self._session.head(url, timeout=_SECONDS)
        except requests.RequestException as error:
            raise SealError(
                f"The keeper's relay cannot be reached ({type(error).__name__}).",
                next="Restart the kernel.",
                code="relay-unreachable",
            ) from error
        if response.status_code == 404:
            raise NotFoundError(
                f"There is no {name} of this version in its store.",
                next=RESEAL,
                code="sealed-file-missing",
            )
        if response.status_code != 200:
            # Why stands in no answer to a HEAD: a GET that asks for a byte is told.
            self._get(url, 0, 1)
            raise _refused(response.status_code)

        def read(start: int, stop: int) -> bytes:
            return self._get(url, start, stop)

        return RangeSource(int(response.headers["Content-Length"]), read)

    def _get(self, url: str, start: int, stop: int) -> bytes:
        asked = {"Range": f"bytes={start}-{stop - 1}"}
        part = self._session.get(url, headers=asked, timeout=_SECONDS)
        if part.status_code != 206:
            raise _refused(part.status_code, part.content)
        return part.content

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """A new file, sent as it is written; the keeper keeps it only if all of it came."""
        parts = urlsplit(self._relay)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_SECONDS)
        try:
            connection.putrequest("PUT", f"{parts.path}{self._path}/{name}")
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            body = io.BufferedWriter(cast(io.RawIOBase, _Chunks(connection)), _BUFFER)
            yield body
            body.flush()
            connection.send(b"0\r\n\r\n")
            response = connection.getresponse()
            if response.status != 201:
                raise _refused(response.status, response.read(_LONGEST_PROBLEM))
        except (OSError, http.client.HTTPException) as error:
            raise SealError(
                f"The sealed file could not be stored ({type(error).__name__}).",
                next="Try %save_secure again.",
                code="store-unwritable",
            ) from error
        finally:
            connection.close()  # before the last chunk: the keeper drops what came


class _Chunks(io.RawIOBase):
    """Writes to a connection in the chunked transfer coding (RFC 9112, section 7.1)."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        super().__init__()
        self._connection = connection

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:  # type: ignore[override]  # typeshed's own Buffer
        size = memoryview(data).nbytes
        if size:  # an empty chunk would end the body
            self._connection.send(b"%x\r\n" % size)
            self._connection.send(bytes(data) + b"\r\n")
        return size


def _refused(status: int, body: bytes = b"") -> AisecError:
    """What the keeper says is wrong; where it says nothing, that it said no."""
    try:
        problem = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        problem = None
    if isinstance(problem, dict) and problem.get("code"):
        error = error_of(problem, status)
        if type(error) is not RefusedError:
            return error
        return SealError(error.what, next=error.next, code=error.code)
    return SealError(
        f"The store answered with status {status}.",
        next="Try again; if it stays, tell whoever runs the store.",
        code="store-refused",
    )
