"""Artifacts: sealing one from files or memory, and opening one lazily.

Sealing makes a new data key, seals every file under it, and writes the signed manifest
last. Opening asks for keys only when the first file is opened, and decrypts only what is
read. Neither writes plaintext anywhere.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import NamedTuple

from jupyter_aisec.errors import WrongKeyError
from jupyter_aisec.ids import new_id
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.sealed.contents import Sources, as_content, check_count
from jupyter_aisec.sealed.datakey import DataKey
from jupyter_aisec.sealed.manifest import (
    MANIFEST_FILE,
    KeyEntry,
    Manifest,
    MediaType,
    SealedFile,
    associated_data,
    check_artifact_name,
    check_file_name,
    check_labels,
    read_manifest,
    sign_manifest,
)
from jupyter_aisec.sealed.memory import Memory
from jupyter_aisec.sealed.reader import Progress, SealReader
from jupyter_aisec.sealed.release import ReleaseKey, deposit_info, seal_key
from jupyter_aisec.sealed.store import Folder, read_envelope, write_envelope
from jupyter_aisec.sealed.stream import SealWriter
from jupyter_aisec.times import format_time

__all__ = [
    "OUTPUT_KEY_ID",
    "Deposit",
    "KeysFor",
    "OpenArtifact",
    "SealResult",
    "open_artifact",
    "open_folder",
    "seal_artifact",
]

OUTPUT_KEY_ID = "output"
TABLE_SUFFIXES = frozenset({".csv", ".jsonl", ".ndjson", ".parquet"})

KeysFor = Callable[[Manifest], Mapping[str, DataKey]]


class Deposit(NamedTuple):
    """A new version's secrets, encrypted to the broker: by key id, and the output key's."""

    keys: dict[str, bytes]
    output_key: bytes


@dataclass(frozen=True)
class SealResult:
    """A new artifact version: its signed manifest, and the secrets that open it."""

    manifest: Manifest
    envelope: Envelope
    keys: Mapping[str, DataKey]
    output_key: ReleaseKey

    def deposit(self, broker: bytes) -> Deposit:
        """The secrets encrypted to the broker's public key ``broker``."""
        seal_id = self.manifest.seal_id
        return Deposit(
            {
                key_id: seal_key(key.secret, broker, deposit_info(seal_id=seal_id, key_id=key_id))
                for key_id, key in self.keys.items()
            },
            seal_key(
                self.output_key.to_bytes(),
                broker,
                deposit_info(seal_id=seal_id, key_id=OUTPUT_KEY_ID),
            ),
        )


def seal_artifact(
    artifact: str,
    sources: Sources,
    folder: Folder,
    signer: SigningKey,
    *,
    seal_id: str | None = None,
    labels: tuple[str, ...] = (),
    parents: tuple[str, ...] = (),
    media_type: MediaType | None = None,
    progress: Progress | None = None,
) -> SealResult:
    """Seals ``sources`` (file name → path, bytes or :class:`~.contents.Content`) into ``folder``.

    ``seal_id`` is a fresh one unless the folder was named after it beforehand; ``parents``
    are the seal ids of what it was made from. ``progress`` gets bytes of plaintext done.
    Raises MalformedError (names), PickleRefusedError, UsageError, SealError (the store).
    """
    check_artifact_name(artifact)
    check_count(sources)
    check_labels(labels)  # before gigabytes are sealed, not after
    for name in sources:
        check_file_name(name)
    seal_id = seal_id or new_id("seal")
    key_id, key = new_id("key"), DataKey.generate()
    files = []
    for index, (name, source) in enumerate(sorted(sources.items())):
        with (
            folder.create(f"{index:04d}.sealed") as sink,
            SealWriter(sink, key, associated_data(seal_id, index)) as writer,
        ):
            for chunk in as_content(source).chunks(name):
                done = writer.write(chunk)
                if progress:
                    progress(done)
            writer.finish()
        files.append(
            SealedFile(
                name=name,
                index=index,
                size=writer.size,
                sealed_size=writer.sealed_size,
                sha256=writer.sha256,
                key_id=key_id,
            )
        )
    output_key = ReleaseKey.generate()
    manifest = Manifest(
        artifact=artifact,
        seal_id=seal_id,
        created=format_time(datetime.now(UTC)),
        media_type=media_type or _media_type(sources),
        files=tuple(files),
        keys=(KeyEntry(key_id=key_id, commitment=key.commitment()),),
        output_key=output_key.public,
        labels=tuple(sorted(set(labels))),
        parents=tuple(sorted(set(parents))),
    )
    envelope = sign_manifest(manifest, signer)
    write_envelope(folder, MANIFEST_FILE, envelope)
    return SealResult(manifest, envelope, {key_id: key}, output_key)


def _media_type(names: Sources) -> MediaType:
    suffixes = {PurePosixPath(name).suffix.lower() for name in names}
    if ".safetensors" in suffixes:
        return "weights"
    return "table" if suffixes <= TABLE_SUFFIXES else "files"


class OpenArtifact:
    """An artifact version that can be read, for as long as its ``memory`` is whole.

    Nothing is fetched and no key is asked for before the first file is opened.
    """

    def __init__(
        self, manifest: Manifest, keys_for: KeysFor, folder: Folder, memory: Memory | None = None
    ) -> None:
        """``manifest`` is one whose signer the caller has checked."""
        self.manifest = manifest
        self.memory = memory or Memory()
        self._keys_for = keys_for
        self._folder = folder
        self._lock = threading.Lock()
        self._keys: Mapping[str, DataKey] | None = None
        self._readers: dict[str, SealReader] = {}
        self.memory.on_wipe(self.close)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(file.name for file in self.manifest.files)

    def reader(self, name: str) -> SealReader:
        """The plaintext of one file, at any offset.

        Raises UsageError for a name it has not, WrongKeyError before anything is decrypted
        if the key is not the one the manifest commits to, and what
        :class:`~.reader.SealReader` raises.
        """
        file = self.manifest.file(name)
        with self._lock:
            self.memory.check()
            if name not in self._readers:
                key = self._key(file.key_id)
                self._readers[name] = SealReader(
                    self._folder.source(file.stored_as),
                    key,
                    associated_data(self.manifest.seal_id, file.index),
                    name=f"{name} of {self.manifest.artifact}",
                    expected_size=file.sealed_size,
                )
            return self._readers[name]

    def open(self, name: str) -> io.BufferedReader:
        """The plaintext of one file, as a seekable binary file."""
        return self.reader(name).open(self.memory)

    def read(self, name: str) -> bytearray:
        """All of one file."""
        reader = self.reader(name)
        return reader.read(0, reader.size)

    def close(self) -> None:
        """Forgets the keys. Files can be opened again, which asks for the keys again."""
        with self._lock:
            for reader in self._readers.values():
                reader.close()
            self._readers.clear()
            for key in (self._keys or {}).values():
                key.wipe()
            self._keys = None

    def __enter__(self) -> OpenArtifact:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<OpenArtifact {self.manifest.artifact} {self.manifest.seal_id}>"

    def _key(self, key_id: str) -> DataKey:
        if self._keys is None:
            self._keys = self._keys_for(self.manifest)
        if key_id not in self._keys:
            raise WrongKeyError(
                f"No key was received for a file of {self.manifest.artifact}.",
                next="Ask for the whole artifact: `%grant request NAME --for 1h --reason TEXT`.",
                code="key-missing",
            )
        key = self._keys[key_id]
        key.check(self.manifest.commitment(key_id), key_id)
        return key


def open_artifact(
    envelope: Envelope, keys_for: KeysFor, folder: Folder, memory: Memory | None = None
) -> OpenArtifact:
    """Opens the version whose manifest is in ``envelope``; the caller checked who signed it."""
    return OpenArtifact(read_manifest(envelope), keys_for, folder, memory)


def open_folder(folder: Folder) -> tuple[Envelope, Manifest]:
    """The manifest that lies in a folder, as an envelope and read."""
    envelope = read_envelope(folder)
    return envelope, read_manifest(envelope)
