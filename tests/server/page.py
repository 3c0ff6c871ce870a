"""A browser's side of a kernel connection, over both websocket protocols."""

from __future__ import annotations

import json
import uuid
from typing import Any

import websocket
from jupyter_server.services.kernels.connection.base import (
    deserialize_msg_from_ws_v1,
    serialize_binary_message,
    serialize_msg_to_ws_v1,
)

from tests.jupyter import Server

V1 = "v1.kernel.websocket.jupyter.org"
OUTPUTS = ("stream", "display_data", "execute_result", "error")


def page_cookie(server: Server) -> str:
    """What the server gives to a page in which our lab extension runs."""
    answer = server.request("POST", "aisec/page")
    answer.raise_for_status()
    return "; ".join(f"{one.name}={one.value}" for one in answer.cookies)


class Page:
    """A browser's side of a kernel connection."""

    def __init__(
        self,
        server: Server,
        kernel: str,
        *,
        v1: bool,
        binary: bool = False,
        ours: bool = True,
        cookie: str | None = None,
    ) -> None:
        self.v1, self.binary = v1, binary
        self.session = uuid.uuid4().hex
        self.came: list[dict[str, Any]] = []
        """Every message of the kernel's: type, metadata and content."""
        self.socket = websocket.create_connection(
            f"ws{server.url[4:]}api/kernels/{kernel}/channels?session_id={self.session}",
            header={"Authorization": f"token {server.token}"},
            cookie=page_cookie(server) if ours else cookie,
            subprotocols=[V1] if v1 else None,
            timeout=60,
        )

    def run(self, code: str, cell: str) -> list[dict[str, Any]]:
        """The outputs of a cell as a notebook would keep them."""
        return self._outputs(self._ask(code, cell))

    def answer(self, code: str, cell: str, answer: str) -> list[dict[str, Any]]:
        """As :meth:`run`, of a cell that asks a question; it gets ``answer``."""
        asked = self._ask(code, cell, allow_stdin=True)
        while self._receive()[0] != "input_request":
            pass
        self._send("stdin", "input_reply", {"value": answer, "status": "ok"}, {})
        return self._outputs(asked)

    def _ask(self, code: str, cell: str, *, allow_stdin: bool = False) -> str:
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "allow_stdin": allow_stdin,
        }
        return self._send("shell", "execute_request", content, {"cellId": cell})

    def _send(
        self, channel: str, kind: str, content: dict[str, Any], metadata: dict[str, Any]
    ) -> str:
        header = {
            "msg_id": uuid.uuid4().hex,
            "msg_type": kind,
            "session": self.session,
            "username": "",
            "version": "5.4",
            "date": "2026-11-22T10:00:00Z",
        }
        message = {
            "header": header,
            "parent_header": {},
            "metadata": metadata,
            "content": content,
        }
        if self.v1:
            packed = serialize_msg_to_ws_v1(message, channel, lambda v: json.dumps(v).encode())
            self.socket.send_binary(packed)
        elif self.binary:
            whole = {**message, "channel": channel, "buffers": [b"buffer"]}
            self.socket.send_binary(serialize_binary_message(whole))
        else:
            self.socket.send(json.dumps({**message, "channel": channel, "buffers": []}))
        return header["msg_id"]

    def _outputs(self, asked: str) -> list[dict[str, Any]]:
        outputs = []
        while True:
            type_, parent, content = self._receive()
            if parent.get("msg_id") != asked:
                continue
            if type_ in OUTPUTS:
                outputs.append({"output_type": type_, **content})
            if type_ == "update_display_data":
                kept = {name: value for name, value in content.items() if name != "transient"}
                outputs.append({"output_type": "display_data", **kept})
            if type_ == "status" and content["execution_state"] == "idle":
                return outputs

    def _receive(self) -> tuple[str, dict[str, Any], dict[str, Any]]:
        data = self.socket.recv()
        if self.v1:
            assert isinstance(data, bytes)
            _, parts = deserialize_msg_from_ws_v1(data)
            header, parent, metadata, content = (json.loads(part) for part in parts[:4])
        else:
            message = json.loads(data)
            header, parent = message["header"], message["parent_header"]
            metadata, content = message["metadata"], message["content"]
        self.came.append({"type": header["msg_type"], "metadata": metadata, "content": content})
        return header["msg_type"], parent, content
