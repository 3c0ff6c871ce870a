"""One walk in two kernels: the ordinary one leaks what was planted, the secure one does not.

The scanner finds each leak of the ordinary kernel, so that its silence about the secure one
means something; and what the secure one saved, opened again under a grant of its own, does
hold what was planted, so that there was something to keep.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jupyter_aisec.sealed.outputs import MIME_TYPE
from tests.walk.scanner import Hit
from tests.walk.walk import Walk

pytestmark = [pytest.mark.walk, pytest.mark.timeout(900)]

HERE = Path(__file__).parent
WRITTEN = {
    "leak.txt": {("text column", "raw")},
    "leak.csv": {("text column", "raw")},
    "leak.csv.gz": {("text column", "gzip/raw")},
    "leak.parquet": {("text column", "parquet/raw")},
    "leak.npy": {("tensor", "raw"), ("end of the tensor", "raw")},
    "leak.pt": {("tensor", "raw"), ("end of the tensor", "raw")},
    "leak.hex": {("tensor", "hex"), ("end of the tensor", "hex")},
}
SHOWN = {("text column", "raw"), ("tensor", "hex")}  # as outputs of the notebook


@dataclass(frozen=True)
class Told:
    """What there was after each of the two walks, in this order."""

    secure: Any  # the saved notebook
    files: set[str]  # of the working folder
    hits: list[Hit]
    ordinary: Any
    ordinary_hits: list[Hit]
    opened: str  # what the secure one's outputs are, shown again
    needles: tuple[bytes, bytes]  # of the text column, and of the tensor in hex


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    with Walk(tmp_path_factory.mktemp("leaky")) as walk:
        walk.plant()
        walk.approve_what_comes()
        secure = walk.notebook(HERE / "leaky.ipynb", "aisec")
        files = {path.name for path in walk.work.rglob("*") if path.is_file()}
        hits = walk.scan()
        ordinary = walk.notebook(HERE / "leaky.ipynb", "python3")
        ordinary_hits = walk.scan()
        opened = walk.notebook(HERE / "looking.ipynb", "python3")
        column, tensor, _ = walk.needles
        yield Told(
            secure=json.loads(secure.read_text()),
            files=files,
            hits=hits,
            ordinary=json.loads(ordinary.read_text()),
            ordinary_hits=ordinary_hits,
            opened=_text(json.loads(opened.read_text())["cells"][-1]),
            needles=(column.value, tensor.value.hex().encode()),
        )


def _cells(notebook: Any, *, tagged: bool) -> dict[str, Any]:
    """The code cells that have to fail in the secure kernel, or the others, by id."""
    return {
        cell["id"]: cell
        for cell in notebook["cells"]
        if cell["cell_type"] == "code"
        and ("raises-exception" in cell["metadata"].get("tags", ())) == tagged
    }


def _text(cell: Any) -> str:
    """Everything that a cell shows as text."""
    found = []
    for output in cell["outputs"]:
        for text in (output.get("text", ""), output.get("data", {}).get("text/plain", "")):
            found.append("".join(text))
    return "\n".join(found)


@pytest.mark.parametrize("file", WRITTEN)
def test_the_scanner_finds_what_an_ordinary_kernel_wrote_as(told: Told, file: str) -> None:
    found = {(hit.needle, hit.form) for hit in told.ordinary_hits if hit.path.name == file}
    assert WRITTEN[file] <= found


def test_the_scanner_finds_what_an_ordinary_kernel_showed(told: Told) -> None:
    name = "leaky-python3.ipynb"
    found = {(hit.needle, hit.form) for hit in told.ordinary_hits if hit.path.name == name}
    assert found >= SHOWN


def test_the_scanner_finds_nothing_else_of_the_ordinary_walk(told: Told) -> None:
    """What was sealed there is sealed; and the secure kernel's notebook stays as it was."""
    assert {hit.path.name for hit in told.ordinary_hits} == {*WRITTEN, "leaky-python3.ipynb"}


def test_nothing_that_was_planted_reached_a_disk_from_the_secure_kernel(told: Told) -> None:
    assert told.hits == []
    assert told.files == {"leaky-aisec.ipynb"}


def test_every_write_failed_in_the_secure_kernel_and_only_there(told: Told) -> None:
    """Each left one sealed output, which is the error; the opening below says which."""
    tagged = _cells(told.secure, tagged=True)
    assert len(tagged) == len(WRITTEN)
    for name, cell in tagged.items():
        kinds = [set(output.get("data", {})) for output in cell["outputs"]]
        assert [MIME_TYPE in kind for kind in kinds] == [True], name
    for cell in _cells(told.ordinary, tagged=True).values():
        assert {one["output_type"] for one in cell["outputs"]} <= {"execute_result"}


def test_each_refused_write_was_explained(told: Told) -> None:
    """In the outputs as they were, cell by cell."""
    shown = _by_cell(told)
    for name in _cells(told.secure, tagged=True):
        assert "This is the secure kernel: it lets nothing be written" in shown[name], name
        assert "%save_secure EXPRESSION as results/NAME" in shown[name], name
        assert "$AISEC_SCRATCH" in shown[name], name


def test_what_the_secure_kernel_showed_was_what_was_planted(told: Told) -> None:
    shown = _by_cell(told)
    column, tensor = (needle.decode() for needle in told.needles)
    assert column in shown["show-text"]
    assert tensor in shown["show-tensor"]
    assert column in shown["train"]


def test_it_trained_and_saved_in_both(told: Told) -> None:
    assert "5 steps" in _by_cell(told)["provenance"]
    assert "5 steps" in _text(_cells(told.ordinary, tagged=False)["provenance"])


def _by_cell(told: Told) -> dict[str, str]:
    """What ``%open_outputs`` showed of each cell, by the cell's id."""
    ids = [cell["id"] for cell in told.secure["cells"]]
    shown = dict.fromkeys(ids, "")
    now = ""
    for line in told.opened.splitlines():
        if line.startswith("cell ") and " · " in line:
            now = ids[int(line.split()[1]) - 1]
        elif now:
            shown[now] += line + "\n"
    return shown
