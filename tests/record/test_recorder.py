"""The recorder as a whole: in a shell, with torch and Lightning's entry point."""

from __future__ import annotations

import hashlib
import itertools
import sys
from types import ModuleType

import pytest

from jupyter_aisec.record import Recorder, current, environment
from jupyter_aisec.record.lightning import callbacks, old_callbacks

TRAIN = """
import torch
weight = torch.nn.Parameter(torch.ones(2))
optimizer = torch.optim.SGD([weight], lr=0.1)
for _ in range(3):
    weight.grad = torch.ones(2)
    optimizer.step()
"""


@pytest.fixture
def recorder(shell):
    recorder = Recorder(itertools.count(1_700_000_000_000_000_000, 1_000_000).__next__)
    recorder.install(shell)
    yield recorder
    recorder.remove(shell)
    recorder.remove(shell)  # twice is once
    assert current() is None


def test_a_run_holds_every_cell_and_starts_at_its_first_step(shell, recorder):
    shell.run_cell("data = 1")
    shell.run_cell(TRAIN)
    facts = recorder.facts()
    assert [cell.n for cell in facts.cells] == [1, 2]
    assert [(s.optimizer, s.steps) for s in facts.steps] == [("torch.optim.sgd.SGD", 3)]
    assert facts.started == facts.steps[0].first
    assert facts.finished > facts.steps[0].last
    assert (facts.cells_missing, facts.cut_short, facts.frameworks) == (0, None, ())
    assert recorder.facts().steps == facts.steps  # reading changes nothing


def test_with_no_step_it_starts_with_the_recorder(recorder):
    assert recorder.facts().started == "2023-11-14T22:13:20.000Z"


def test_the_next_run_begins_after_the_weights_are_saved(shell, recorder):
    shell.run_cell(TRAIN)
    recorder.framework("lightning 2.6.0")
    recorder.cut_short("the lease was lost")
    recorder.cut_short("and something else")
    assert recorder.facts().cut_short == "the lease was lost"
    recorder.close_run()
    facts = recorder.facts()
    assert (facts.steps, facts.frameworks, facts.cut_short) == ((), (), None)
    assert len(facts.cells) == 1


def test_the_environment_is_what_is_installed():
    facts = environment()
    assert any(line.startswith("cryptography==") for line in facts.packages)
    assert list(facts.packages) == sorted(facts.packages)
    assert facts.packages_sha256 == hashlib.sha256("\n".join(facts.packages).encode()).hexdigest()
    assert facts.python.endswith(".".join(map(str, sys.version_info[:3])))


@pytest.fixture(params=["lightning", "pytorch_lightning"])
def package(request, monkeypatch):
    """A stand-in for either Lightning package: all that the entry point touches."""
    name = request.param
    inner = "lightning.pytorch" if name == "lightning" else name
    outer = ModuleType(name)
    outer.__version__ = "2.6.0"
    modules = {name: outer, inner: ModuleType(inner) if inner != name else outer}
    modules[f"{inner}.callbacks"] = ModuleType(f"{inner}.callbacks")
    modules[f"{inner}.callbacks"].Callback = type("Callback", (), {})
    for key, module in modules.items():
        monkeypatch.setitem(sys.modules, key, module)
    return name


def test_lightning_tells_its_name_and_what_broke_it_off(package, recorder):
    factory = callbacks if package == "lightning" else old_callbacks
    (callback,) = factory()
    callback.on_train_start(None, None)
    callback.on_exception(None, None, MemoryError())
    facts = recorder.facts()
    assert facts.frameworks == (f"{package} 2.6.0",)
    assert facts.cut_short == f"MemoryError in {package} 2.6.0"


def test_no_recorder_no_callback(package):
    assert callbacks() == old_callbacks() == []


def test_a_package_that_is_not_there_gets_no_callback(recorder):
    assert "pytorch_lightning" not in sys.modules
    assert old_callbacks() == []
