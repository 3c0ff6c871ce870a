"""Slips in a notebook: names of columns, files and variables, and data whose grant is over."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

from tests.faults.person import Notebook, Person, grant_in, ok
from tests.faults.table import Row


def test_used_after_its_end(row: Row, notebook: Notebook, approving: Person, artifact: str) -> None:
    ask = notebook.cell(f"%grant request {artifact} --for 1h --reason fault")
    ok(approving.run("grant", "approve", grant_in(ask), "--yes"))
    notebook.cell("import jupyter_aisec")
    opened = f"file = jupyter_aisec.open('{artifact}/x.csv')"
    notebook.cell(opened)
    notebook.cell(f"%grant return {grant_in(ask)}")
    met = notebook.opens_nothing(row, "file.read()")
    again = notebook.cell(*met.commands(NAME=artifact, TEXT="again"))
    ok(approving.run("grant", "approve", grant_in(again), "--yes"))
    notebook.cell(opened)
    notebook.cell("assert file.read() == b'x\\n1\\n'")


@pytest.fixture
def opened(notebook: Notebook, approving: Person, artifact: str) -> Notebook:
    """The notebook, with a grant for the artifact."""
    ask = notebook.cell(f"%grant request {artifact} --for 1h --reason fault")
    ok(approving.run("grant", "approve", grant_in(ask), "--yes"))
    notebook.cell(f"%load_secure {artifact} as frame")
    return notebook


def test_magic_misspelt(row: Row, opened: Notebook, artifact: str) -> None:
    met = opened.meets(row, f"%load_secure {artifact}")
    assert met.holes["USAGE"].startswith("load_secure")
    assert "as" in opened.cell(*met.commands())
    opened.cell(f"%load_secure {artifact} as frame")


def test_column_unknown(row: Row, opened: Notebook, artifact: str) -> None:
    met = opened.opens_nothing(row, f"%load_secure {artifact} as column --columns y")
    opened.cell(f"%load_secure {artifact} as column --columns {met.holes['COLUMNS']}")


def test_no_table(row: Row, notebook: Notebook, approving: Person) -> None:
    name = "dataset/no-table"
    notebook.person.broker.client("researcher").seal(name, {"notes.txt": b"text"})
    ask = notebook.cell(f"%grant request {name} --for 1h --reason fault")
    ok(approving.run("grant", "approve", grant_in(ask), "--yes"))
    met = notebook.opens_nothing(row, f"%load_secure {name} as frame --format pandas")
    assert (met.holes["NAME"], met.holes["FILES"]) == (name, "notes.txt")
    notebook.follow(met, VAR="notes")
    assert bytes(notebook.shell.user_ns["notes"]) == b"text"


def test_table_malformed(row: Row, notebook: Notebook, approving: Person, tmp_path: Path) -> None:
    name, researcher = "dataset/table-malformed", notebook.person.broker.client("researcher")
    researcher.seal(name, {"x.jsonl": b"{x: 1}\n"})
    ask = notebook.cell(f"%grant request {name} --for 1h --reason fault")
    ok(approving.run("grant", "approve", grant_in(ask), "--yes"))
    met = notebook.opens_nothing(row, f"%load_secure {name} as frame")
    (tmp_path / "x.jsonl").write_text('{"x": 1}\n')
    notebook.follow(met, SRC=str(tmp_path / "x.jsonl"), NAME=name)
    notebook.cell(f"%load_secure {name} as frame")
    assert list(notebook.shell.user_ns["frame"]["x"]) == [1]


def test_model_missing(row: Row, notebook: Notebook, approving: Person, tmp_path: Path) -> None:
    name = "weights/model-missing"
    content = safetensors.torch.save({"weight": torch.ones(1, 2), "bias": torch.ones(1)})
    notebook.person.broker.client("researcher").seal(name, {"model.safetensors": content})
    ask = notebook.cell(f"%grant request {name} --for 1h --reason fault")
    ok(approving.run("grant", "approve", grant_in(ask), "--yes"))
    load = f"%load_secure {name} as state --into model"
    notebook.follow(notebook.meets(row, load), VAR="alone")
    notebook.cell("assert alone['bias'].item() == 1")
    notebook.cell("import torch; model = torch.nn.Linear(2, 1)")
    notebook.cell(load)
    notebook.cell("assert model.bias.item() == 1")


@pytest.fixture
def weights(notebook: Notebook, approving: Person, request: pytest.FixtureRequest) -> str:
    """Weights of one linear layer that this notebook may open."""
    name = f"weights/{request.node.originalname.replace('_', '-')}"
    content = safetensors.torch.save({"weight": torch.ones(1, 2), "bias": torch.ones(1)})
    notebook.person.broker.client("researcher").seal(name, {"model.safetensors": content})
    ask = notebook.cell(f"%grant request {name} --for 1h --reason fault")
    ok(approving.run("grant", "approve", grant_in(ask), "--yes"))
    return name


def check_model(row: Row, notebook: Notebook, weights: str, model: str) -> None:
    notebook.cell(f"import torch; model = {model}")
    load = f"%load_secure {weights} as state --into model"
    met = notebook.opens_nothing(row, load)
    notebook.follow(met, VAR="alone")
    notebook.cell("assert alone['bias'].item() == 1")
    notebook.cell("model = torch.nn.Linear(2, 1)")
    notebook.cell(load)
    notebook.cell("assert model.bias.item() == 1")


def test_model_unfit(row: Row, notebook: Notebook, weights: str) -> None:
    check_model(row, notebook, weights, "torch.nn.Linear(3, 1)")


def test_model_not_one(row: Row, notebook: Notebook, weights: str) -> None:
    check_model(row, notebook, weights, "[]")


def test_value_unsupported(row: Row, opened: Notebook) -> None:
    opened.cell("result = object()")
    opened.meets(row, "%save_secure result as results/value-unsupported")
    opened.cell("result = b'bytes'")
    opened.cell("%save_secure result as results/value-unsupported")


def test_file_unknown(row: Row, opened: Notebook, artifact: str) -> None:
    opened.cell("import jupyter_aisec")
    met = opened.opens_nothing(row, f"jupyter_aisec.open('{artifact}/y.csv')")
    opened.follow(met)
    opened.cell(f"jupyter_aisec.open('{artifact}/{met.holes['FILES']}').read()")


def test_written_to_an_artifact(row: Row, opened: Notebook, artifact: str) -> None:
    opened.cell("import fsspec")
    met = opened.opens_nothing(row, f"fsspec.open('aisec://{artifact}/x.csv', 'wb').open()")
    opened.follow(met, VAR="frame", NAME="results/written")
