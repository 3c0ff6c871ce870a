"""The scanner finds a needle in every disguise it claims to know, and nothing in noise."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import os
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tests.walk.scanner import Needle, changed_files, scan_bytes, scan_files

NEEDLE = Needle("column", b"kZ8vT3qLw0XyB7nRm2HsJd5UcQe9GfAa")


def _zip(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner", data)
    return out.getvalue()


def _parquet(data: bytes, **options: object) -> bytes:
    out = io.BytesIO()
    rows = [f"row {number}" for number in range(50)] + [data.decode("latin-1")]
    pq.write_table(pa.table({"text": rows}), out, **options)
    return out.getvalue()


DISGUISES: dict[str, Callable[[bytes], bytes]] = {
    "raw": lambda n: b"noise" + n + b"noise",
    "hex": lambda n: n.hex().encode(),
    "upper-hex": lambda n: n.hex().upper().encode(),
    "utf-16": lambda n: n.decode().encode("utf-16-le"),
    "base64-aligned": base64.b64encode,
    "base64-shifted-by-1": lambda n: base64.b64encode(b"x" + n + b"yz"),
    "base64-shifted-by-2": lambda n: base64.b64encode(b"xy" + n + b"z"),
    "base64-wrapped-lines": lambda n: base64.encodebytes(b"x" * 70 + n),
    "base64-in-notebook-json": lambda n: json.dumps(
        {"data": base64.encodebytes(b"x" * 70 + n).decode()}
    ).encode(),
    "gzip": gzip.compress,
    "gzip-after-other-bytes": lambda n: b"header" + gzip.compress(n),
    "gzip-cut-off": lambda n: gzip.compress(n + os.urandom(4096))[:-2000],
    "zlib": zlib.compress,
    "zstd": lambda n: zstandard.ZstdCompressor().compress(n),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zip": _zip,
    "parquet-snappy": _parquet,
    "parquet-zstd": lambda n: _parquet(n, compression="zstd"),
    "parquet-dictionary-gzip": lambda n: _parquet(n, compression="gzip", use_dictionary=True),
    "parquet-in-zip-in-gzip": lambda n: gzip.compress(_zip(_parquet(n))),
    "base64-in-gzip": lambda n: gzip.compress(base64.b64encode(b"ab" + n)),
}


@pytest.mark.parametrize("disguise", DISGUISES)
def test_finds_the_needle_disguised_as(disguise: str) -> None:
    assert scan_bytes(DISGUISES[disguise](NEEDLE.value), [NEEDLE])


@pytest.mark.parametrize("disguise", DISGUISES)
def test_finds_nothing_in_noise_disguised_as(disguise: str) -> None:
    noise = os.urandom(16).hex().encode()
    assert not scan_bytes(DISGUISES[disguise](noise), [NEEDLE])


def test_a_random_tensor_is_found_at_every_base64_alignment() -> None:
    needle = Needle("tensor", os.urandom(64))
    for shift in range(6):
        assert scan_bytes(base64.b64encode(b"x" * shift + needle.value), [needle])
        assert scan_bytes(base64.urlsafe_b64encode(b"x" * shift + needle.value), [needle])


def test_short_needles_are_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        Needle("short", b"x" * 15)


def test_only_changed_files_are_scanned_and_names_count(tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_bytes(NEEDLE.value)
    since = time.time() + 3600
    assert changed_files([tmp_path], since) == []
    named = tmp_path / NEEDLE.value.decode()
    named.write_bytes(b"-")
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to(old)
    files = changed_files([tmp_path, tmp_path / "."], 0)
    assert files == sorted([old, named, tmp_path / "empty"])
    hits = scan_files([*files, tmp_path / "vanished"], [NEEDLE])
    assert {(hit.path, hit.form) for hit in hits} == {(old, "raw"), (named, "file name")}
    assert "column" in str(hits[0])
