"""Kernels that this server starts, and the browser's connections to them.

A kernel is told that its outputs are guarded (``AISEC_OUTPUT_GUARD=1``); its terminals are
not, so that ``papermill`` in a terminal of the lab gets sealed outputs. On the way to the
browser, the mark of an output is carried from the message's metadata into its content.
"""

from __future__ import annotations

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

from jupyter_aisec.server.executions import Executions
from jupyter_aisec.server.marks import MARK, OUTPUT_TYPES, carry, parse_mark

__all__ = ["EXECUTIONS", "GuardedConnection", "GuardedKernelManager"]

#: The setting of the web application under which connections find the server's Executions.
EXECUTIONS = "aisec_executions"
_V1 = "v1.kernel.websocket.jupyter.org"
_HEADER, _PARENT, _METADATA, _CONTENT = range(4)


class GuardedKernelManager(ServerKernelManager):
    """Tells each kernel it starts that this server seals outputs on save."""

    async def _async_pre_start_kernel(self, **kw: Any) -> tuple[list[str], dict[str, Any]]:
        # The parent is the manager of all kernels, its parent the server. Where the extension
        # did not load, nothing is said, and the keeper seals.
        server = getattr(self.parent, "parent", None)
        if server is not None and EXECUTIONS in server.web_app.settings:
            kw["env"] = {**(kw.get("env") or os.environ), "AISEC_OUTPUT_GUARD": "1"}
        return await super()._async_pre_start_kernel(**kw)


class GuardedConnection(ZMQChannelsWebsocketConnection):
    """Carries marks into what the browser keeps, and notes which cells were marked."""

    @property
    def _executions(self) -> Executions:
        executions: Executions = self.websocket_handler.settings[EXECUTIONS]
        return executions

    def handle_incoming_message(self, incoming_msg: Any) -> None:
        """From the browser to the kernel: which cell does an execution belong to?"""
        request = _execute_request(incoming_msg, v1=self.subprotocol == _V1)
        if request is not None:
            self._executions.asked(*request)
        super().handle_incoming_message(incoming_msg)

    def handle_outgoing_message(self, stream: Any, outgoing_msg: list[Any]) -> None:
        """From the kernel to the browser."""
        super().handle_outgoing_message(stream, self._carried(outgoing_msg))

    def _carried(self, message: list[Any]) -> list[Any]:
        identities, fed = self.session.feed_identities(message)
        parts = [part if isinstance(part, bytes) else part.bytes for part in fed[1:5]]
        if f'"{MARK}"'.encode() not in parts[_METADATA]:
            return message
        metadata = msgspec.json.decode(parts[_METADATA], type=dict[str, Any])
        type_ = msgspec.json.decode(parts[_HEADER], type=dict[str, Any])["msg_type"]
        if MARK not in metadata or type_ not in OUTPUT_TYPES:
            return message
        mark = parse_mark(metadata[MARK])
        parent = msgspec.json.decode(parts[_PARENT], type=dict[str, Any])
        self._executions.came(parent.get("msg_id", ""), mark)
        content = msgspec.json.decode(parts[_CONTENT], type=dict[str, Any])
        parts[_CONTENT] = msgspec.json.encode(carry(type_, mark, content))
        return [*identities, DELIM, self.session.sign(parts), *parts, *fed[5:]]


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
