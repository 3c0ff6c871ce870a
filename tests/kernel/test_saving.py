"""Saving: what is sealed, what flows into it, and the record of its run."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import numpy
import pandas
import polars
import pyarrow
import pytest
import torch

from jupyter_aisec.errors import UsageError
from jupyter_aisec.kernel import extension
from jupyter_aisec.kernel.values import sources_of
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.provenance.facts import Record
from jupyter_aisec.provenance.statement import signed_differences
from jupyter_aisec.sealed.manifest import read_manifest

from .test_walk_ordinary import TRAIN, ask_and_approve, run


@pytest.fixture
def opened(notebook):
    """A notebook with both artifacts open."""
    ask_and_approve(notebook)
    run(notebook, "%load_secure dataset/rows as df")
    run(notebook, "%load_secure weights/base as state")
    return notebook


def test_a_model_is_sealed_with_its_run(opened, capsys):
    run(opened, TRAIN)
    run(opened, "%save_secure model as weights/trained --label tuned")
    view = opened.world.researcher.artifact("weights/trained")
    manifest = read_manifest(view.manifest)
    assert manifest.media_type == "weights"
    assert manifest.labels == ("secret", "tuned")
    inputs = {opened.world.researcher.artifact(n).seal_id for n in ("dataset/rows", "weights/base")}
    assert set(manifest.parents) == inputs
    bundle = opened.world.researcher.bundle(view.seal_id)
    capsys.readouterr()
    run(opened, "%provenance")
    text = capsys.readouterr().out
    for words in (
        "torch.optim.sgd.SGD: 3 steps",
        "approved by approver",
        "asked by researcher",
        "the observers differ",
        "Nobody watched the kernel from outside",
        "Verify it: aisec verify run_",
    ):
        assert words in text
    assert bundle["format"] == "jupyter-aisec/bundle/v1"
    stored = Path(view.url.removeprefix("file://"), "bundle.json")
    assert msgspec.json.decode(stored.read_bytes()) == bundle


def test_a_kernel_carries_the_labels_of_one_that_nobody_saw_end(opened, monkeypatch):
    """As after a crash: another process for all we know, and the same for all the broker knows."""
    extension.unload(opened.shell)
    monkeypatch.setattr(extension, "_before", None)
    extension.load(opened.shell)
    run(opened, "%load_secure weights/base as state")
    run(opened, "%save_secure state as weights/after-a-crash")
    view = opened.world.researcher.artifact("weights/after-a-crash")
    assert read_manifest(view.manifest).labels == ("secret",)
    said = msgspec.json.encode(opened.world.researcher.bundle(view.seal_id)["statement"])
    envelope = msgspec.json.decode(said, type=Envelope)
    (shared,) = [one for one in signed_differences(envelope) if one.kind == "input-shared"]
    assert "dataset/rows" in shared.what


def test_what_was_saved_can_be_asked_for_and_opened(opened):
    run(opened, TRAIN)
    run(opened, "%save_secure model.state_dict() as weights/again")
    run(opened, '%grant request weights/again --for 10m --reason "see it"')
    opened.world.approve_next()
    run(opened, "%load_secure weights/again as loaded")
    names = opened.shell.user_ns
    assert torch.equal(names["loaded"]["weight"], names["model"].state_dict()["weight"])
    run(opened, "other = torch.nn.Linear(4, 3)")
    run(opened, "%load_secure weights/again as filled --into other")
    assert torch.equal(names["filled"].weight, names["model"].weight)


@pytest.mark.parametrize(
    ("value", "media", "names"),
    [
        (b"bytes", "files", ("content",)),
        (pandas.DataFrame({"x": [1]}), "table", ("data.parquet",)),
        (polars.DataFrame({"x": [1]}), "table", ("data.parquet",)),
        (pyarrow.table({"x": [1]}), "table", ("data.parquet",)),
        ({"t": torch.ones(1)}, "weights", ("model.safetensors",)),
    ],
    ids=["bytes", "pandas", "polars", "arrow", "state_dict"],
)
def test_values(opened, value, media, names):
    import jupyter_aisec as aisec

    aisec.save(value, "results/value")
    manifest = read_manifest(opened.world.researcher.artifact("results/value").manifest)
    assert manifest.media_type == media
    assert tuple(file.name for file in manifest.files) == names


class Figure:
    """As matplotlib's saves itself."""

    def savefig(self, file: io.BytesIO) -> None:
        file.write(b"\x89PNG")


@pytest.mark.parametrize(
    ("value", "name", "content"),
    [
        ("größer", "content.txt", "größer".encode()),
        ({"a": [1, 2.5, None], "b": "ü"}, "value.json", '{"a": [1, 2.5, null], "b": "ü"}'.encode()),
        (Figure(), "figure.png", b"\x89PNG"),
    ],
    ids=["text", "plain values", "figure"],
)
def test_what_opens_as_bytes(value, name, content):
    sources, media = sources_of(value)
    assert (list(sources), bytes(sources[name]), media) == ([name], content, "files")


def test_an_array_opens_as_one():
    array = numpy.arange(6.0).reshape(2, 3)
    sources, _ = sources_of(array)
    assert numpy.array_equal(numpy.load(io.BytesIO(sources["array.npy"])), array)


def test_a_tensor_is_weights_and_a_series_is_a_table():
    assert sources_of(torch.ones(2))[1] == "weights"
    assert sources_of(torch.nn.Parameter(torch.ones(2)))[1] == "weights"
    sources, media = sources_of(pandas.Series([1, 2]))
    assert media == "table"
    assert list(pandas.read_parquet(io.BytesIO(sources["data.parquet"])).columns) == ["value"]


def test_a_path_is_the_files_that_lie_there(tmp_path):
    (tmp_path / "plot.png").write_bytes(b"x")
    assert sources_of(tmp_path) == ({"plot.png": tmp_path / "plot.png"}, "files")


@pytest.mark.parametrize(
    "value",
    [
        None,
        {"x": object()},
        float("nan"),
        numpy.array([object()]),
        pandas.DataFrame({"x": [object()]}),
        torch.float32,
        io.BytesIO(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_cannot_be_sealed_says_what_can(opened, value):
    import jupyter_aisec as aisec

    with pytest.raises(UsageError) as raised:
        aisec.save(value, "results/value")
    assert raised.value.code == "value-unsupported"
    assert type(value).__name__ in raised.value.what


def test_the_record_is_of_this_run_alone(opened):
    run(opened, TRAIN)
    run(opened, "%save_secure model as weights/first")
    run(opened, "%save_secure model as weights/second")
    seal_id = opened.world.researcher.artifact("weights/second").seal_id
    envelope = msgspec.convert(opened.world.researcher.bundle(seal_id)["record"], type=Envelope)
    record = envelope.read(Record, Record.payload_type, "The record")
    assert record.steps == ()
    assert len(record.inputs) == 2
    assert record.cells[-1].finished is None


def test_scratch_is_sealed_as_a_result_and_emptied(opened, tmp_path, monkeypatch):
    from jupyter_aisec.kernel.save import save_scratch

    scratch = tmp_path / "scratch"
    (scratch / "runs").mkdir(parents=True)
    monkeypatch.setenv("AISEC_SCRATCH", str(scratch))
    assert save_scratch(opened.face) is None
    (scratch / "plot.svg").write_text("<svg/>")
    (scratch / "runs" / "events").write_text("x")
    seal_id = save_scratch(opened.face)
    assert not list(scratch.iterdir())
    saved = [a for a in opened.world.researcher.artifacts() if a.seal_id == seal_id]
    assert saved[0].artifact.startswith("results/scratch-")


def test_scratch_is_sealed_on_demand_and_stays(opened, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    (scratch / "plots").mkdir(parents=True)
    (scratch / "plots" / "loss.svg").write_text("<svg/>")
    (scratch / "log").write_text("x")
    monkeypatch.setenv("AISEC_SCRATCH", str(scratch))
    for expression, names in (
        ("$AISEC_SCRATCH", ["log", "plots/loss.svg"]),
        ("$AISEC_SCRATCH/plots", ["loss.svg"]),
        ("$AISEC_SCRATCH/log", ["log"]),
    ):
        run(opened, f"%save_secure {expression} as results/on-demand")
        manifest = read_manifest(opened.world.researcher.artifact("results/on-demand").manifest)
        assert [file.name for file in manifest.files] == names
        assert manifest.labels == ("secret",)
    assert (scratch / "log").exists()


def test_scratch_that_is_not_there(opened, monkeypatch, capsys):
    monkeypatch.delenv("AISEC_SCRATCH", raising=False)
    result = opened.shell.run_cell("%save_secure $AISEC_SCRATCH/log as results/on-demand")
    assert not result.success
    assert "(scratch-missing)" in capsys.readouterr().out
