"""What is sealed as weights or as a table is that, as far as its ends tell."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy
import pyarrow
import pytest
from pyarrow import parquet
from safetensors.numpy import save

from jupyter_aisec.errors import MalformedError
from jupyter_aisec.sealed.contents import as_content
from jupyter_aisec.sealed.formats import check_format

WEIGHTS = save({"w": numpy.arange(6.0).reshape(2, 3)})


def table() -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table({"x": [1, 2]}), sink)
    return sink.getvalue()


TABLE = table()
MALFORMED = {
    "empty.safetensors": b"",
    "short.safetensors": b"\x08\0\0",
    "text.safetensors": b"this is a text, and no weights at all",
    "header-too-long.safetensors": struct.pack("<Q", 1 << 40) + WEIGHTS[8:],
    "header-not-an-object.safetensors": struct.pack("<Q", 8) + b"[1,2,3] ",
    "header-not-json.safetensors": struct.pack("<Q", 8) + b"{1,2,3} ",
    "cut.safetensors": WEIGHTS[:-1],
    "longer.safetensors": WEIGHTS + b"\0",
    "empty.parquet": b"",
    "nothing-but-magic.parquet": b"PAR1PAR1",
    "csv.parquet": b"x,y\n1,2\n3,4\n5,6\n",
    "CSV.PARQUET": b"x,y\n1,2\n3,4\n5,6\n",
    "cut.parquet": TABLE[:-1],
    "beginning-cut.parquet": TABLE[1:],
    "footer-too-long.parquet": TABLE[:-8] + struct.pack("<I", len(TABLE) - 11) + b"PAR1",
    "encrypted.parquet": b"PARE" + TABLE[4:-4] + b"PARE",
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("kind", ["path", "bytes", "memoryview"])
def test_what_would_not_open_is_refused_when_it_is_sealed(
    name: str, kind: str, tmp_path: Path
) -> None:
    path, data = tmp_path / name, MALFORMED[name]
    path.write_bytes(data)
    source = {"path": path, "bytes": data, "memoryview": memoryview(data)}[kind]
    with pytest.raises(MalformedError, match="is not a") as refused:
        next(iter(as_content(source).chunks(name)))
    assert refused.value.code == "source-malformed"
    assert "`aisec artifact seal SRC NAME`" in refused.value.next


@pytest.mark.parametrize(
    ("name", "data"),
    [("w.safetensors", WEIGHTS), ("t.parquet", TABLE), ("T.Parquet", TABLE), ("any.txt", b"PAR")],
)
def test_what_is_what_it_says_passes(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    for source in (tmp_path / name, data):
        assert b"".join(map(bytes, as_content(source).chunks(name))) == data


@pytest.mark.parametrize("suffix", ["safetensors", "parquet"])
def test_a_large_file_is_looked_at_and_not_read(suffix: str) -> None:
    """A terabyte of anything: a few bytes are asked for."""
    asked = []

    def read(position: int, count: int) -> bytes:
        asked.append(count)
        return bytes(count) if position else struct.pack("<Q", 90_000_000)[:count]

    with pytest.raises(MalformedError):
        check_format(f"large.{suffix}", 1 << 40, read)
    assert sum(asked) < 100


def test_of_large_weights_the_header_alone_is_read() -> None:
    text = b'{"w":{"dtype":"U8","shape":[1099511627776],"data_offsets":[0,1099511627776]}}'
    start = struct.pack("<Q", len(text)) + text
    asked = []

    def read(position: int, count: int) -> bytes:
        asked.append(count)
        return start[position : position + count]

    check_format("large.safetensors", len(start) + (1 << 40), read)
    assert sum(asked) <= len(start) + 1
