"""Kernels that this server starts, and the connections to them.

A secure kernel's keeper is told that its outputs are guarded, by a proof that holds for that
kernel only; terminals and other kernels are not, so that ``papermill`` in a terminal of the lab
gets sealed outputs. On the way to our page, the mark of an output is carried from the message's
metadata into its content. A client that is not our page gets sealed outputs.
"""

from __future__ import annotations

import json
import os
from typing import Any

import msgspec
from jupyter_client.session import DELIM
from jupyter_server.services.kernels.connection.base import (
    deserialize_binary_message,
    deserialize_msg_from_ws_v1,
)
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection
from jupyter_server.services.kernels.kernelmanager import ServerKernelManager

from jupyter_aisec.sealed.messages import (
    GUARD_VARIABLE,
    MARK,
    OUTPUT_TYPES,
    as_output,
    guard_token,
    paged,
    sealed_message,
)
from jupyter_aisec.server.digests import Streams
from jupyter_aisec.server.marks import Mark, carry, parse_mark
from jupyter_aisec.server.page import is_our_page
from jupyter_aisec.server.seen import Seen

__all__ = ["SEEN", "GuardedConnection", "GuardedKernelManager"]

SEEN = "aisec_seen"
"""The setting of the web application under which connections find what the server has Seen."""
_KEEPER = "jupyter_aisec.kernel.launch"
_V1 = "v1.kernel.websocket.jupyter.org"
_HEADER, _PARENT, _METADATA, _CONTENT = range(4)


class GuardedKernelManager(ServerKernelManager):
    """Tells each keeper it starts that this server seals outputs on save."""

    async def _async_pre_start_kernel(self, **kw: Any) -> tuple[list[str], dict[str, Any]]:
        command, given = await super()._async_pre_start_kernel(**kw)
        environment = {**(given.get("env") or os.environ)}
        environment.pop(GUARD_VARIABLE, None)
        # The parent is the manager of all kernels, its parent the server. Where the extension
        # did not load, nothing is said, and the keeper seals.
        server = getattr(self.parent, "parent", None)
        loaded = server is not None and SEEN in server.web_app.settings
        if loaded and _KEEPER in command and self.session.key:
            environment[GUARD_VARIABLE] = guard_token(self.session.key)
        return command, {**given, "env": environment}


class GuardedConnection(ZMQChannelsWebsocketConnection):
    """Carries marks into what our page keeps, notes what came, seals for everybody else."""

    def __init__(self, **kw: Any) -> None:
        super().__init__(**kw)
        self._seen: Seen = self.websocket_handler.settings[SEEN]
        self._streams = Streams(self._seen.digests)
        self._is_page = is_our_page(self.websocket_handler)

    def handle_incoming_message(self, incoming_msg: Any) -> None:
        """From the browser to the kernel: which cell does an execution belong to?"""
        request = _execute_request(incoming_msg, v1=self.subprotocol == _V1)
        if request is not None:
            self._seen.executions.asked(*request)
        super().handle_incoming_message(incoming_msg)

    def handle_outgoing_message(self, stream: Any, outgoing_msg: list[Any]) -> None:
        """From the kernel to the browser; what cannot be read goes nowhere."""
        try:
            passed = self._changed(outgoing_msg)
        except Exception as error:
            # Its text may quote the message.
            self.log.error("jupyter_aisec: dropped a message (%s)", type(error).__name__)
            return
        if passed is not None:
            super().handle_outgoing_message(stream, passed)

    def _changed(self, message: list[Any]) -> list[Any] | None:
        identities, fed = self.session.feed_identities(message)
        parts = [part if isinstance(part, bytes) else part.bytes for part in fed[1:5]]
        header, parent, metadata = (json.loads(part) for part in parts[:_CONTENT])
        kind = header["msg_type"]
        mark = parse_mark(metadata[MARK]) if MARK in metadata else None
        if mark is None and kind not in OUTPUT_TYPES and kind != "execute_reply":
            return message
        content = json.loads(parts[_CONTENT])
        self._note(kind, str(parent.get("msg_id", "")), content, mark)
        if mark is None:
            return message
        buffers = fed[5:]
        if not self._is_page:
            keys = mark.keys()
            sealed = sealed_message(kind, content, lambda one: self._seen.sealer.seal(one, keys))
            if sealed is None:
                return None
            header["msg_type"], content = sealed
            parts[_HEADER], buffers = _json(header), []
        elif kind in OUTPUT_TYPES:
            content = carry(kind, mark, content)
        parts[_CONTENT] = _json(content)
        return [*identities, DELIM, self.session.sign(parts), *parts, *buffers]

    def _note(self, kind: str, parent: str, content: dict[str, Any], mark: Mark | None) -> None:
        shown = paged(content) if kind == "execute_reply" else []
        if kind in OUTPUT_TYPES:
            shown = [as_output(kind, content)]
        for output in shown:
            self._streams.saw(parent, output, mark)
        if mark is not None:
            self._seen.openings.came(self.kernel_id, mark)
            if shown:
                self._seen.executions.came(parent, mark)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


def _execute_request(message: Any, *, v1: bool) -> tuple[str, str] | None:
    """Message id and cell id of a browser's ``execute_request`` for a cell, else None.

    ``v1`` is the binary websocket protocol; the older one is JSON, or binary with buffers.
    """
    data = message.encode() if isinstance(message, str) else message
    if b"execute_request" not in data:
        return None
    if v1:
        _, parts = deserialize_msg_from_ws_v1(data)
        header = msgspec.json.decode(parts[_HEADER], type=dict[str, Any])
        metadata = msgspec.json.decode(parts[_METADATA], type=dict[str, Any])
    else:
        whole = (
            msgspec.json.decode(data, type=dict[str, Any])
            if isinstance(message, str)
            else deserialize_binary_message(data)
        )
        header, metadata = whole.get("header", {}), whole.get("metadata", {})
    cell = metadata.get("cellId")
    if header.get("msg_type") != "execute_request" or not isinstance(cell, str):
        return None
    return str(header.get("msg_id")), cell
