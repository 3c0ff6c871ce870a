"""``%save_secure`` cut off after the sealing: the broker killed under it, the user's interrupt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from safetensors.torch import save
from torch import ones

from jupyter_aisec.broker.failpoints import VARIABLE
from jupyter_aisec.kernel import save as saving
from jupyter_aisec.kernel.session import KernelSession
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.provenance.facts import Record
from jupyter_aisec.sealed.store import UrlFolder
from tests.conftest import RunningBroker

from .conftest import World
from .test_walk_ordinary import TRAIN, run

# Where the broker dies, counted from its start just before the save: while the version is
# registered, with that durable and the answer lost, and the same for the run.
DEATHS = (
    "artifact.wrapped=kill",
    "append.committed=kill",
    "append.done=kill",
    "run.signed=kill",
    "append.committed=kill@2",
    "run.recorded=kill",
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A broker of this module's, which it may kill."""
    broker = RunningBroker(tmp_path_factory.mktemp("killed"))
    broker.start()
    made = World(broker)
    weights = {"model.safetensors": save({"w": ones(2)})}
    made.researcher.seal("weights/base", weights, labels=["secret"])
    yield made
    broker.stop()


@pytest.fixture
def trained(notebook, world):
    """A notebook with something open and a model that was trained for three steps."""
    run(notebook, '%grant request weights/base --for 1h --reason "a test"')
    world.approve_next()
    run(notebook, "%load_secure weights/base as state")
    run(notebook, TRAIN)
    return notebook


def restart(world: World, **environment: str) -> None:
    broker = world.broker
    if broker.process is not None:
        broker.process.kill()
        broker.process.wait(30)
        broker.stop()
    broker.start(broker.url.removeprefix("http://"), **environment)


def fails(notebook, cell: str, capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert not notebook.shell.run_cell(cell).success
    said = capsys.readouterr().out
    assert "Traceback" not in said
    return said


def runs_of(world: World, artifact: str) -> list[Record]:
    """The records of the runs that made an artifact's versions, all of which must have one."""
    found = []
    for version in world.researcher.versions(artifact):
        bundle = world.researcher.bundle(version.seal_id)
        folder = Path(version.url.removeprefix("file://"))
        assert msgspec.json.decode((folder / "bundle.json").read_bytes()) == bundle
        assert (folder / "model.sig").exists()
        envelope = msgspec.convert(bundle["record"], type=Envelope)
        found.append(envelope.read(Record, Record.payload_type, "The record"))
    return found


@pytest.mark.parametrize("death", DEATHS)
def test_a_save_under_which_the_broker_is_killed_is_finished_by_the_next(
    trained, world, capsys, death
):
    name = "weights/" + death.translate(str.maketrans("=@", "--"))
    cell = f"%save_secure model as {name}"
    restart(world, **{VARIABLE: death})
    assert "(broker-unreachable)" in fails(trained, cell, capsys)
    assert "(broker-unreachable)" in fails(trained, cell, capsys)  # it stays away
    restart(world)
    run(trained, cell)
    (record,) = runs_of(world, name)
    assert [one.steps for one in record.steps] == [3]
    assert trained.face.last_run == record.run
    assert trained.face.unfinished == {}
    assert world.researcher.audit().findings == ()
    stored = Path(world.broker.home, "store", name)
    assert len(list(stored.rglob("manifest.json"))) == 1


def test_another_value_under_the_name_is_the_next_version(trained, world, capsys):
    restart(world, **{VARIABLE: "append.committed=kill"})
    fails(trained, "%save_secure model as weights/twice", capsys)
    restart(world)
    run(trained, TRAIN)
    run(trained, "%save_secure model as weights/twice")
    first, second = runs_of(world, "weights/twice")
    assert [one.steps for one in first.steps] == [3]
    # Training went on before the first was recorded: the second's run has all of it.
    assert [one.steps for one in second.steps] == [6]


def test_the_same_value_with_another_label_is_the_next_version(trained, world, capsys):
    restart(world, **{VARIABLE: "append.committed=kill"})
    fails(trained, "%save_secure model as weights/labelled", capsys)
    restart(world)
    run(trained, "%save_secure model as weights/labelled --label tuned")
    assert len(runs_of(world, "weights/labelled")) == 2


def test_what_the_store_has_lost_meanwhile_is_sealed_again(trained, world, capsys):
    restart(world, **{VARIABLE: "artifact.wrapped=kill"})
    fails(trained, "%save_secure model as weights/lost", capsys)
    restart(world)
    for file in Path(world.broker.home, "store", "weights/lost").rglob("*.sealed"):
        file.unlink()
    run(trained, "%save_secure model as weights/lost")
    assert len(runs_of(world, "weights/lost")) == 1


def test_what_is_refused_is_given_up(trained, world, capsys, monkeypatch):
    """A kernel that drops the labels of what it opened: the broker refuses, also the next time."""
    monkeypatch.setattr(KernelSession, "labels", ())
    cell = "%save_secure model as weights/refused"
    assert "(labels-missing)" in fails(trained, cell, capsys)
    assert trained.face.unfinished == {}
    monkeypatch.undo()
    run(trained, cell)
    (record,) = runs_of(world, "weights/refused")
    assert [one.steps for one in record.steps] == [3]


@pytest.mark.parametrize("file", ["bundle.json", "model.sig"])
def test_an_interrupt_before_the_bundle_is_stored_loses_nothing(
    trained, world, capsys, monkeypatch, file
):
    cell = f"%save_secure model as weights/interrupted-{file.partition('.')[0]}"
    create = UrlFolder.create

    def interrupted(folder, name):
        if name == file:
            raise KeyboardInterrupt
        return create(folder, name)

    monkeypatch.setattr(UrlFolder, "create", interrupted)
    assert not trained.shell.run_cell(cell).success
    monkeypatch.undo()
    capsys.readouterr()
    run(trained, cell)
    assert len(runs_of(world, cell.split()[-1])) == 1


def test_what_is_left_is_finished_when_the_kernel_ends(trained, world, capsys):
    restart(world, **{VARIABLE: "run.signed=kill"})
    fails(trained, "%save_secure model as weights/at-the-end", capsys)
    restart(world)
    (left,) = trained.face.unfinished.values()
    saving.finish_all(trained.face)
    (record,) = runs_of(world, "weights/at-the-end")
    assert record.run == left.run
