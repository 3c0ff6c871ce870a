"""What the observers of a run may disagree about, and how each disagreement is named."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_aisec.provenance import (
    Cell,
    Environment,
    Input,
    Observation,
    Output,
    Record,
    SeenCell,
    compare,
)
from jupyter_aisec.provenance.chain import Release
from tests.effort import examples

AT = "2026-11-22T09:00:00.000Z"


def _cells(text: str) -> tuple[Cell, ...]:
    return tuple(
        Cell(n=n, cell_id=None, sha256=letter * 64, started=AT, finished=AT, ok=True)
        for n, letter in enumerate(text, 1)
    )


def _seen(text: str) -> tuple[SeenCell, ...]:
    return tuple(
        SeenCell(msg_id=str(n), sha256=letter * 64, at=AT, status="ok")
        for n, letter in enumerate(text)
    )


def _record(cells: str, /, **changes: Any) -> Record:
    record = Record(
        origin="o",
        run="run_1",
        kernel="sha256:k",
        grants=("grant_1",),
        started=AT,
        finished=AT,
        cells=_cells(cells),
        cells_missing=0,
        steps=(),
        frameworks=(),
        cut_short=None,
        inputs=(),
        output=Output(artifact="weights/a", seal_id="seal_1", manifest_sha256=""),
        environment=Environment(python="", platform="", packages=(), packages_sha256=""),
        gpus=(),
    )
    return msgspec.structs.replace(record, **changes)


def _observation(cells: str, /, **changes: Any) -> Observation:
    observation = Observation(
        origin="o",
        person="researcher",
        run="run_1",
        kernel="sha256:k",
        record_sha256="",
        at=AT,
        isolation="full",
        cells=_seen(cells),
    )
    return msgspec.structs.replace(observation, **changes)


def _release(seal_id: str, grant: str = "grant_1") -> Release:
    return Release(
        grant=grant,
        artifact="dataset/a",
        version=1,
        seal_id=seal_id,
        key_ids=(),
        kernel="sha256:k",
        approvals=1,
    )


def _input(seal_id: str, entry: int = 7, grant: str = "grant_1") -> Input:
    return Input(artifact="dataset/a", version=1, seal_id=seal_id, grant=grant, entry=entry)


@pytest.mark.parametrize(
    ("inside", "outside", "kinds"),
    [
        pytest.param("abc", "abc", [], id="agree"),
        pytest.param("", "", [], id="nothing-ran"),
        pytest.param("ac", "abc", ["cell-missing"], id="recorder-silenced"),
        pytest.param("abc", "ac", ["cell-unseen"], id="cell-run-by-a-cell"),
        pytest.param("axc", "abc", ["cell-source"], id="other-source"),
        pytest.param("axyc", "abdc", ["cell-source", "cell-source"], id="two-other-sources"),
        pytest.param("abxy", "ab", ["cell-unseen", "cell-unseen"], id="more-inside"),
        pytest.param("ba", "ab", ["cell-order"], id="order"),
        pytest.param("axxc", "abc", ["cell-unseen", "cell-unseen", "cell-missing"], id="uneven"),
        pytest.param("aab", "ab", ["cell-unseen"], id="run-twice-seen-once"),
    ],
)
def test_cells(inside: str, outside: str, kinds: list[str]) -> None:
    found = compare(_record(inside), _observation(outside), ())
    assert [one.kind for one in found] == kinds
    assert all(one.what.endswith(".") for one in found)


def test_an_unwatched_run_says_so() -> None:
    (found,) = compare(_record("abc"), None, ())
    assert found.kind == "unobserved"


def test_gaps_are_said_aloud() -> None:
    found = compare(_record("a", cells_missing=3), _observation("a", cells_missing=2), ())
    assert [one.kind for one in found] == ["gap", "gap"]
    assert "3 earlier" in found[0].what
    assert "2 earlier" in found[1].what


def test_a_silent_cell_is_named_and_not_looked_for_in_the_record() -> None:
    seen = list(_seen("abc"))
    seen[1] = msgspec.structs.replace(seen[1], silent=True)
    (found,) = compare(_record("ac"), _observation("", cells=tuple(seen)), ())
    assert found.kind == "cell-silent"


@pytest.mark.parametrize(
    ("ok", "status", "differs"),
    [
        (True, "ok", False),
        (False, "error", False),
        (False, "aborted", False),
        (True, "error", True),
        (False, "ok", True),
        (None, "ok", False),
        (True, None, False),
    ],
)
def test_outcomes(ok: bool | None, status: Any, differs: bool) -> None:
    cells = tuple(msgspec.structs.replace(one, ok=ok) for one in _cells("a"))
    seen = tuple(msgspec.structs.replace(one, began=True, status=status) for one in _seen("a"))
    found = compare(_record("", cells=cells), _observation("", cells=seen), ())
    assert [one.kind for one in found] == ["cell-outcome"] * differs


def _run_all(inside: str, begun: str, waiting: str) -> tuple[str, ...]:
    """Kinds of differences while the last cell of ``inside`` runs: it has no end yet.

    Of ``begun``, the last has no answer; of ``waiting`` nothing came back.
    """
    cells = list(_cells(inside))
    cells[-1] = msgspec.structs.replace(cells[-1], finished=None, ok=None)
    seen = list(_seen(begun + waiting))
    for n in range(len(begun) - 1, len(seen)):
        seen[n] = msgspec.structs.replace(seen[n], status=None, began=n < len(begun))
    observation = _observation("", cells=tuple(seen))
    return tuple(one.kind for one in compare(_record("", cells=tuple(cells)), observation, ()))


@pytest.mark.parametrize(
    ("inside", "begun", "waiting", "kinds"),
    [
        pytest.param("ab", "ab", "cd", (), id="run-all"),
        pytest.param("ab", "ab", "", (), id="nothing-waits"),
        pytest.param("ab", "ab", "b", (), id="the-one-that-runs-asked-for-again"),
        pytest.param("abb", "ab", "bb", (), id="the-second-time-just-begun"),
        pytest.param("ab", "a", "bcd", (), id="so-new-that-nothing-came-back"),
        pytest.param("abc", "a", "bcd", ("cell-unseen",) * 2, id="recorded-as-run-and-waiting"),
        pytest.param("abx", "ab", "cd", ("cell-unseen",), id="recorded-and-never-asked-for"),
    ],
)
def test_cells_waiting_behind_the_one_that_runs(
    inside: str, begun: str, waiting: str, kinds: tuple[str, ...]
) -> None:
    assert _run_all(inside, begun, waiting) == kinds


@pytest.mark.parametrize(
    "came_back",
    [
        pytest.param({"began": True}, id="only-that-it-began"),
        pytest.param({"outputs_sha256": "0" * 64}, id="an-output"),
        pytest.param({"status": "error"}, id="an-answer"),
    ],
)
def test_what_began_and_is_not_recorded_is_missing(came_back: Any) -> None:
    seen = list(_seen("abc"))
    seen[1] = msgspec.structs.replace(seen[1], **{"status": None, **came_back})
    (found,) = compare(_record("ac"), _observation("", cells=tuple(seen)), ())
    assert found.kind == "cell-missing"


def test_answers_kept_back_do_not_make_a_cell_look_as_if_it_waited() -> None:
    seen = list(_seen("abcd"))
    for n in (1, 2):  # nothing at all came back of these, and something of the one behind
        seen[n] = msgspec.structs.replace(seen[n], status=None)
    found = compare(_record("ad"), _observation("", cells=tuple(seen)), ())
    assert [one.kind for one in found] == ["cell-missing"] * 2


def test_nothing_began_and_nothing_is_recorded() -> None:
    seen = tuple(msgspec.structs.replace(one, status=None) for one in _seen("ab"))
    assert compare(_record(""), _observation("", cells=seen), ()) == ()


@pytest.mark.parametrize("silent", [False, True])
def test_expressions_are_named(silent: bool) -> None:
    (one,) = _seen("a")
    one = msgspec.structs.replace(one, expressions_sha256="f" * 64, silent=silent)
    found = compare(_record("" if silent else "a"), _observation("", cells=(one,)), ())
    assert [each.kind for each in found] == ["cell-silent"] * silent + ["cell-expressions"]
    assert "ffffffffffff" in found[-1].what


def test_inputs_are_those_that_keys_were_released_for() -> None:
    record = _record("", inputs=(_input("seal_a"),))
    assert not compare(record, _observation(""), [(7, _release("seal_a"))])


@pytest.mark.parametrize(
    ("inputs", "releases", "kinds"),
    [
        pytest.param((), [(7, _release("seal_a"))], ["input-missing"], id="kept-quiet"),
        pytest.param((_input("seal_a"),), [], ["input-unknown"], id="never-released"),
        pytest.param(
            (_input("seal_a", entry=8),),
            [(7, _release("seal_a"))],
            ["input-unknown"],
            id="another-entry",
        ),
        pytest.param(
            (_input("seal_a", grant="grant_2"),),
            [(7, _release("seal_a"))],
            ["input-unknown", "input-missing"],
            id="another-grant",
        ),
        pytest.param(
            (_input("seal_a", entry=9),),
            [(7, _release("seal_a")), (9, _release("seal_a"))],
            [],
            id="released-twice",
        ),
    ],
)
def test_inputs(inputs: Any, releases: Any, kinds: list[str]) -> None:
    found = compare(_record("", inputs=inputs), _observation(""), releases)
    assert [one.kind for one in found] == kinds


TEXT = st.text(alphabet="abc", max_size=8)


@given(TEXT, TEXT)
@settings(max_examples=examples(60), deadline=None)
def test_only_equal_accounts_agree(inside: str, outside: str) -> None:
    found = compare(_record(inside), _observation(outside), ())
    assert (found == ()) == (inside == outside)
    assert found == compare(_record(inside), _observation(outside), ())
