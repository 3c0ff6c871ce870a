"""Tables from sealed Parquet, CSV and JSON lines."""

from __future__ import annotations

import io
import sys

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jupyter_aisec.errors import MalformedError, SealBrokenError, UsageError
from jupyter_aisec.sealed.tables import load_table

TABLE = pa.table({"id": list(range(200_000)), "text": [f"row {n}" for n in range(200_000)]})


def parquet(table: pa.Table = TABLE) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="none")
    return sink.getvalue()


FILES = {
    "a.parquet": parquet(),
    "a.csv": TABLE.to_pandas().to_csv(index=False).encode(),
    "a.jsonl": TABLE.to_pandas().to_json(orient="records", lines=True).encode(),
}


@pytest.mark.parametrize("name", FILES)
def test_each_format_from_each_file(name, sealed):
    opened = sealed({name: FILES[name]}).open()
    assert load_table(opened, "arrow").equals(TABLE)
    pd.testing.assert_frame_equal(
        load_table(opened), TABLE.to_pandas(), check_dtype=name == "a.parquet"
    )
    assert load_table(opened, "polars").equals(pl.from_arrow(TABLE))


@pytest.mark.parametrize("name", FILES)
def test_some_columns(name, sealed):
    opened = sealed({name: FILES[name]}).open()
    assert load_table(opened, "arrow", columns=["text"]).equals(TABLE.select(["text"]))
    with pytest.raises(UsageError) as caught:
        load_table(opened, columns=["text", "dose"])
    assert caught.value.code == "column-unknown"
    assert "dose" in caught.value.what
    assert "text" in caught.value.next


def test_parts_are_one_table(sealed):
    rows = [b'{"id": 1}\n', b'{"id": 2}\n']
    parts = {f"part-{n}.jsonl": row for n, row in enumerate(rows)} | {"README.md": b"x"}
    assert load_table(sealed(parts).open())["id"].tolist() == [1, 2]


def test_no_table(sealed):
    with pytest.raises(UsageError) as caught:
        load_table(sealed({"README.md": b"x"}).open())
    assert caught.value.code == "no-table"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.parquet", b"PAR1" + bytes(100) + b"\x20\0\0\0PAR1"),  # its ends look like one
        ("a.csv", b'"\x00{unclosed'),
        ("a.jsonl", b'"\x00{unclosed'),
    ],
)
def test_a_malformed_table(name, data, sealed):
    with pytest.raises(MalformedError) as caught:
        load_table(sealed({name: data}).open())
    assert caught.value.code == "table-malformed"


@pytest.mark.parametrize("name", FILES)
def test_a_broken_seal_is_said_through_the_reader(name, sealed, tmp_path):
    made = sealed({name: FILES[name]})
    path = tmp_path / "store" / "0000.sealed"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(SealBrokenError):
        load_table(made.open())


@pytest.mark.parametrize("package", ["pyarrow", "polars"])
def test_a_missing_package_is_named(package, sealed, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError) as caught:
        load_table(sealed({"a.csv": b"a\n1\n"}).open(), "polars")
    assert caught.value.code == "package-missing"
    assert package in caught.value.next
