"""The walk in an ordinary kernel: this process, with the researcher's own home."""

from __future__ import annotations

import threading

import pandas
import pytest
import torch

from .conftest import wait_for

ASK = '%grant request dataset/rows weights/base --for 1h --reason "a test"'


def run(notebook, source):
    result = notebook.shell.run_cell(source)
    result.raise_error()
    return result.result


def ask_and_approve(notebook):
    run(notebook, ASK)
    return notebook.world.approve_next()


def test_the_walk(notebook, capsys):
    run(notebook, ASK)
    approving = threading.Thread(target=notebook.world.approve_next)
    approving.start()
    run(notebook, "%load_secure dataset/rows as df")  # waits while it is pending
    approving.join()
    run(notebook, "%load_secure weights/base as state")
    frame, state = notebook.shell.user_ns["df"], notebook.shell.user_ns["state"]
    assert isinstance(frame, pandas.DataFrame)
    assert frame["b"][99] == "row 99"
    assert torch.equal(state["w"], torch.arange(12.0).reshape(3, 4))
    run(notebook, "%grant list")
    assert "active" in capsys.readouterr().out
