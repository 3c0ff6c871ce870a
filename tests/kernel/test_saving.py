"""Saving: what is sealed, what flows into it, and the record of its run."""

from __future__ import annotations

import io
from pathlib import Path

import msgspec
import pandas
import polars
import pyarrow
import pytest
import torch

from jupyter_aisec.errors import UsageError
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.provenance.facts import Record
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


@pytest.mark.parametrize("value", ["text", 1, {}, {"x": 1}, io.BytesIO()])
def test_what_cannot_be_sealed_says_what_can(opened, value):
    import jupyter_aisec as aisec

    with pytest.raises(UsageError) as raised:
        aisec.save(value, "results/value")
    assert raised.value.code == "value-unsupported"


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
