"""Cells as IPython runs them, in a real shell."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_aisec.record import cells as module
from jupyter_aisec.record.cells import CellRecorder, source_digest


@pytest.fixture
def recorder(shell):
    recorder = CellRecorder(lambda: "2026-11-22T20:35:16.250Z")
    recorder.install(shell)
    return recorder


def test_a_cell_is_kept_by_digest_and_the_notebooks_id(shell, recorder):
    shell.run_cell("a = 1", cell_id="abc-1")
    (cell,) = recorder.cells()
    assert (cell.n, cell.cell_id, cell.ok) == (1, "abc-1", True)
    assert cell.sha256 == hashlib.sha256(b"a = 1").hexdigest()
    assert cell.started == cell.finished == "2026-11-22T20:35:16.250Z"


@pytest.mark.parametrize("source", ["1/0", "a b", "raise SystemExit", "raise KeyboardInterrupt"])
def test_a_failing_cell_is_not_ok(shell, recorder, source, capsys):
    shell.run_cell(source)
    assert [cell.ok for cell in recorder.cells()] == [False]


def test_a_cell_that_runs_another_one_nests(shell, recorder):
    shell.run_cell("get_ipython().run_cell('b = 2')")
    outer, inner = recorder.cells()
    assert inner.sha256 == source_digest("b = 2")
    assert outer.sha256 == source_digest("get_ipython().run_cell('b = 2')")


def test_a_cell_sees_itself_unfinished(shell, recorder):
    shell.user_ns["recorder"] = recorder
    shell.run_cell("seen = recorder.cells()")
    assert [(c.finished, c.ok) for c in shell.user_ns["seen"]] == [(None, None)]


def test_silenced_by_the_notebook_it_stops_and_removing_is_no_error(shell, recorder):
    shell.run_cell("get_ipython().events.callbacks['pre_run_cell'].clear()")
    shell.run_cell("c = 3")
    assert len(recorder.cells()) == 1
    recorder.remove(shell)
    assert recorder.on_end not in shell.events.callbacks["post_run_cell"]


def test_only_the_newest_cells_are_kept_and_the_gap_is_counted(monkeypatch, shell):
    monkeypatch.setattr(module, "MOST_CELLS", 3)
    recorder = CellRecorder(lambda: "t")
    for _ in range(5):
        info = SimpleNamespace(cell_id=None, raw_cell="x")
        recorder.on_start(info)
        recorder.on_end(SimpleNamespace(info=info, success=True))
    assert [cell.n for cell in recorder.cells()] == [3, 4, 5]
    assert recorder.missing == 2


def test_results_are_left_as_they_are(shell, recorder):
    assert shell.run_cell("40 + 2").result == 42
    assert isinstance(shell.run_cell("1/0").error_in_exec, ZeroDivisionError)


@given(st.text(st.characters(exclude_categories=()), max_size=50))
def test_any_text_has_a_digest(text):
    assert len(source_digest(text)) == 64
