"""The manifest: an artifact version's signed table of contents.

It holds what opening needs besides the keys (seal id, sizes, key commitments), what
verifying needs without any key (digests of the sealed files), and the names of the files,
which appear nowhere at the store: there they are ``0000.sealed``, ``0001.sealed``, ….

A manifest is canonical JSON in a DSSE envelope. Reading it says nothing about who signed
it: that is for the caller, who knows the ledger.
"""

from __future__ import annotations

import itertools
import re
import struct
import unicodedata
from collections.abc import Iterable
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from jupyter_aisec.errors import MalformedError, UsageError
from jupyter_aisec.ids import is_id
from jupyter_aisec.people import dsse
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.sealed.datakey import COMMITMENT_SIZE
from jupyter_aisec.sealed.release import PUBLIC_SIZE
from jupyter_aisec.sealed.stream import MAX_SIZE, sealed_size
from jupyter_aisec.times import parse_time

__all__ = [
    "BUNDLE_FILE",
    "FORMAT",
    "MANIFEST_FILE",
    "MAX_FILES",
    "MAX_MANIFEST_SIZE",
    "PAYLOAD_TYPE",
    "SIGNATURE_FILE",
    "KeyEntry",
    "Manifest",
    "MediaType",
    "SealedFile",
    "associated_data",
    "check_artifact_name",
    "check_file_name",
    "check_labels",
    "read_manifest",
    "sign_manifest",
]

FORMAT = "jupyter-aisec/manifest/v1"
PAYLOAD_TYPE = "application/vnd.jupyter-aisec.manifest+json"
# What lies beside the sealed files at the store.
MANIFEST_FILE = "manifest.json"
BUNDLE_FILE = "bundle.json"  # the chain of custody of what a run made
SIGNATURE_FILE = "model.sig"  # OpenSSF Model Signing
MAX_FILES = 4_000
MAX_MANIFEST_SIZE = 1 << 20  # bytes, of the payload: the broker keeps each, in its ledger
MAX_NAME_BYTES = 1024
_MAX_PART_BYTES = 255  # what file systems take

MediaType = Literal["table", "weights", "files"]
_ARTIFACT = re.compile(r"(?:dataset|weights|results)/[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_LABEL = re.compile(r"[a-z0-9][a-z0-9:._-]{0,63}")
_HEX = re.compile(r"[0-9a-f]{64}")
# Other (control, format, surrogate, unassigned), line and paragraph separators: what can
# make a name look like another one on a screen.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


class SealedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One file: its plaintext name and size, and its ciphertext's size and SHA-256 (hex)."""

    name: str
    index: int
    size: int
    sealed_size: int
    sha256: str
    key_id: str

    @property
    def stored_as(self) -> str:
        """Its name at the store, which says nothing."""
        return f"{self.index:04d}.sealed"


class KeyEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A data key's id, and the commitment to it (see ``datakey``)."""

    key_id: str
    commitment: bytes


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    format: str = FORMAT
    artifact: str
    seal_id: str
    created: str
    media_type: MediaType
    files: Annotated[tuple[SealedFile, ...], Meta(min_length=1, max_length=MAX_FILES)]
    keys: Annotated[tuple[KeyEntry, ...], Meta(min_length=1, max_length=1024)]
    output_key: bytes  # HPKE public key to which notebook outputs made from it are sealed
    labels: Annotated[tuple[str, ...], Meta(max_length=64)] = ()
    parents: Annotated[tuple[str, ...], Meta(max_length=1024)] = ()  # seal ids

    def file(self, name: str) -> SealedFile:
        """The entry of the file ``name``; raises UsageError with the names there are."""
        for file in self.files:
            if file.name == name:
                return file
        names = ", ".join(file.name for file in self.files[:8])
        raise UsageError(
            f"{self.artifact} has no file {name[:120]!r}.",
            next=f"It has: {names}{', …' if len(self.files) > 8 else ''}; "
            f"`aisec artifact show {self.artifact}` shows them.",
            code="file-unknown",
        )

    def commitment(self, key_id: str) -> bytes:
        """The commitment to the data key ``key_id``, which a checked manifest has."""
        return next(key.commitment for key in self.keys if key.key_id == key_id)

    def check(self) -> None:
        """Raises MalformedError unless all rules of a manifest hold."""
        _require(self.format == FORMAT, f"is of the format {self.format[:60]!r}, not {FORMAT!r}")
        check_artifact_name(self.artifact)
        _require(is_id(self.seal_id, "seal"), "has no valid seal id")
        parse_time(self.created)
        _require(len(self.output_key) == PUBLIC_SIZE, "has no valid output key")
        check_labels(self.labels)
        _require(_rising(self.labels), "has labels out of order")
        _require(all(is_id(parent, "seal") for parent in self.parents), "has a malformed parent")
        _require(_rising(self.parents), "has parents out of order")
        key_ids = [key.key_id for key in self.keys]
        _require(all(is_id(key_id, "key") for key_id in key_ids), "has a malformed key id")
        _require(_rising(key_ids), "has key ids out of order")
        sizes = {len(key.commitment) for key in self.keys}
        _require(sizes == {COMMITMENT_SIZE}, "has a malformed key commitment")
        names = {file.name for file in self.files}
        _require(len(names) == len(self.files), "names a file twice")
        for position, file in enumerate(self.files):
            check_file_name(file.name)
            _require(file.index == position, "has files out of order")
            _require(0 <= file.size <= MAX_SIZE, "has a file of an impossible size")
            _require(
                file.sealed_size == sealed_size(file.size), "has a file whose two sizes disagree"
            )
            _require(bool(_HEX.fullmatch(file.sha256)), "has a malformed digest")
            _require(file.key_id in key_ids, "has a file under a key that it does not list")


def associated_data(seal_id: str, index: int) -> bytes:
    """What a sealed file is bound to: its version and its place there, never its name."""
    return seal_id.encode() + struct.pack(">I", index)


def check_artifact_name(name: str) -> str:
    """``name`` itself; raises MalformedError unless it is like ``weights/base-2``."""
    if not _ARTIFACT.fullmatch(name):
        raise MalformedError(
            f"{name[:140]!r} is not an artifact's name.",
            next="They look like dataset/corpus or weights/base: `aisec artifact list`.",
            code="artifact-name-invalid",
        )
    return name


def check_file_name(name: str) -> str:
    """``name`` itself; raises MalformedError unless it is a safe relative path.

    Safe: ``/`` between parts that are neither empty nor ``.`` nor ``..``; no backslash or
    colon (paths on Windows); nothing invisible; Unicode in NFC, so that one name has one
    spelling.
    """
    parts = name.split("/")
    safe = (
        not any(part in ("", ".", "..") for part in parts)
        and not any(char in "\\:" or unicodedata.category(char) in _UNSEEN for char in name)
        and unicodedata.is_normalized("NFC", name)
        and len(name.encode()) <= MAX_NAME_BYTES
        and all(len(part.encode()) <= _MAX_PART_BYTES for part in parts)
    )
    if not safe:
        raise MalformedError(
            f"{name[:140]!a} is not a safe file name.",
            next="Rename it: a relative path with visible characters and no '..', '\\' or ':'.",
            code="file-name-unsafe",
        )
    return name


def sign_manifest(manifest: Manifest, key: SigningKey) -> dsse.Envelope:
    """The manifest, checked, in an envelope signed by ``key``."""
    envelope = dsse.sign(manifest, PAYLOAD_TYPE, key)
    read_manifest(envelope)
    return envelope


def read_manifest(envelope: dsse.Envelope) -> Manifest:
    """The manifest in an envelope, with all its rules checked; not who signed it.

    Raises MalformedError, or SignatureError for another payload type.
    """
    if len(envelope.payload) > MAX_MANIFEST_SIZE:
        raise MalformedError(
            f"The manifest is larger than {MAX_MANIFEST_SIZE:,} bytes.",
            next="Seal fewer files at a time, with shorter names, or pack them into larger ones.",
            code="manifest-too-large",
        )
    manifest = envelope.read(Manifest, PAYLOAD_TYPE, "The manifest")
    manifest.check()
    return manifest


def check_labels(labels: Iterable[str]) -> None:
    """Raises MalformedError for what cannot be a label."""
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise MalformedError(
                f"{label[:80]!r} cannot be a label.",
                next="Use small letters, digits and : . _ -, at most 64.",
                code="label-invalid",
            )


def _rising(values: tuple[str, ...] | list[str]) -> bool:
    """Sorted and distinct: one set has one spelling."""
    return all(low < high for low, high in itertools.pairwise(values))


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise MalformedError(f"The manifest {what}.", code="manifest-malformed")
