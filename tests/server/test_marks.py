from __future__ import annotations

from typing import Any

import pytest

from jupyter_aisec.errors import MalformedError
from jupyter_aisec.sealed.messages import unmarked
from jupyter_aisec.server.executions import Executions
from jupyter_aisec.server.marks import (
    Mark,
    Recipient,
    carry,
    is_claimed,
    mark_of,
    parse_mark,
    proved,
    union,
)

DIGITS = Recipient(artifact="dataset/digits", seal_id="seal_1", output_key=b"1")
MINILM = Recipient(artifact="weights/minilm", seal_id="seal_2", output_key=b"2")
MARK = Mark(recipients=(DIGITS,))


def proves(said: bytes, proof: bytes) -> bool:
    return said == proved(MARK) and proof == b"proof"


@pytest.mark.parametrize(
    ("type_", "content"),
    [
        pytest.param("stream", {"name": "stdout", "text": "a"}, id="stream"),
        pytest.param("error", {"ename": "E", "evalue": "", "traceback": []}, id="error"),
        pytest.param("display_data", {"data": {}, "metadata": {"a": 1}}, id="display"),
        pytest.param("execute_result", {"data": {}, "execution_count": 1}, id="no metadata"),
    ],
)
def test_a_carried_mark_is_found_again_and_can_be_taken_off(
    type_: str, content: dict[str, Any]
) -> None:
    output = {"output_type": type_, **carry(type_, MARK, content, b"proof")}
    assert mark_of(output, proves) == MARK
    assert is_claimed(output)
    assert "aisec" not in content
    bare = unmarked(output)
    assert mark_of(bare, proves) is None
    assert not is_claimed(bare)
    assert {**bare, "metadata": bare.get("metadata") or None} == {
        "output_type": type_,
        **content,
        "metadata": content.get("metadata"),
    }


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(None, id="null"),
        pytest.param({}, id="empty"),
        pytest.param({"recipients": []}, id="nobody"),
        pytest.param({"recipients": [{"artifact": "dataset/a"}]}, id="no key"),
        pytest.param({"recipients": [], "more": 1}, id="unknown field"),
    ],
)
def test_a_mark_that_is_none_is_an_error_and_not_plaintext(value: object) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_mark(value)
    assert caught.value.code == "output-mark-malformed"


def test_union_names_everybody_once() -> None:
    both = Mark(recipients=(MINILM, DIGITS))
    assert union(MARK, None, both) == Mark(recipients=(DIGITS, MINILM))
    assert union(None) is None
    assert union() is None


def test_executions_remember_the_marks_of_the_last_run_of_a_cell() -> None:
    executions = Executions()
    executions.asked("m1", "cell")
    assert executions.mark_of("cell") is None
    executions.came("m1", MARK)
    executions.came("m1", Mark(recipients=(MINILM,)))
    executions.came("unknown", MARK)
    assert executions.mark_of("cell") == Mark(recipients=(DIGITS, MINILM))
    executions.asked("m2", "cell")
    assert executions.mark_of("cell") is None
    executions.came("m1", MARK)  # a thread of the first run still prints
    assert executions.mark_of("cell") == MARK
    assert executions.mark_of(None) is None


def test_executions_forget_old_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jupyter_aisec.server.executions._REQUESTS", 1)
    executions = Executions()
    executions.asked("m1", "first")
    executions.asked("m2", "second")
    executions.came("m1", MARK)
    executions.came("m2", MARK)
    assert executions.mark_of("first") is None
    assert executions.mark_of("second") == MARK
