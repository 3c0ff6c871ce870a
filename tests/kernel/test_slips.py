"""Slips in a notebook: each says what to do, and none shows an error of somebody else's."""

from __future__ import annotations

import pytest

import jupyter_aisec as aisec
from jupyter_aisec.errors import AisecError, UsageError
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.sealed.release import ReleaseKey

from .test_walk_ordinary import ask_and_approve, run


@pytest.fixture
def opened(notebook):
    ask_and_approve(notebook)
    return notebook


def test_help_is_no_error(notebook, capsys):
    for magic in ("grant", "load_secure", "save_secure"):
        run(notebook, f"%{magic} --help")
        assert "usage: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("artifact", "options", "code"),
    [
        ("weights/base", {"format": "pandas"}, "option-unfit"),
        ("weights/base", {"columns": ["w"]}, "option-unfit"),
        ("weights/base", {"into": {}}, "model-unfit"),
        ("dataset/rows", {"into": object()}, "option-unfit"),
        ("dataset/rows", {"format": "xml"}, "format-unknown"),
        ("weights/base", {"device": "toaster"}, "device-unknown"),
    ],
    ids=[
        "weights as a table",
        "columns of weights",
        "no model",
        "a table into a model",
        "xml",
        "device",
    ],
)
def test_options_that_do_not_fit(opened, artifact, options, code):
    with pytest.raises(UsageError) as raised:
        aisec.load(artifact, **options)
    assert raised.value.code == code
    assert raised.value.next


def test_weights_that_do_not_fit_the_model(opened):
    import torch

    with pytest.raises(UsageError) as raised:
        aisec.load("weights/base", into=torch.nn.Conv1d(1, 1, 1))
    assert raised.value.code == "model-unfit"
    assert 'Missing key(s) in state_dict: "weight"' in raised.value.what


def test_interrupting_a_load_that_waits_says_that_the_request_stays(notebook, monkeypatch):
    view = aisec.request("dataset/rows", for_="1h", reason="wait")
    session = notebook.face.session

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(session.changed, "wait", interrupted)
    with pytest.raises(AisecError) as raised:
        aisec.load("dataset/rows")
    assert raised.value.code == "interrupted"
    assert f"%grant withdraw {view.id}" in raised.value.next
    assert session.refresh(view.id).state == "pending"


@pytest.mark.parametrize("verb", ["show", "withdraw", "return"])
def test_what_is_no_grants_id(notebook, verb, capsys):
    result = notebook.shell.run_cell(f"%grant {verb} grant_x")
    assert result.error_in_exec.code == "grant-id-malformed"


def test_a_run_that_is_not_there(notebook):
    result = notebook.shell.run_cell("%provenance run_x")
    assert "aisec run list" in result.error_in_exec.next


def test_the_list_says_which_grants_another_notebook_uses(notebook, capsys):
    other = notebook.world.researcher.request(["dataset/rows"], 60, "elsewhere", seat="job:other")
    notebook.world.approver.approve(other.id)
    notebook.world.researcher.bind(
        other.id,
        seat="job:other",
        kernel_key=SigningKey.generate().public,
        release_key=ReleaseKey.generate().public,
        isolation="none",
    )
    run(notebook, "%grant list")
    (line,) = [one for one in capsys.readouterr().out.splitlines() if other.id in one]
    assert line.endswith("(in another notebook)")
