"""Search files for known plaintext, in the disguises in which it reaches a disk by accident.

A *needle* is a random byte string that was put into an artifact before it was sealed. It is
looked for raw, in base64 (every alignment, both alphabets, wrapped lines too), in hex, in
UTF-16, and inside gzip, zlib, zstd, bzip2, xz, zip, tar-in-those and Parquet, nested.

The scanner proves its worth by finding what an ordinary kernel plants (``test_scan.py``):
a clean result of a scanner that finds nothing anywhere would mean nothing.
"""

from __future__ import annotations

import base64
import bz2
import io
import lzma
import mmap
import os
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

_LIMIT = 1 << 30  # bytes unpacked from one container
_DEPTH = 4  # containers within containers
_WHITE = bytes(range(9, 14)) + b" "
_PACKED = {
    "gzip": b"\x1f\x8b\x08",
    "zstd": b"\x28\xb5\x2f\xfd",
    "bzip2": b"BZh",
    "xz": b"\xfd7zXZ\x00",
    "zip": b"PK\x03\x04",
    "parquet": b"PAR1",
}


@dataclass(frozen=True)
class Needle:
    """A known secret: what it is called, and its bytes (16 at least, to rule out chance)."""

    name: str
    value: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.value) < 16:
            raise ValueError("a needle shorter than 16 bytes is found by chance")

    def disguises(self) -> Iterator[tuple[str, bytes]]:
        """Each form of the needle with its name."""
        yield "raw", self.value
        yield "hex", self.value.hex().encode()
        yield "HEX", self.value.hex().upper().encode()
        yield "utf-16", b"".join(bytes((byte, 0)) for byte in self.value)
        for shift in range(3):
            # The characters that depend on the neighbours of the needle are cut off.
            text = base64.b64encode(b"\0" * shift + self.value)
            core = text[-(-shift * 8 // 6) : (shift + len(self.value)) * 8 // 6]
            yield f"base64+{shift}", core
            if (safe := core.translate(bytes.maketrans(b"+/", b"-_"))) != core:
                yield f"base64url+{shift}", safe


@dataclass(frozen=True)
class Hit:
    """One needle in one file: where, as what, and inside which containers."""

    path: Path
    needle: str
    form: str

    def __str__(self) -> str:
        return f"{self.path}: {self.needle} ({self.form})"


def scan_bytes(data: bytes | mmap.mmap, needles: Iterable[Needle]) -> set[tuple[str, str]]:
    """The (needle, form) pairs in ``data``; a form within containers reads ``gzip/raw``."""
    needles = tuple(needles)
    found: set[tuple[str, str]] = set()
    _search(data, needles, "", 0, found)
    return found


def scan_files(paths: Iterable[Path], needles: Iterable[Needle]) -> list[Hit]:
    """Every hit in those regular files; one that vanishes meanwhile is passed over."""
    needles = tuple(needles)
    hits = []
    for path in paths:
        try:
            with path.open("rb") as file:
                if not os.fstat(file.fileno()).st_size:
                    continue
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    found = scan_bytes(data, needles)
        except FileNotFoundError:
            continue
        hits += [Hit(path, needle, form) for needle, form in sorted(found)]
        hits += [Hit(path, n.name, "file name") for n in needles if _in_name(n, path)]
    return hits


def changed_files(roots: Iterable[Path], since: float) -> list[Path]:
    """Regular files below ``roots`` whose content or inode changed after ``since`` (epoch)."""
    seen: dict[tuple[int, int], Path] = {}
    for root in {root.resolve() for root in roots if root.exists()}:
        for folder, _, names in os.walk(root, onerror=lambda _: None):
            for name in names:
                path = Path(folder, name)
                try:
                    status = path.lstat()
                except FileNotFoundError:
                    continue
                regular = (status.st_mode & 0o170000) == 0o100000
                if regular and max(status.st_ctime, status.st_mtime) >= since:
                    seen.setdefault((status.st_dev, status.st_ino), path)
    return sorted(seen.values())


def _in_name(needle: Needle, path: Path) -> bool:
    name = os.fsencode(path)
    return any(form in name for _, form in needle.disguises())


def _search(
    data: bytes | mmap.mmap,
    needles: tuple[Needle, ...],
    within: str,
    depth: int,
    found: set[tuple[str, str]],
) -> None:
    for needle in needles:
        for form, value in needle.disguises():
            if data.find(value) >= 0:
                found.add((needle.name, within + form))
    _search_wrapped(data, needles, within, found)
    if depth < _DEPTH:
        for kind, inner in _unpacked(data):
            _search(inner, needles, f"{within}{kind}/", depth + 1, found)


def _search_wrapped(
    data: bytes | mmap.mmap,
    needles: tuple[Needle, ...],
    within: str,
    found: set[tuple[str, str]],
) -> None:
    """Base64 or hex broken into lines: only worth it for files that are text."""
    if b"\0" in data[:4096]:
        return
    tight = data[:].replace(b"\\n", b"").translate(None, _WHITE)
    for needle in needles:
        for form, value in needle.disguises():
            if form != "raw" and tight.find(value) >= 0:
                found.add((needle.name, f"{within}wrapped {form}"))


def _unpacked(data: bytes | mmap.mmap) -> Iterator[tuple[str, bytes]]:
    """What the containers in ``data`` hold; streams are found at any offset."""
    for kind, magic in _PACKED.items():
        start = data.find(magic)
        while start >= 0:
            inner = _unpack(kind, data, start)
            if inner:
                yield kind, inner
            if kind in ("zip", "parquet"):  # read as a whole, from their ends
                break
            start = data.find(magic, start + 1)
    if data[:1] == b"\x78":
        inner = _inflate(zlib.decompressobj(), data, 0)
        if inner:
            yield "zlib", inner


def _unpack(kind: str, data: bytes | mmap.mmap, start: int) -> bytes:
    if kind == "gzip":
        return _inflate(zlib.decompressobj(wbits=31), data, start)
    if kind == "zstd":
        return _inflate(zstandard.ZstdDecompressor().decompressobj(), data, start)
    if kind == "bzip2":
        return _inflate(bz2.BZ2Decompressor(), data, start)
    if kind == "xz":
        return _inflate(lzma.LZMADecompressor(), data, start)
    if kind == "zip":
        return _unzip(data)
    return _columns(data) if start == 0 else b""


def _inflate(unpacker: object, data: bytes | mmap.mmap, start: int) -> bytes:
    """As much as unpacks before an error: a stream that is cut off still shows its beginning."""
    out = io.BytesIO()
    for offset in range(start, len(data), 1 << 20):
        try:
            out.write(unpacker.decompress(data[offset : offset + (1 << 20)]))  # type: ignore[attr-defined]
        except (zlib.error, OSError, EOFError, ValueError, lzma.LZMAError, zstandard.ZstdError):
            break
        if getattr(unpacker, "eof", False) or out.tell() > _LIMIT:
            break
    return out.getvalue()


def _unzip(data: bytes | mmap.mmap) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data[:])) as archive:
            small = [info for info in archive.infolist() if info.file_size < _LIMIT]
            return b"\0".join(archive.read(info) for info in small)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, zlib.error):
        return b""


def _columns(data: bytes | mmap.mmap) -> bytes:
    """The values of a Parquet file's columns, decoded, one Arrow buffer after the other."""
    try:
        table = pq.read_table(pa.BufferReader(data[:]))
    except (pa.ArrowException, OSError):
        return b""
    buffers = (
        buffer
        for column in table.columns
        for chunk in column.chunks
        for buffer in (
            chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk
        ).buffers()
        if buffer is not None
    )
    return b"\0".join(buffer.to_pybytes() for buffer in buffers)
