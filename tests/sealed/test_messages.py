"""What a front end that writes its own files is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jupyter_aisec.sealed.messages import (
    as_output,
    guard_token,
    paged,
    sealed_message,
    unmarked,
)


def seal(output: dict[str, Any]) -> dict[str, Any]:
    return {"output_type": "display_data", "data": {"sealed": output["output_type"]}}


@pytest.mark.parametrize(
    ("kind", "content", "as_kind", "shown"),
    [
        pytest.param(
            "stream",
            {"name": "stdout", "text": "secret"},
            "display_data",
            {"data": {"sealed": "stream"}, "metadata": {}},
            id="an output",
        ),
        pytest.param(
            "update_display_data",
            {"data": {"text/plain": "secret"}, "transient": {"display_id": "d"}},
            "update_display_data",
            {
                "data": {"sealed": "display_data"},
                "metadata": {},
                "transient": {"display_id": "d"},
            },
            id="an update",
        ),
        pytest.param(
            "comm_msg",
            {"comm_id": "c", "data": "secret"},
            "comm_msg",
            {"comm_id": "", "data": {}},
            id="a widget",
        ),
        pytest.param(
            "execute_reply",
            {"status": "error", "ename": "secret", "evalue": "secret", "engine_info": "secret"},
            "execute_reply",
            {
                "status": "error",
                "payload": [],
                "user_expressions": {},
                "ename": "Error",
                "evalue": "sealed: open the notebook in a secure kernel",
                "traceback": [],
            },
            id="an error",
        ),
        pytest.param(
            "execute_reply",
            {"status": "ok", "execution_count": 3, "payload": ["secret"]},
            "execute_reply",
            {"status": "ok", "execution_count": 3, "payload": [], "user_expressions": {}},
            id="an answer",
        ),
        pytest.param(
            "input_request",
            {"prompt": "secret"},
            "input_request",
            {"prompt": "", "password": False},
            id="a question",
        ),
        pytest.param("status", {"a": 1}, "status", {"a": 1}, id="harmless"),
        pytest.param(
            "kernel_info_reply", {"a": 1}, "kernel_info_reply", {"a": 1}, id="said before"
        ),
        pytest.param(
            "execute_input",
            {"code": "secret", "execution_count": 3},
            "execute_input",
            {"code": "", "execution_count": 3},
            id="an echo",
        ),
        pytest.param(
            "clear_output", {"wait": "secret"}, "clear_output", {"wait": True}, id="a clearing"
        ),
        pytest.param(
            "iopub_welcome", {"subscription": "secret"}, "iopub_welcome", {}, id="a welcome"
        ),
        pytest.param(
            "is_complete_reply",
            {"status": "incomplete", "indent": "secret"},
            "is_complete_reply",
            {"status": "incomplete", "indent": ""},
            id="completeness",
        ),
        pytest.param(
            "shutdown_reply",
            {"status": "ok", "restart": "secret"},
            "shutdown_reply",
            {"status": "ok", "restart": True},
            id="a shutdown",
        ),
        pytest.param(
            "create_subshell_reply",
            {"status": "ok", "subshell_id": "the secret"},
            "create_subshell_reply",
            {"status": "ok"},
            id="a subshell with a strange name",
        ),
        pytest.param(
            "create_subshell_reply",
            {"status": "ok", "subshell_id": "5a-1"},
            "create_subshell_reply",
            {"status": "ok", "subshell_id": "5a-1"},
            id="a subshell",
        ),
    ],
)
def test_nothing_is_told_that_would_be_written(
    kind: str, content: dict[str, Any], as_kind: str, shown: dict[str, Any]
) -> None:
    assert sealed_message(kind, content, seal) == (as_kind, shown)
    assert "secret" not in json.dumps(shown)


def test_a_message_that_nobody_knows_is_not_passed_on() -> None:
    assert sealed_message("debug_event", {"a": "secret"}, seal) is None
    assert sealed_message("said_secret_reply", {"status": "ok"}, seal) is None


def test_a_mark_goes_and_all_else_stays() -> None:
    content = {"data": {"aisec": 1}, "metadata": {"aisec": 2, "a": 3}, "aisec": 4}
    assert unmarked(content) == {"data": {"aisec": 1}, "metadata": {"a": 3}}
    assert content["aisec"] == 4
    assert unmarked({"metadata": "odd"}) == {"metadata": "odd"}


def test_an_update_is_an_output_like_the_display_it_replaces() -> None:
    content = {"data": {}, "metadata": {}, "transient": {}}
    assert as_output("update_display_data", content) == {
        "output_type": "display_data",
        "data": {},
        "metadata": {},
    }


def test_pages_of_a_reply_are_outputs() -> None:
    page = {"source": "page", "data": {"text/plain": "help"}}
    shown = {"output_type": "display_data", "data": page["data"], "metadata": {}}
    assert paged({"payload": [page, {"source": "ask_exit"}, 3]}) == [shown]
    assert paged({"payload": "page"}) == paged({}) == []


def test_a_guard_token_is_that_of_one_key() -> None:
    assert guard_token(b"a") == guard_token(b"a") != guard_token(b"b")
