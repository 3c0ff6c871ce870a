"""A result of labelled data: saved with the label, declassified, asked for without it, verified."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest

from jupyter_aisec.grants.policy import DEFAULT_POLICY_TEXT
from jupyter_aisec.kernel import extension

from .conftest import World
from .test_walk_ordinary import TRAIN, run

PHI = """
[[rule]]
name = "patients"
labels = ["phi"]
requesters = ["role:researcher"]
approvers = ["role:approver"]
approvals = 1
longest = "10m"
"""


@pytest.fixture
def own(own_broker, shell, monkeypatch, tmp_path):
    """A notebook at a broker of its own, with a rule for the label ``phi``."""
    world = World(own_broker)
    for name, value in world.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AISEC_RELAY", raising=False)
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "notebook.ipynb"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strict.toml").write_text(DEFAULT_POLICY_TEXT + PHI)
    aisec(world, "approver", "policy", "apply", "strict.toml", "--yes")
    aisec(world, "researcher", "policy", "countersign", "strict.change.json", "--yes")
    world.researcher.seal("dataset/x", {"x.csv": b"x\n1\n"}, labels=["phi"])
    extension.load(shell)
    yield SimpleNamespace(shell=shell, world=world)
    extension.unload(shell)
    world.end_all()


def aisec(world, person, *arguments):
    done = world.broker.run(*arguments, person=person)
    assert done.returncode == 0, done
    return done.stdout


def test_a_result_loses_its_label(own, tmp_path, monkeypatch):
    world, name = own.world, "results/y"
    run(own, '%grant request dataset/x --for 5m --reason "a test"')
    world.approve_next()
    run(own, "%load_secure dataset/x as df")
    run(own, TRAIN)
    run(own, f"%save_secure model as {name}")
    assert world.researcher.artifact(name).labels == ("phi",)
    asked = ("policy", "explain", name, "--for", "1h", "--json")
    strict = msgspec.json.decode(aisec(world, "researcher", *asked))["terms"]
    aisec(world, "researcher", "declassify", f"{name}@1", "--drop", "phi", "--reason", "weights")
    file = "results-y-1.declassification.json"
    aisec(world, "approver", "declassify", "countersign", file, "--yes")
    mild = msgspec.json.decode(aisec(world, "researcher", *asked))["terms"]
    assert (strict["seconds"], mild["seconds"]) == (600, 3600)
    (tmp_path / "trust.json").write_text(
        aisec(world, None, "broker", "trust", "--home", str(world.broker.home))
    )
    said = aisec(world, "researcher", "verify", name, "--trust", "trust.json")
    assert "labels dropped: phi in entry" in said
    assert "by researcher with approver" in said
    # What the kernel opened keeps its label, and so does whatever it seals now.
    run(own, f"%save_secure model as {name}")
    assert world.researcher.artifact(name).labels == ("phi",)
    # Another kernel, of another notebook, which opened the result alone.
    extension.unload(own.shell)
    monkeypatch.setattr(extension, "_before", None)
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "another.ipynb"))
    extension.load(own.shell)
    run(own, f'%grant request {name}@1 --for 1h --reason "a test"')
    world.approve_next()
    run(own, f"%load_secure {name}@1 as state")
    run(own, TRAIN)
    run(own, "%save_secure model as weights/free")
    assert world.researcher.artifact("weights/free").labels == ()
    said = aisec(world, "researcher", "verify", "weights/free", "--trust", "trust.json")
    assert "label phi dropped in entry" in said
    aisec(world, "approver", "audit", "verify")
