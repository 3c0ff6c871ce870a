"""A marking kernel behind a real server, over both websocket protocols, up to the file."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import websocket
from jupyter_server.services.kernels.connection.base import (
    deserialize_msg_from_ws_v1,
    serialize_binary_message,
    serialize_msg_to_ws_v1,
)

from jupyter_aisec.sealed.outputs import MIME_TYPE
from tests.jupyter import Server

V1 = "v1.kernel.websocket.jupyter.org"
OUTPUTS = ("stream", "display_data", "execute_result", "error")


@pytest.fixture
def kernel(server: Server) -> Iterator[str]:
    answer = server.request("POST", "api/kernels", json={"name": "marking"})
    answer.raise_for_status()
    id_ = answer.json()["id"]
    yield id_
    server.request("DELETE", f"api/kernels/{id_}")


class Page:
    """A browser's side of a kernel connection."""

    def __init__(self, server: Server, kernel: str, *, v1: bool, binary: bool = False) -> None:
        self.v1, self.binary = v1, binary
        self.session = uuid.uuid4().hex
        self.socket = websocket.create_connection(
            f"ws{server.url[4:]}api/kernels/{kernel}/channels?session_id={self.session}",
            header={"Authorization": f"token {server.token}"},
            subprotocols=[V1] if v1 else None,
            timeout=60,
        )

    def run(self, code: str, cell: str) -> list[dict[str, Any]]:
        """The outputs of a cell as a notebook would keep them."""
        header = {
            "msg_id": uuid.uuid4().hex,
            "msg_type": "execute_request",
            "session": self.session,
            "username": "",
            "version": "5.4",
            "date": "2026-11-22T10:00:00Z",
        }
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False}
        message = {
            "header": header,
            "parent_header": {},
            "metadata": {"cellId": cell},
            "content": content,
        }
        if self.v1:
            packed = serialize_msg_to_ws_v1(message, "shell", lambda v: json.dumps(v).encode())
            self.socket.send_binary(packed)
        elif self.binary:
            whole = {**message, "channel": "shell", "buffers": [b"buffer"]}
            self.socket.send_binary(serialize_binary_message(whole))
        else:
            self.socket.send(json.dumps({**message, "channel": "shell", "buffers": []}))
        outputs = []
        while True:
            type_, parent, content = self._receive()
            if parent.get("msg_id") != header["msg_id"]:
                continue
            if type_ in OUTPUTS:
                outputs.append({"output_type": type_, **content})
            if type_ == "status" and content["execution_state"] == "idle":
                return outputs

    def _receive(self) -> tuple[str, dict[str, Any], dict[str, Any]]:
        data = self.socket.recv()
        if self.v1:
            assert isinstance(data, bytes)
            _, parts = deserialize_msg_from_ws_v1(data)
            header, parent, _, content = (json.loads(part) for part in parts[:4])
        else:
            message = json.loads(data)
            header, parent = message["header"], message["parent_header"]
            content = message["content"]
        return header["msg_type"], parent, content


@pytest.mark.parametrize(
    ("v1", "binary"),
    [
        pytest.param(True, False, id="v1"),
        pytest.param(False, False, id="JSON"),
        pytest.param(False, True, id="JSON with buffers"),
    ],
)
def test_from_the_kernel_to_the_file_nothing_marked_is_plain(
    server: Server, kernel: str, v1: bool, binary: bool
) -> None:
    page = Page(server, kernel, v1=v1, binary=binary)
    path = f"{uuid.uuid4().hex}.ipynb"
    before = page.run("print('a plain card', guard)", "before")
    assert before == [{"output_type": "stream", "name": "stdout", "text": "a plain card 1\n"}]
    late = "state['opened'] = True; print('47', '11-rare', sep='')"
    mixed = page.run("print('early', end='', flush=True); " + late, "mixed")
    # What a browser makes of the pieces of a stream: the first one's fields, all texts.
    joined = {**mixed[0], "text": "".join(piece["text"] for piece in mixed)}
    assert "aisec" not in joined
    shown = page.run("import no_module_4711_rare", "error")
    assert "aisec" in shown[0]
    result = page.run("'4711' + '-rare'", "result")
    assert "aisec" in result[0]["metadata"]
    cells = [
        {
            "cell_type": "code",
            "id": id_,
            "metadata": {},
            "execution_count": 1,
            "source": "",
            "outputs": outputs,
        }
        for id_, outputs in (
            ("before", before),
            ("mixed", [joined]),
            ("error", shown),
            ("result", result),
        )
    ]
    content = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    for _ in range(2):
        answer = server.save(path, type="notebook", format="json", content=content)
        assert answer.status_code in (200, 201), answer.text
        assert "message" not in answer.json()
    text = (server.folder / path).read_text()
    assert "4711" not in text
    assert "a plain card" in text
    assert text.count(f'"{MIME_TYPE}"') == 3
    log = server.log.read_text()
    assert "error linking" not in log
    assert "without encryption" not in log, "kernels that can speak CurveZMQ do"


def test_a_save_that_cannot_be_sealed_is_refused_by_the_server(server: Server) -> None:
    bad = {"output_type": "stream", "name": "stdout", "text": "4711", "aisec": {}}
    cell = {
        "cell_type": "code",
        "id": "a",
        "metadata": {},
        "execution_count": 1,
        "source": "",
        "outputs": [bad],
    }
    content = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    answer = server.save("refused.ipynb", type="notebook", format="json", content=content)
    assert answer.status_code == 500
    assert "Not saved" in answer.text
    assert not (server.folder / "refused.ipynb").exists()
    assert "4711" not in server.log.read_text()


def test_a_terminal_is_not_told_of_the_guard(server: Server) -> None:
    """``papermill`` in a terminal of the lab writes its own file: the keeper must seal there."""
    answer = server.request("POST", "api/terminals")
    if answer.status_code == 404:  # a server without terminals
        return
    name = answer.json()["name"]
    socket = websocket.create_connection(
        f"ws{server.url[4:]}terminals/websocket/{name}",
        header={"Authorization": f"token {server.token}"},
        timeout=60,
    )
    socket.send(json.dumps(["stdin", 'echo "guard=<$AISEC_OUTPUT_GUARD>"\r']))
    seen = ""
    while "guard=<>" not in seen and "guard=<1>" not in seen:
        kind, *rest = json.loads(socket.recv())
        seen += rest[0] if kind == "stdout" else ""
    server.request("DELETE", f"api/terminals/{name}")
    assert "guard=<>" in seen
