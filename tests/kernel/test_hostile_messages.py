"""What a notebook's own code puts into messages, and what the keeper lets pass of it."""

from __future__ import annotations

import base64
import json
from dataclasses import replace

import pytest

from jupyter_aisec.errors import MalformedError
from jupyter_aisec.kernel.outputs import OutputGuard
from jupyter_aisec.sealed.outputs import MIME_TYPE, open_output, read_output, unwrap_content_key
from jupyter_aisec.sealed.release import ReleaseKey
from tests.kernel.test_messages import NOW, OUTPUTS, SEAL_ID, asked, message, opened

MINE = ReleaseKey.generate()
CLAIM = {
    "recipients": [
        {
            "artifact": "dataset/rows",
            "seal_id": SEAL_ID,
            "output_key": base64.b64encode(MINE.public).decode(),
        }
    ]
}
KINDS = [
    *OUTPUTS,
    ("comm_open", {"comm_id": "c", "target_name": "t", "data": {}}),
    ("comm_msg", {"comm_id": "c", "data": {"state": {}}}),
    ("execute_reply", {"status": "ok", "payload": []}),
    ("input_request", {"prompt": "", "password": False}),
    ("status", {"execution_state": "busy"}),
    ("debug_event", {"type": "event"}),
    ("kernel_info_reply", {"status": "ok"}),
]
CHANNELS = {"execute_reply": "shell", "kernel_info_reply": "shell", "input_request": "stdin"}


@pytest.fixture
def keys():
    return ReleaseKey.generate()


def forged(kind, content):
    """The message with ``CLAIM`` wherever a reader of marks might look, and in its data."""
    metadata = {**content.get("metadata", {}), "aisec": CLAIM, "kept": 1}
    made = message(
        kind,
        {**content, "aisec": CLAIM, "metadata": metadata},
        channel=CHANNELS.get(kind, "iopub"),
    )
    return replace(made, metadata=json.dumps({"aisec": CLAIM, "kept": 1}).encode())


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize(("kind", "content"), KINDS, ids=[kind for kind, _ in KINDS])
def test_no_mark_of_a_kernel_passes_before_anything_is_open(guarded, kind, content):
    guard = OutputGuard(guarded=guarded, now=lambda: NOW)
    changed = guard.change(forged(kind, content))
    assert changed.json("metadata") == {"kept": 1}
    assert changed.json("content") == {**content, "metadata": {"kept": 1}}
    assert b"aisec" not in b"".join((changed.header, changed.metadata, changed.content))
    assert changed.buffers == (b"buffer",)


@pytest.mark.parametrize(("kind", "content"), KINDS, ids=[kind for kind, _ in KINDS])
def test_only_the_keepers_mark_passes_when_something_is_open(keys, kind, content):
    changed = opened(keys, guarded=True).change(forged(kind, content))
    (recipient,) = changed.json("metadata")["aisec"]["recipients"]
    assert base64.b64decode(recipient["output_key"]) == keys.public
    assert b"aisec" not in changed.content
    assert CLAIM["recipients"][0]["output_key"].encode() not in changed.metadata


@pytest.mark.parametrize(("kind", "content"), OUTPUTS, ids=[kind for kind, _ in OUTPUTS])
def test_what_the_keeper_seals_has_no_mark_when_it_is_opened_again(keys, kind, content):
    changed = opened(keys, guarded=False).change(forged(kind, content))
    assert changed.json("metadata") == {}
    sealed = read_output(changed.json("content")["data"][MIME_TYPE])
    output = open_output(sealed, unwrap_content_key(sealed.header, lambda _: keys))
    assert "aisec" not in json.dumps(output)


def test_a_mark_is_found_however_it_is_written():
    """With an escape in its name, or twice: what reads it later reads JSON too."""
    guard = OutputGuard(guarded=True, now=lambda: NOW)
    claim = json.dumps(CLAIM)
    for written in (f'{{"\\u0061isec": {claim}}}', f'{{"aisec": 1, "aisec": {claim}}}'):
        made = message("display_data", {"data": {}})
        changed = guard.change(replace(made, metadata=written.encode()))
        assert changed.json("metadata") == {}
        content = f'{{"data": {{}}, "metadata": {written}}}'.encode()
        assert guard.change(replace(made, content=content)).json("content")["metadata"] == {}


def test_what_a_kernel_called_itself_with_a_mark_is_kept_without_it(keys):
    guard = OutputGuard(guarded=True, now=lambda: NOW)
    guard.change(forged("kernel_info_reply", {"status": "ok", "banner": "b"}))
    guard.opened("dataset/rows", SEAL_ID, keys.public)
    later = guard.change(message("kernel_info_reply", {"banner": "secret"}, channel="shell"))
    assert later.json("content") == {"status": "ok", "banner": "b", "metadata": {"kept": 1}}


def test_a_version_has_one_output_key(keys):
    guard = opened(keys, guarded=True)
    guard.opened("dataset/rows", SEAL_ID, keys.public)
    with pytest.raises(MalformedError) as caught:
        guard.opened("dataset/rows", SEAL_ID, MINE.public)
    assert caught.value.code == "output-keys-differ"
    (recipient,) = guard.change(message(*OUTPUTS[0])).json("metadata")["aisec"]["recipients"]
    assert base64.b64decode(recipient["output_key"]) == keys.public


@pytest.mark.parametrize("guarded", [True, False])
def test_a_count_is_no_higher_than_the_number_of_cells_run(keys, guarded):
    """A notebook keeps it in the clear: twenty bits a cell, where it was any number."""
    guard = OutputGuard(guarded=guarded, now=lambda: NOW)
    guard.opened("dataset/rows", SEAL_ID, keys.public)
    for msg_id in ("m1", "m2"):
        guard.change(asked(msg_id, "x"))
    guard.change(message("kernel_info_request", {}, direction="in", channel="shell"))
    for count, kept in ((2, 2), (3, 0), (471_147, 0), (-1, 0), (1.5, 0), (True, 0), ("2", 0)):
        for kind in ("execute_input", "execute_reply"):
            made = message(kind, {"status": "ok", "code": "", "execution_count": count})
            assert guard.change(made).json("content")["execution_count"] == kept


def test_metadata_of_widgets_is_the_version_of_their_protocol_and_nothing_else(keys):
    made = message("comm_open", {"comm_id": "c", "data": {}})
    for said, kept in (("2.1.0", {"version": "2.1.0"}), ("secret", {}), ({"a": "secret"}, {})):
        metadata = json.dumps({"version": said, "more": "secret"}).encode()
        changed = opened(keys, guarded=True).change(replace(made, metadata=metadata))
        shown = changed.json("metadata")
        shown.pop("aisec")
        assert shown == kept


@pytest.mark.parametrize("guarded", [True, False])
def test_no_history_is_put_into_what_a_person_writes(keys, guarded):
    """A page's shortcut writes the last entry into a cell, and the cell is saved."""
    reply = message("history_reply", {"status": "ok", "history": [[1, 1, "secret"]]})
    assert opened(keys, guarded=guarded).change(reply).json("content")["history"] == []


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        pytest.param(
            {"status": "incomplete", "indent": "    "},
            {"status": "incomplete", "indent": "    "},
            id="fine",
        ),
        pytest.param(
            {"status": "secret", "indent": "secret", "more": "secret"},
            {"status": "unknown", "indent": ""},
            id="words",
        ),
        pytest.param(
            {"status": "complete", "indent": 7}, {"status": "complete", "indent": ""}, id="number"
        ),
    ],
)
def test_no_indentation_is_put_into_what_a_person_writes(keys, said, kept):
    reply = message("is_complete_reply", said, channel="shell")
    assert opened(keys, guarded=True).change(reply).json("content") == kept


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        ("complete_reply", {"status": "ok", "matches": ["df.secret"], "metadata": {"a": "secret"}}),
        ("inspect_reply", {"status": "ok", "found": True, "data": {"text/plain": "secret"}}),
        ("history_reply", {"status": "ok", "history": [[0, 1, "secret"]]}),
        ("is_complete_reply", {"status": "incomplete", "indent": "secret"}),
        ("comm_info_reply", {"status": "ok", "comms": {"secret": {"target_name": "secret"}}}),
        ("debug_reply", {"success": True, "body": {"variables": [{"value": "secret"}]}}),
        ("create_subshell_reply", {"status": "ok", "subshell_id": "the secret"}),
        ("list_subshell_reply", {"status": "ok", "subshell_id": ["secret"]}),
        ("interrupt_reply", {"status": "secret", "more": "secret"}),
        ("shutdown_reply", {"status": "ok", "restart": "secret"}),
        ("execute_reply", {"status": "secret", "more": "secret"}),
        ("secret_reply", {"status": "ok"}),
        ("execute_input", {"code": "secret", "execution_count": "secret"}),
        ("clear_output", {"wait": "secret"}),
        ("iopub_welcome", {"subscription": "secret"}),
        ("debug_event", {"body": "secret"}),
    ],
)
def test_an_unguarded_front_end_is_told_nothing_that_a_kernel_can_choose(keys, kind, content):
    channel = "shell" if kind.endswith("_reply") else "iopub"
    changed = opened(keys, guarded=False).change(message(kind, content, channel=channel))
    said = b"".join((*changed.prefix, changed.header, changed.metadata, changed.content))
    assert b"secret" not in said.replace(b"in a secure kernel", b"")
    assert json.loads(changed.parent_header)["msg_id"] == "m1", "nobody waits in vain"
