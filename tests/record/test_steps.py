"""Counting optimizer steps with real torch."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
import torch

from jupyter_aisec.record.steps import StepRecorder


@pytest.fixture
def recorder():
    recorder = StepRecorder(itertools.count(1_700_000_000_000_000_000, 1_000_000).__next__)
    recorder.install()
    yield recorder
    recorder.remove()


def _optimizer(kind=torch.optim.SGD):
    weight = torch.nn.Parameter(torch.ones(2))
    weight.grad = torch.ones(2)
    return kind([weight], lr=0.1)


def test_steps_are_counted_by_class_in_order(recorder):
    sgd, adam = _optimizer(), _optimizer(torch.optim.Adam)
    for optimizer in (sgd, adam, sgd):
        optimizer.step()
    first, second = recorder.steps()
    assert (first.optimizer, first.steps) == ("torch.optim.sgd.SGD", 2)
    assert (second.optimizer, second.steps) == ("torch.optim.adam.Adam", 1)
    assert first.first == "2023-11-14T22:13:20.000Z"
    assert first.last == "2023-11-14T22:13:20.002Z"
    assert recorder.total == 3


def test_one_optimizer_per_parameter_stays_one_entry(recorder):
    for optimizer in [_optimizer() for _ in range(100)]:
        optimizer.step()
    assert [s.steps for s in recorder.steps()] == [100]


def test_after_clear_the_next_step_is_the_first(recorder):
    optimizer = _optimizer()
    optimizer.step()
    recorder.clear()
    assert recorder.steps() == ()
    optimizer.step()
    assert [s.steps for s in recorder.steps()] == [1]


def test_removed_it_counts_no_more(recorder):
    recorder.remove()
    recorder.remove()
    _optimizer().step()
    assert recorder.total == 0


def test_training_gives_the_same_numbers_with_and_without(recorder):
    def weights():
        torch.manual_seed(1)
        model = torch.nn.Linear(3, 2)
        optimizer = torch.optim.Adam(model.parameters())
        for _ in range(5):
            optimizer.zero_grad()
            model(torch.ones(4, 3)).sum().backward()
            optimizer.step()
        return model.weight.detach()

    recorded = weights()
    recorder.remove()
    assert torch.equal(recorded, weights())


def test_it_waits_for_torch_and_never_imports_it():
    code = """
import sys
from jupyter_aisec.record import Recorder
from jupyter_aisec.record.steps import StepRecorder
recorder = StepRecorder(); recorder.install()
assert "torch" not in sys.modules
import torch
weight = torch.nn.Parameter(torch.ones(1)); weight.grad = torch.ones(1)
torch.optim.SGD([weight], lr=1.0).step()
assert [s.steps for s in recorder.steps()] == [1], recorder.steps()
assert not torch.cuda.is_initialized()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
