"""Kernels that this server starts, and the connections to them.

A secure kernel's keeper is told that its outputs are guarded, by a proof that holds for that
kernel only; terminals and other kernels are not, so that ``papermill`` in a terminal of the lab
gets sealed outputs. On the way to our page, the mark of an output is carried from the message's
metadata into its content. A client that is not our page gets sealed outputs.

A mark counts if it stands in the metadata of a message of a kernel that was told: the keeper
put it there, over whatever the kernel said. What any kernel's content says of marks is dropped.
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

from jupyter_aisec.errors import AisecError
from jupyter_aisec.sealed.messages import (
    GUARD_VARIABLE,
    MARK,
    OUTPUT_TYPES,
    as_output,
    guard_token,
    paged,
    sealed_message,
    unmarked,
)
from jupyter_aisec.server.digests import Streams
from jupyter_aisec.server.marks import Mark, carry, parse_mark, proved
from jupyter_aisec.server.page import is_our_page
from jupyter_aisec.server.seen import Seen

__all__ = ["SEEN", "GuardedConnection", "GuardedKernelManager"]

SEEN = "aisec_seen"
"""The setting of the web application under which connections find what the server has Seen."""
_KEEPER = "jupyter_aisec.kernel.launch"
_V1 = "v1.kernel.websocket.jupyter.org"
_HEADER, _PARENT, _METADATA, _CONTENT = range(4)
_WITHHELD = {
    "text/plain": "An output was withheld: it is to be sealed, and this server did not start its "
    "kernel. Open the notebook in the JupyterLab that did."
}


class GuardedKernelManager(ServerKernelManager):
    """Tells each keeper it starts that this server seals outputs on save."""

    aisec_told = False
    """Whether there is a keeper in front of the kernel that runs, and it was told."""

    async def _async_pre_start_kernel(self, **kw: Any) -> tuple[list[str], dict[str, Any]]:
        command, given = await super()._async_pre_start_kernel(**kw)
        environment = {**(given.get("env") or os.environ)}
        environment.pop(GUARD_VARIABLE, None)
        # The parent is the manager of all kernels, its parent the server. Where the extension
        # did not load, nothing is said, and the keeper seals.
        server = getattr(self.parent, "parent", None)
        loaded = server is not None and SEEN in server.web_app.settings
        self.aisec_told = bool(loaded and _KEEPER in command and self.session.key)
        if self.aisec_told:
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
            kind = error.code if isinstance(error, AisecError) else type(error).__name__
            self.log.error("jupyter_aisec: dropped a message (%s)", kind)
            return
        if passed is not None:
            super().handle_outgoing_message(stream, passed)

    def _changed(self, message: list[Any]) -> list[Any] | None:
        identities, fed = self.session.feed_identities(message)
        parts = [part if isinstance(part, bytes) else part.bytes for part in fed[1:5]]
        header, parent, metadata = (json.loads(part) for part in parts[:_CONTENT])
        kind = header["msg_type"]
        is_marked = MARK in metadata
        if not is_marked and kind not in OUTPUT_TYPES and kind != "execute_reply":
            return message
        content = json.loads(parts[_CONTENT])
        bare = unmarked(content)
        # Whoever else marks would have what is shown sealed to a key of their own.
        told = getattr(self.kernel_manager, "aisec_told", False)
        mark = parse_mark(metadata[MARK]) if is_marked and told else None
        if mark is not None or not is_marked:
            self._note(kind, str(parent.get("msg_id", "")), bare, mark)
        if not is_marked and bare == content:
            return message
        buffers = fed[5:]
        if is_marked and not (mark is not None and self._is_page):
            sealed = sealed_message(kind, bare, lambda one: self._sealed(one, mark))
            if sealed is None:
                return None
            header["msg_type"], bare = sealed
            parts[_HEADER], parts[_METADATA], buffers = _json(header), b"{}", []
        elif mark is not None and kind in OUTPUT_TYPES:
            bare = carry(kind, mark, bare, self._seen.proofs.of(proved(mark)))
        parts[_CONTENT] = _json(bare)
        return [*identities, DELIM, self.session.sign(parts), *parts, *buffers]

    def _sealed(self, output: dict[str, Any], mark: Mark | None) -> dict[str, Any]:
        if mark is None:
            return {"data": dict(_WITHHELD)}
        return self._seen.sealer.seal(output, mark.keys())

    def _note(self, kind: str, parent: str, content: dict[str, Any], mark: Mark | None) -> None:
        shown = paged(content) if kind == "execute_reply" else []
        if kind in OUTPUT_TYPES:
            shown = [as_output(kind, content)]
        for output in shown:
            self._streams.saw(parent, output, mark)
        if mark is not None:
            self._seen.openings.came(self.kernel_id, mark)
            # What a person answers becomes an output too, one that the page makes by itself.
            if shown or kind == "input_request":
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
