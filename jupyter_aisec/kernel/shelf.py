"""The sealed files that one secure kernel reads and writes, by its keeper's hands.

Reading is with the keeper's credentials, so it is only of versions that the broker's catalog
names, where the broker's store has them. What lies elsewhere (``artifact seal --to URL``) must
have been sealed by a person: a kernel must not choose what its keeper opens.

Writing is only to the place that the store has for a new version, and only what looks sealed
(see :mod:`~jupyter_aisec.kernel.ciphertext`) or is a document that tells the store no more than
the broker knows. What did not become a version is removed when the kernel ends.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

import fsspec
import msgspec
from fsspec.implementations.local import LocalFileSystem

from jupyter_aisec.confine.hidden import secrets
from jupyter_aisec.errors import AisecError, ConflictError, NotFoundError, RefusedError
from jupyter_aisec.kernel.ciphertext import CiphertextTest
from jupyter_aisec.people.canonical import canonical, parse_canonical
from jupyter_aisec.people.dsse import Envelope, verify
from jupyter_aisec.sealed.manifest import (
    BUNDLE_FILE,
    MANIFEST_FILE,
    SIGNATURE_FILE,
    Manifest,
    read_manifest,
)
from jupyter_aisec.sealed.store import UrlFolder, version_url
from jupyter_aisec.urls import check_store_url

if TYPE_CHECKING:
    from cryptography.utils import Buffer

    from jupyter_aisec.client.person import PersonClient
    from jupyter_aisec.client.views import ArtifactView
    from jupyter_aisec.sealed.source import Source

__all__ = ["Limits", "Shelf", "Sink"]


class Limits(msgspec.Struct, frozen=True):
    """What one kernel may have stored; bytes unless said otherwise."""

    unregistered: int = 1 << 40  # of sealed files that are not (yet) of a version
    versions: int = 16  # begun, not registered
    names: int = 64 << 10  # of the files of one version
    all_names: int = 1 << 20
    manifest: int = 4 << 20
    bundle: int = 64 << 20  # the largest answer of a broker


class Sink(Protocol):
    """Takes the bytes of one file."""

    def write(self, data: Buffer, /) -> object: ...


class _Version:
    """A version that this kernel seals: what has been written of it, by name."""

    def __init__(self) -> None:
        self.files: dict[str, tuple[int, str]] = {}  # sealed: size and SHA-256
        self.size = 0  # bytes on their way included
        self.manifest: bytes | None = None
        self.sent = False  # to the broker, which may have registered it, or may yet
        self.registered = False


class Shelf:
    """Everything that one kernel has read from stores and written to them.

    ``hidden`` are paths that are never read: secrets of the person, wherever they lie.
    """

    def __init__(
        self,
        person: PersonClient,
        *,
        hidden: Sequence[str] | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._person = person
        found = (*secrets(os.environ), str(person.home.folder)) if hidden is None else hidden
        self._hidden = tuple(map(os.path.realpath, found))
        self._limits = limits or Limits()
        self._lock = threading.Lock()
        self._named: dict[tuple[str, str], ArtifactView] = {}
        self._own: dict[tuple[str, str], _Version] = {}
        self._names = 0
        self._store = ""

    @property
    def store(self) -> str:
        """The URL of the broker's store; the first one it says."""
        if not self._store:
            self._store = self._person.store()
        return self._store

    # -- reading

    def named(self, view: ArtifactView) -> None:
        """The broker's catalog named this version to the kernel."""
        self._named[view.artifact, view.seal_id] = view

    def source(self, artifact: str, seal_id: str, name: str) -> Source:
        """One file of a version; raises NotFoundError, RefusedError (``store-not-allowed``)."""
        key = (artifact, seal_id)
        if key in self._own:
            url = version_url(self.store, artifact, seal_id)
        elif key in self._named:
            url = self._allowed(self._named[key])
        else:
            raise NotFoundError(f"{artifact} {seal_id} was not asked for here.")
        self._check_place(url, name)
        return UrlFolder(url).source(name)

    def _allowed(self, view: ArtifactView) -> str:
        """The version's URL, if it is the store's or chosen by a person."""
        if view.url != version_url(self.store, view.artifact, view.seal_id):
            check_store_url(view.url)
            if not self._by_person(view.manifest):
                raise _not_allowed(view.url, "a kernel, not a person, says that it lies there")
        return view.url

    def _by_person(self, manifest: Envelope) -> bool:
        keyid = manifest.signatures[0].keyid if manifest.signatures else ""
        for person in self._person.people():
            for one in person.keys:
                if one.key.key_id == keyid:
                    verify(manifest, one.key)
                    return True
        return False

    def _check_place(self, url: str, name: str) -> None:
        """On this machine: below the store, or where no secret is; and no link elsewhere."""
        folder = _local(url)
        if folder is None:
            return
        real, store = os.path.realpath(folder), _local(self.store)
        if store is not None and _inside(folder, store):
            if not _inside(real, os.path.realpath(store)):
                raise _not_allowed(url, "a link leads out of the store")
        elif any(_inside(real, hidden) for hidden in self._hidden):
            raise _not_allowed(url, "that is a place of secrets")
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(os.path.join(real, name)).st_mode):
                raise _not_allowed(url, f"its {name} is no plain file")

    # -- writing

    @contextmanager
    def create(self, artifact: str, seal_id: str, name: str) -> Iterator[Sink]:
        """A new file of a version of this kernel's.

        Raises RefusedError (``not-ciphertext``, ``document-differs``, ``store-limit``) for
        what may not be stored, ConflictError (``seal-id-taken``), SealError of the store.
        """
        version = self._begin(artifact, seal_id)
        url = version_url(self.store, artifact, seal_id)
        self._check_place(url, name)
        folder = UrlFolder(url)
        if name == MANIFEST_FILE:
            with _document(folder, name, self._limits.manifest) as document:
                yield document
                self._check_manifest(version, artifact, seal_id, document.data)
            version.manifest = bytes(document.data)
        elif name in (BUNDLE_FILE, SIGNATURE_FILE):
            with _document(folder, name, self._limits.bundle) as document:
                yield document
                self._check_bundle(version, seal_id, name, document.data)
        else:
            with self._sealed(folder, name, version) as sealed:
                yield sealed

    @contextmanager
    def _sealed(self, folder: UrlFolder, name: str, version: _Version) -> Iterator[_Sealed]:
        """A sealed file of ``version``, which counts as waiting until that is registered."""
        if version.manifest is not None:
            raise _differs(name, "the manifest is written already")
        with folder.create(name) as file:
            sealed = _Sealed(file, lambda size: self._take(version, size))
            try:
                yield sealed
                sealed.finish()
            except BaseException:
                self._take(version, -sealed.size)
                raise
        version.files[name] = (sealed.size, sealed.sha256)

    def _begin(self, artifact: str, seal_id: str) -> _Version:
        key = (artifact, seal_id)
        with self._lock:
            if key in self._own:
                return self._own[key]
            if sum(not one.registered for one in self._own.values()) >= self._limits.versions:
                raise _too_much("versions that were begun and not registered")
        if seal_id in self._seal_ids(artifact):
            raise ConflictError(
                f"{seal_id} is in the catalog already.",
                next="Seal again: every sealing is a new version.",
                code="seal-id-taken",
            )
        with self._lock:
            return self._own.setdefault(key, _Version())

    def _seal_ids(self, artifact: str) -> set[str]:
        try:
            return {one.seal_id for one in self._person.versions(artifact)}
        except NotFoundError:  # a new name
            return set()

    def _take(self, version: _Version, size: int) -> None:
        with self._lock:
            waiting = sum(one.size for one in self._own.values() if not one.registered)
            if size > 0 and waiting + size > self._limits.unregistered:
                raise _too_much("bytes that belong to no version")
            version.size += size

    def _check_manifest(
        self, version: _Version, artifact: str, seal_id: str, data: bytearray
    ) -> None:
        """Of exactly the files that were written, with few and short names."""
        envelope = parse_canonical(bytes(data), Envelope, MANIFEST_FILE)
        manifest = read_manifest(envelope)
        said = {one.stored_as: (one.sealed_size, one.sha256) for one in manifest.files}
        if (manifest.artifact, manifest.seal_id) != (artifact, seal_id):
            raise _differs(MANIFEST_FILE, "it is of another version")
        if said != version.files or len(envelope.signatures) != 1:
            raise _differs(MANIFEST_FILE, "it is of other files than were written")
        names = _names(manifest)
        with self._lock:
            self._names += names
            if names > self._limits.names or self._names > self._limits.all_names:
                raise _too_much("names of files")

    def _check_bundle(self, version: _Version, seal_id: str, name: str, data: bytearray) -> None:
        """Byte for byte what the broker has."""
        if not version.registered:
            raise _differs(name, "its version is not in the catalog")
        bundle = self._person.bundle(seal_id)
        if data != canonical(bundle if name == BUNDLE_FILE else bundle["model_signature"]):
            raise _differs(name, "the broker has another one")

    # -- registering

    def check_registration(self, manifest: Envelope, url: str) -> None:
        """Raises RefusedError unless it is of a version as this kernel stored it, in its place."""
        content = read_manifest(manifest)
        version = self._own.get((content.artifact, content.seal_id))
        if version is None or version.manifest != canonical(manifest):
            raise _differs(MANIFEST_FILE, "another one, or none, was written to the store")
        if url != version_url(self.store, content.artifact, content.seal_id):
            raise _not_allowed(url, "new versions go to the broker's store")
        version.sent = True

    def registered(self, manifest: Envelope) -> None:
        """The broker took the version into its catalog."""
        content = read_manifest(manifest)
        self._own[content.artifact, content.seal_id].registered = True

    def refused(self, manifest: Envelope) -> None:
        """The broker answered that it does not take the version."""
        content = read_manifest(manifest)
        self._own[content.artifact, content.seal_id].sent = False

    def sweep(self) -> None:
        """The kernel ended: what it wrote of versions that are in no catalog goes.

        Not where the broker was sent one and has not answered: asked now, it could say that it
        has none, and register it then.
        """
        for (artifact, seal_id), version in list(self._own.items()):
            if not version.registered and not version.sent:
                names = [*version.files, *([MANIFEST_FILE] if version.manifest else [])]
                with suppress(AisecError):
                    _remove(version_url(self.store, artifact, seal_id), names)


class _Document:
    """A small file, held back until all of it has been read and checked."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.data = bytearray()

    def write(self, data: Buffer, /) -> None:
        self.data += data
        if len(self.data) > self._most:
            raise _too_much(f"a document above {self._most >> 20} MiB")


@contextmanager
def _document(folder: UrlFolder, name: str, most: int) -> Iterator[_Document]:
    """A file of at most ``most`` bytes, written when the block ends without an error."""
    document = _Document(most)
    yield document
    with folder.create(name) as file:
        file.write(document.data)


class _Sealed:
    """A sealed file, tested block by block before it is written."""

    def __init__(self, file: BinaryIO, take: Callable[[int], None]) -> None:
        self._file = file
        self._take = take
        self._test = CiphertextTest()
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, data: Buffer, /) -> None:
        self._pass(self._test.feed(data))

    def finish(self) -> None:
        self._pass(self._test.finish())

    def _pass(self, tested: bytes) -> None:
        self._take(len(tested))
        self.size += len(tested)
        self._digest.update(tested)
        self._file.write(tested)


def _names(manifest: Manifest) -> int:
    return sum(len(one.name.encode()) for one in manifest.files)


def _local(url: str) -> Path | None:
    """The path that a URL names on this machine, None for one elsewhere."""
    path = url.removeprefix("file://")
    return Path(path) if path.startswith("/") else None


def _inside(path: str | Path, folder: str | Path) -> bool:
    return Path(path).is_relative_to(folder)


def _remove(url: str, names: Sequence[str]) -> None:
    """Files of a version, and its folders where nothing else is in them."""
    system, path = fsspec.core.url_to_fs(url)
    for name in names:
        with suppress(OSError):
            system.rm_file(f"{path}/{name}")
    if isinstance(system, LocalFileSystem):
        with suppress(OSError):  # not empty
            os.rmdir(path)
            os.rmdir(os.path.dirname(path))


def _not_allowed(url: str, why: str) -> RefusedError:
    return RefusedError(
        f"The keeper does not go to {url[:140]!r}: {why}.",
        next="Have whoever sealed it seal it again, to the broker's store: `aisec artifact seal`.",
        code="store-not-allowed",
    )


def _differs(name: str, why: str) -> RefusedError:
    return RefusedError(
        f"{name} is not stored: {why}.",
        next="Seal it again: `%save_secure VALUE as results/NAME`.",
        code="document-differs",
    )


def _too_much(what: str) -> RefusedError:
    return RefusedError(
        f"This kernel has reached the limit of {what}.",
        next="Restart the kernel.",
        code="store-limit",
    )
