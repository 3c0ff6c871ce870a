"""What passes the keeper: the second observer, and the guard of outputs."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from jupyter_aisec.confine.wire import Message
from jupyter_aisec.errors import MalformedError
from jupyter_aisec.kernel import observer as module
from jupyter_aisec.kernel import secure
from jupyter_aisec.kernel.observer import Observer
from jupyter_aisec.kernel.outputs import OutputGuard
from jupyter_aisec.record import source_digest
from jupyter_aisec.sealed.outputs import MIME_TYPE, open_output, read_output, unwrap_content_key
from jupyter_aisec.sealed.release import ReleaseKey

SEAL_ID = "seal_01ARZ3NDEKTSV4RRFFQ69G5FAV"
NOW = "2026-11-22T20:35:16.250Z"


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
    assert OutputGuard(guarded=guarded, now=lambda: NOW).change(message(kind, content)) is None


@pytest.fixture
def keys():
    return ReleaseKey.generate()


def opened(keys, *, guarded):
    guard = OutputGuard(guarded=guarded, now=lambda: NOW)
    guard.opened("dataset/rows", SEAL_ID, keys.public)
    for msg_id in ("m1", "m2", "m3"):
        guard.change(asked(msg_id, "x"))
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
    assert changed.json("content")["ename"] == "Error", "a name can be made of anything"
    assert "secret" not in changed.content.decode()
    content = {"status": "ok", "user_expressions": {"a": "secret"}, "payload": ["secret"]}
    changed = guard.change(message("execute_reply", content, channel="shell"))
    assert changed.json("content")["status"] == "ok"
    assert "secret" not in changed.content.decode()


@pytest.mark.parametrize(
    "other",
    [
        message("status", {"execution_state": "busy"}),
        message("execute_input", {"code": "", "execution_count": 1}),
        message("clear_output", {"wait": True}),
        message("interrupt_reply", {"status": "ok"}, channel="control"),
        message("is_complete_reply", {"status": "incomplete", "indent": ""}, channel="shell"),
        message(
            "create_subshell_reply", {"status": "ok", "subshell_id": "5a-1"}, channel="control"
        ),
        message("shutdown_reply", {"status": "ok", "restart": True}, channel="control"),
    ],
    ids=lambda one: one.type,
)
@pytest.mark.parametrize("guarded", [True, False])
def test_all_else_says_the_same(keys, guarded, other):
    changed = opened(keys, guarded=guarded).change(other)
    assert (changed.type, changed.json("content")) == (other.type, other.json("content"))


@pytest.mark.parametrize("guarded", [True, False])
def test_what_goes_in_passes_as_it_is(keys, guarded):
    assert opened(keys, guarded=guarded).change(asked("m1", "secret")) is None


@pytest.mark.parametrize(("kind", "content"), OUTPUTS)
def test_guarded_outputs_carry_the_mark_and_stay(keys, kind, content):
    original = message(kind, content)
    changed = opened(keys, guarded=True).change(original)
    assert (changed.json("content"), changed.type, changed.buffers) == (
        original.json("content"),
        original.type,
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


@pytest.mark.parametrize("guarded", [True, False])
def test_a_reply_writes_into_no_cell_and_pages_are_shown_live_only(keys, guarded):
    page = {"source": "page", "data": {"text/plain": "secret"}, "start": 0}
    payload = [{"source": "set_next_input", "text": "secret", "replace": True}, page, "odd"]
    reply = message("execute_reply", {"status": "ok", "payload": payload}, channel="shell")
    changed = opened(keys, guarded=guarded).change(reply)
    assert changed.json("content")["payload"] == ([page] if guarded else [])
    if guarded:
        assert changed.json("metadata")["aisec"]["recipients"], "the server learns of it"
    odd = message("execute_reply", {"status": "ok", "payload": "secret"}, channel="shell")
    assert "secret" not in opened(keys, guarded=guarded).change(odd).content.decode()


def test_an_unguarded_question_shows_no_prompt(keys):
    asking = message("input_request", {"prompt": "secret", "password": True}, channel="stdin")
    assert opened(keys, guarded=False).change(asking).json("content") == {
        "prompt": "",
        "password": True,
    }
    shown = opened(keys, guarded=True).change(asking)
    assert shown.json("content")["prompt"] == "secret"
    assert "aisec" in shown.json("metadata")


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize(
    ("kind", "content"),
    [
        pytest.param("status", {"execution_state": "secret"}, id="state"),
        pytest.param("status", {"execution_state": "idle", "execution_count": "secret"}, id="more"),
        pytest.param("execute_input", {"code": "", "execution_count": "secret"}, id="count"),
        pytest.param(
            "execute_input",
            {"code": "", "execution_count": int.from_bytes(b"secret", "big")},
            id="count in bytes",
        ),
        pytest.param("execute_input", {"code": "", "execution_count": True}, id="count of truth"),
    ],
)
def test_counts_are_counts_and_states_are_states(keys, guarded, kind, content):
    changed = opened(keys, guarded=guarded).change(message(kind, content)).json("content")
    assert changed.get("execution_count", 0) == 0
    assert changed.get("execution_state", "idle") == "idle"


@pytest.mark.parametrize("guarded", [True, False])
def test_dates_and_names_in_a_header_are_not_the_kernels_to_choose(keys, guarded):
    words = "said in a header: secret"
    header = {
        "msg_id": words,
        "session": words,
        "username": words,
        "version": words,
        "date": "1984-04-05T06:07:08.123456Z",
        "msg_type": "status",
        "more": words,
    }
    made = Message(
        "out",
        "iopub",
        (words.encode(),),
        json.dumps(header).encode(),
        json.dumps(header | {"date": words, "msg_type": words}).encode(),
        json.dumps({"started": words}).encode(),
        b'{"execution_state": "idle"}',
    )
    changed = opened(keys, guarded=guarded).change(made)
    assert changed.json("header")["date"] == NOW
    assert changed.json("header")["msg_id"]
    everything = (*changed.prefix, changed.header, changed.parent_header, changed.metadata)
    assert "secret" not in b"".join(everything).decode()
    dated = json.dumps({"msg_id": "m1", "date": NOW, "msg_type": "execute_request"}).encode()
    kept = opened(keys, guarded=guarded).change(replace(made, parent_header=dated))
    assert kept.json("parent_header")["msg_id"] == "m1"
    assert kept.json("parent_header")["date"] == NOW
    assert (
        opened(keys, guarded=guarded)
        .change(replace(made, parent_header=b"{}"))
        .json("parent_header")
        == {}
    )


@pytest.mark.parametrize(
    ("transient", "kept"),
    [
        ({"display_id": "d-1", "more": "secret"}, {"display_id": "d-1"}),
        ("secret", {}),
        ({}, {}),
    ],
)
def test_of_what_is_transient_only_the_display_stays(keys, transient, kept):
    content = {"data": {}, "metadata": {}, "transient": transient}
    for guarded in (True, False):
        changed = opened(keys, guarded=guarded).change(message("display_data", content))
        assert changed.json("content")["transient"] == kept


def test_a_display_with_a_long_name_is_still_updated(keys):
    guard = opened(keys, guarded=False)
    content = {"data": {}, "metadata": {}, "transient": {"display_id": "my secret plot"}}
    first, second = (
        guard.change(message(kind, content)).json("content")["transient"]
        for kind in ("display_data", "update_display_data")
    )
    assert first == second
    assert "secret" not in first["display_id"]


@pytest.mark.parametrize("guarded", [True, False])
def test_what_a_kernel_is_called_was_said_before_anything_was_open(keys, guarded):
    guard = OutputGuard(guarded=guarded, now=lambda: NOW)
    said = {"status": "ok", "language_info": {"name": "python", "version": "3.11"}}
    assert guard.change(message("kernel_info_reply", said, channel="shell")) is None
    guard.opened("dataset/rows", SEAL_ID, keys.public)
    later = {"status": "ok", "language_info": {"name": "secret"}}
    changed = guard.change(message("kernel_info_reply", later, channel="shell"))
    assert changed.json("content") == said


def test_widgets_of_our_page_keep_the_version_of_their_protocol(keys):
    made = replace(
        message("comm_open", {"comm_id": "c", "data": {}}), metadata=b'{"version": "2.1.0"}'
    )
    assert opened(keys, guarded=True).change(made).json("metadata")["version"] == "2.1.0"


@pytest.mark.parametrize("channel", ["shell", "iopub", "stdin"])
def test_a_message_of_a_strange_type_is_dropped(keys, channel):
    strange = message("said secret", {"a": "secret"}, channel=channel)
    for guarded in (True, False):
        changed = opened(keys, guarded=guarded).change(strange)
        assert "secret" not in (changed.header + changed.content).decode()
    unknown = message("custom_secret", {"a": "secret"}, channel=channel)
    changed = opened(keys, guarded=False).change(unknown)
    assert "secret" not in (changed.header + changed.content).decode()


def test_the_keeper_seals_what_only_looks_sealed(keys):
    guard = opened(keys, guarded=False)
    genuine = guard.change(message(*OUTPUTS[0])).json("content")["data"][MIME_TYPE]
    forged = {**genuine, "ciphertext": base64.b64encode(b"secret" * 20).decode()}
    content = {"data": {MIME_TYPE: forged}, "metadata": {}}
    changed = guard.change(message("display_data", content))
    assert forged["ciphertext"] not in changed.content.decode()


DEEP = b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}"


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize("channel", ["iopub", "shell"])
@pytest.mark.parametrize("part", ["header", "parent_header", "metadata", "content"])
def test_what_cannot_be_read_does_not_pass_and_ends_nothing(keys, guarded, channel, part):
    guard = opened(keys, guarded=guarded)
    observe = secure._watching(Observer(lambda: NOW).saw, guard.change)
    for bad in (DEEP, b"secret", b"[]"):
        kind = "display_data" if channel == "iopub" else "execute_reply"
        made = message(kind, {"status": "ok", "data": {"text/plain": "secret"}}, channel=channel)
        passed = observe(replace(made, **{part: bad}))
        plain = passed.header + passed.parent_header + passed.metadata
        assert b"secret" not in plain
        if bad is DEEP and part != "metadata":
            assert b"dropped" in passed.content
    fine = message("status", {"execution_state": "idle"})
    assert observe(fine).type == "status"


def test_before_anything_is_open_what_cannot_be_read_does_not_pass_either():
    guard = OutputGuard(guarded=True, now=lambda: NOW)
    observe = secure._watching(Observer(lambda: NOW).saw, guard.change)
    made = replace(message("status", {}), header=b"secret")
    assert b"secret" not in observe(made).header
