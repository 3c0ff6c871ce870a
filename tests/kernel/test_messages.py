"""What passes the keeper: the second observer, and the guard of outputs."""

from __future__ import annotations

import base64
import json

import pytest

from jupyter_aisec.confine.wire import Message
from jupyter_aisec.errors import MalformedError
from jupyter_aisec.kernel import observer as module
from jupyter_aisec.kernel.observer import Observer
from jupyter_aisec.kernel.outputs import OutputGuard
from jupyter_aisec.record import source_digest
from jupyter_aisec.sealed.outputs import MIME_TYPE, open_output, read_output, unwrap_content_key
from jupyter_aisec.sealed.release import ReleaseKey

SEAL_ID = "seal_01ARZ3NDEKTSV4RRFFQ69G5FAV"


def message(kind, content, *, direction="out", channel="iopub", parent="m1", msg_id="x"):
    return Message(
        direction,
        channel,
        (b"topic",),
        json.dumps({"msg_id": msg_id, "msg_type": kind}).encode(),
        json.dumps({"msg_id": parent} if parent else {}).encode(),
        b"{}",
        json.dumps(content).encode(),
        (b"buffer",),
    )


def asked(msg_id, code, **more):
    content = {"code": code, **more}
    return message(
        "execute_request", content, direction="in", channel="shell", parent="", msg_id=msg_id
    )


def observed(observer):
    return observer.observation(
        origin="o", person="p", run="r", kernel="k", record_sha256="s", isolation="full"
    )


@pytest.fixture
def observer():
    return Observer(lambda: "2026-11-22T20:35:16.250Z")


def test_a_cell_with_its_outputs_and_its_end(observer):
    observer.saw(asked("m1", "print(1)"))
    (before,) = observed(observer).cells
    assert (before.outputs_sha256, before.status) == (None, None)
    observer.saw(message("stream", {"name": "stdout", "text": "1"}))
    (during,) = observed(observer).cells
    observer.saw(message("stream", {"name": "stdout", "text": "2"}))
    observer.saw(message("execute_reply", {"status": "ok"}, channel="shell"))
    (after,) = observed(observer).cells
    assert after.sha256 == source_digest("print(1)")
    assert after.status == "ok"
    assert after.outputs_sha256 != during.outputs_sha256 != before.outputs_sha256
    assert not after.silent


def test_silent_requests_are_seen_too(observer):
    observer.saw(asked("m1", "x", silent=True))
    assert observed(observer).cells[0].silent


@pytest.mark.parametrize("status", ["error", "strange", None, 7, []], ids=str)
def test_any_answer_is_an_answer_and_a_strange_one_no_good_end(observer, status):
    observer.saw(asked("m1", "x"))
    observer.saw(message("execute_reply", {"status": status}, channel="shell"))
    assert observed(observer).cells[0].status == "error"


@pytest.mark.parametrize(
    "came_back",
    [
        message("status", {"execution_state": "busy"}),
        message("execute_input", {"code": "x"}),
        message("input_request", {"prompt": ""}, channel="stdin"),
        message("stream", {"text": "x"}),
        message("execute_reply", {"status": "aborted"}, channel="shell"),
    ],
    ids=lambda one: one.type,
)
def test_whatever_comes_back_says_that_it_began(observer, came_back):
    observer.saw(asked("m1", "x"))
    observer.saw(asked("m2", "y"))
    observer.saw(came_back)
    assert [cell.began for cell in observed(observer).cells] == [True, False]


def test_an_id_used_again_hides_no_earlier_cell(observer, monkeypatch):
    monkeypatch.setattr(module, "MOST_CELLS", 2)
    for code in ("hidden", "shown"):
        observer.saw(asked("m1", code))
    observer.saw(message("execute_reply", {"status": "ok"}, channel="shell"))
    first, second = observed(observer).cells
    assert (first.sha256, first.status) == (source_digest("hidden"), None)
    assert (second.sha256, second.status) == (source_digest("shown"), "ok")
    observer.saw(asked("m2", "z"))
    observer.saw(message("stream", {"text": "x"}))
    assert observed(observer).cells[0].outputs_sha256 is not None


@pytest.mark.parametrize("expressions", [None, {}, []], ids=str)
def test_without_expressions_there_is_no_digest_of_them(observer, expressions):
    observer.saw(asked("m1", "x", user_expressions=expressions))
    assert observed(observer).cells[0].expressions_sha256 is None


def test_expressions_have_a_digest_whatever_their_order(observer):
    for expressions in ({"a": "1", "b": "2"}, {"b": "2", "a": "1"}, {"a": "2", "b": "2"}):
        observer.saw(asked("m", "x", user_expressions=expressions))
    first, second, third = [cell.expressions_sha256 for cell in observed(observer).cells]
    assert first == second != third


@pytest.mark.parametrize(
    "other",
    [
        message("stream", {"text": "x"}, parent="unknown"),
        message("execute_reply", {"status": "ok"}, channel="shell", parent="unknown"),
        message("kernel_info_request", {}, direction="in", channel="shell"),
        message("execute_request", {"code": "x"}, direction="out", channel="shell", parent=""),
    ],
)
def test_what_is_no_cell_changes_nothing(observer, other):
    observer.saw(asked("m1", "x"))
    before = observed(observer)
    observer.saw(other)
    assert observed(observer) == before


def test_only_the_newest_are_kept_and_the_gap_is_counted(observer, monkeypatch):
    monkeypatch.setattr(module, "MOST_CELLS", 2)
    for number in range(5):
        observer.saw(asked(f"m{number}", str(number)))
    seen = observed(observer)
    assert [cell.msg_id for cell in seen.cells] == ["m3", "m4"]
    assert seen.cells_missing == 3


def test_what_is_not_json_is_our_error(observer):
    broken = Message("in", "shell", (), b"{", b"{}", b"{}", b"{}")
    with pytest.raises(MalformedError):
        observer.saw(broken)


@pytest.mark.parametrize("direction", ["in", "out"])
def test_what_is_no_object_is_our_error(observer, direction):
    broken = Message(direction, "shell", (), b"[]", b"[]", b"{}", b"{}")
    with pytest.raises(MalformedError):
        observer.saw(broken)


OUTPUTS = [
    ("stream", {"name": "stdout", "text": "secret"}),
    ("display_data", {"data": {"text/plain": "secret"}, "metadata": {}, "transient": {}}),
    (
        "update_display_data",
        {"data": {"text/plain": "secret"}, "metadata": {}, "transient": {"display_id": "d"}},
    ),
    ("execute_result", {"data": {"text/plain": "secret"}, "metadata": {}, "execution_count": 3}),
    ("error", {"ename": "E", "evalue": "secret", "traceback": ["secret"]}),
]


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize(("kind", "content"), OUTPUTS)
def test_before_anything_is_opened_all_passes_as_it_is(guarded, kind, content):
    assert OutputGuard(guarded=guarded).change(message(kind, content)) is None


@pytest.fixture
def keys():
    return ReleaseKey.generate()


def opened(keys, *, guarded):
    guard = OutputGuard(guarded=guarded)
    guard.opened("dataset/rows", SEAL_ID, keys.public)
    return guard


@pytest.mark.parametrize(("kind", "content"), OUTPUTS)
def test_unguarded_outputs_are_sealed_and_open_again(keys, kind, content):
    changed = opened(keys, guarded=False).change(message(kind, content))
    assert changed.type == (
        "update_display_data" if kind == "update_display_data" else "display_data"
    )
    shown = changed.json("content")
    assert "secret" not in json.dumps(shown["data"]["text/plain"])
    assert changed.buffers == ()
    assert shown.get("transient", {}) == content.get("transient", {})
    sealed = read_output(shown["data"][MIME_TYPE])
    output = open_output(sealed, unwrap_content_key(sealed.header, lambda key: keys))
    assert "secret" in json.dumps(output)
    assert json.loads(changed.header)["msg_id"] == "x"


@pytest.mark.parametrize("kind", ["comm_open", "comm_msg", "comm_close"])
def test_unguarded_widgets_learn_nothing(keys, kind):
    changed = opened(keys, guarded=False).change(
        message(kind, {"comm_id": "c", "data": {"v": "secret"}})
    )
    assert "secret" not in changed.content.decode()


def test_unguarded_replies_quote_nothing(keys):
    guard = opened(keys, guarded=False)
    content = {"status": "error", "ename": "E", "evalue": "secret", "traceback": ["secret"]}
    changed = guard.change(message("execute_reply", content, channel="shell"))
    assert changed.json("content")["ename"] == "E"
    assert "secret" not in changed.content.decode()
    content = {"status": "ok", "user_expressions": {"a": "secret"}, "payload": ["secret"]}
    changed = guard.change(message("execute_reply", content, channel="shell"))
    assert changed.json("content")["status"] == "ok"
    assert "secret" not in changed.content.decode()


@pytest.mark.parametrize(
    "other",
    [
        message("status", {"execution_state": "busy"}),
        message("execute_input", {"code": "x"}),
        message("complete_reply", {}, channel="shell"),
        asked("m1", "secret"),
    ],
)
@pytest.mark.parametrize("guarded", [True, False])
def test_all_else_passes_as_it_is(keys, guarded, other):
    assert opened(keys, guarded=guarded).change(other) is None


@pytest.mark.parametrize(("kind", "content"), OUTPUTS)
def test_guarded_outputs_carry_the_mark_and_stay(keys, kind, content):
    original = message(kind, content)
    changed = opened(keys, guarded=True).change(original)
    assert (changed.content, changed.header, changed.buffers) == (
        original.content,
        original.header,
        original.buffers,
    )
    assert changed.json("metadata")["aisec"]["recipients"] == [
        {
            "artifact": "dataset/rows",
            "seal_id": SEAL_ID,
            "output_key": base64.b64encode(keys.public).decode(),
        }
    ]


def test_the_server_understands_the_mark(keys):
    from jupyter_aisec.server.marks import parse_mark

    changed = opened(keys, guarded=True).change(message(*OUTPUTS[0]))
    mark = parse_mark(changed.json("metadata")["aisec"])
    assert list(mark.keys().values()) == [keys.public]
