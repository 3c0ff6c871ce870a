"""The catalog: every version of every artifact, as its manifest was logged."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from jupyter_aisec.errors import MalformedError, NotFoundError
from jupyter_aisec.people.dsse import Envelope

__all__ = [
    "MANIFEST_TYPE",
    "ArtifactVersion",
    "Catalog",
    "Dropped",
    "ManifestFacts",
    "read_manifest",
]

MANIFEST_TYPE = "application/vnd.jupyter-aisec.manifest+json"


class _KeyFacts(msgspec.Struct, frozen=True):
    key_id: str


class _FileFacts(msgspec.Struct, frozen=True):
    sealed_size: Annotated[int, Meta(ge=0, le=2**53 - 1)]


class ManifestFacts(msgspec.Struct, frozen=True):
    """What rules need of a manifest. Its full form is checked by whoever opens it."""

    artifact: str
    seal_id: str
    keys: tuple[_KeyFacts, ...]
    labels: tuple[str, ...]
    parents: tuple[str, ...]  # seal ids
    files: tuple[_FileFacts, ...]

    @property
    def size(self) -> int:
        """Of all sealed files together, in bytes."""
        return sum(file.sealed_size for file in self.files)

    @property
    def key_ids(self) -> tuple[str, ...]:
        return tuple(key.key_id for key in self.keys)


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """Labels that were dropped: the entry, its time, and who signed, whoever began it first."""

    index: int
    at: str
    labels: tuple[str, ...]
    people: tuple[str, ...]


class ArtifactVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One sealed version, and the entry that holds it.

    ``labels`` are those that count: its manifest's without those ``dropped`` since.
    """

    index: int
    at: str
    artifact: str
    version: int
    seal_id: str
    url: str
    manifest: Envelope
    key_ids: tuple[str, ...]
    labels: frozenset[str]
    parents: tuple[str, ...]
    by: str
    wrapped_sha256: dict[str, str]
    size: int  # of its sealed files together, in bytes
    dropped: tuple[Dropped, ...] = ()


class Catalog:
    """Artifact versions by name and by seal id."""

    def __init__(self) -> None:
        self._versions: dict[str, list[ArtifactVersion]] = {}
        self._seals: dict[str, ArtifactVersion] = {}

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._versions))

    def versions(self, artifact: str) -> tuple[ArtifactVersion, ...]:
        """Every version of that artifact, the first first; empty if there is none."""
        return tuple(self._versions.get(artifact, ()))

    def find(self, artifact: str, version: int | None = None) -> ArtifactVersion:
        """That version, or the last one; raises NotFoundError."""
        versions = self._versions.get(artifact)
        if not versions:
            raise NotFoundError(
                f"There is no artifact {artifact[:140]!r}.",
                next="`aisec artifact list` shows those there are.",
                code="artifact-unknown",
            )
        if version is None:
            return versions[-1]
        if not 1 <= version <= len(versions):
            raise NotFoundError(
                f"{artifact} has no version {version}.",
                next=f"Its last version is {len(versions)}: `aisec artifact versions {artifact}`.",
                code="version-unknown",
            )
        return versions[version - 1]

    def sealed(self, seal_id: str) -> ArtifactVersion | None:
        """The version with that seal id."""
        return self._seals.get(seal_id)

    def owner(self, artifact: str) -> str:
        """Whose artifact it is: who answers for its first version; raises NotFoundError."""
        return self.find(artifact, 1).by

    def labels(self, artifact: str) -> frozenset[str]:
        """The labels of all versions of an artifact together."""
        return frozenset().union(*(one.labels for one in self.versions(artifact)))

    def add(self, version: ArtifactVersion) -> None:
        self._versions.setdefault(version.artifact, []).append(version)
        self._seals[version.seal_id] = version

    def declassify(self, seal_id: str, dropped: Dropped) -> None:
        """The version with that seal id carries these labels no more."""
        old = self._seals[seal_id]
        new = msgspec.structs.replace(
            old,
            labels=old.labels.difference(dropped.labels),
            dropped=(*old.dropped, dropped),
        )
        self._versions[old.artifact][old.version - 1] = new
        self._seals[seal_id] = new


def read_manifest(envelope: Envelope) -> ManifestFacts:
    """What rules need of the manifest in ``envelope``; says nothing about who signed it."""
    if envelope.payload_type != MANIFEST_TYPE:
        raise MalformedError(
            f"This is {envelope.payload_type[:80]!r}, not a manifest.", code="manifest-invalid"
        )
    try:
        return msgspec.json.decode(envelope.payload, type=ManifestFacts)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedError(
            f"The manifest cannot be read: {error}.", code="manifest-invalid"
        ) from error
