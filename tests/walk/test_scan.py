"""The scanner finds what an ordinary kernel plants: the proof that silence means something."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.walk.scanner import Hit
from tests.walk.walk import Walk

pytestmark = [pytest.mark.walk, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def hits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Hit]]:
    """What the scanner finds after the walk in an ordinary kernel."""
    with Walk(tmp_path_factory.mktemp("leaky")) as walk:
        walk.plant()
        walk.approve_what_comes()
        walk.notebook(Path(__file__).with_name("leaky.ipynb"))
        yield walk.scan()


@pytest.mark.parametrize(
    ("file", "needle", "form"),
    [
        ("leak.csv", "text column", "raw"),
        ("leak.csv.gz", "text column", "gzip/raw"),
        ("leak.parquet", "text column", "parquet/raw"),
        ("leak.bin", "tensor", "raw"),
        ("leak.hex", "end of the tensor", "hex"),
        ("leaky.ipynb", "text column", "raw"),
    ],
)
def test_finds_what_was_leaked_as(hits: list[Hit], file: str, needle: str, form: str) -> None:
    assert (file, needle, form) in {(hit.path.name, hit.needle, hit.form) for hit in hits}
