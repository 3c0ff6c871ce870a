"""What leaves a secure kernel once an artifact is open in it.

A front end with our output guard (the lab, through our server extension) shows outputs live;
the keeper marks each with the artifacts it was made from, and the server seals it on save.
Any other front end (papermill, ``jupyter execute``, VS Code) writes what it gets to disk: it
gets sealed outputs, and no state of widgets.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import threading
from typing import Any

from jupyter_aisec.confine.wire import Message
from jupyter_aisec.sealed.outputs import OutputKey, OutputSealer

__all__ = ["MARK", "OutputGuard"]

MARK = "aisec"
"""The name in a message's metadata under which the server extension finds the recipients."""
_OUTPUTS = frozenset({"stream", "display_data", "update_display_data", "execute_result", "error"})
_WIDGETS = frozenset({"comm_open", "comm_msg", "comm_close"})
_WITH_ID = frozenset({"display_data", "update_display_data"})


class OutputGuard:
    """``guarded``: the server said ``AISEC_OUTPUT_GUARD=1`` when it started the kernel."""

    def __init__(self, *, guarded: bool) -> None:
        self._guarded = guarded
        self._lock = threading.Lock()
        self._recipients: dict[OutputKey, bytes] = {}
        self._sealer = OutputSealer()

    def opened(self, artifact: str, seal_id: str, output_key: bytes) -> None:
        """Keys of this version went to the kernel: what comes out now may be made from it."""
        with self._lock:
            self._recipients[OutputKey(artifact=artifact, seal_id=seal_id)] = output_key

    def change(self, message: Message) -> Message | None:
        """The message to pass on instead, or None for the message as it is."""
        if message.direction != "out":
            return None
        with self._lock:
            recipients = dict(self._recipients)
        if not recipients:
            return None
        kind = message.type
        if self._guarded:
            return _marked(message, recipients) if kind in _OUTPUTS else None
        if message.channel == "iopub":
            if kind in _OUTPUTS:
                return self._sealed(message, kind, recipients)
            if kind in _WIDGETS:
                # The front end would keep a widget's state in the notebook: it learns nothing.
                return message.with_parts(content={"comm_id": "", "data": {}})
        if kind == "execute_reply":
            return _silenced(message)
        return None

    def _sealed(self, message: Message, kind: str, recipients: dict[OutputKey, bytes]) -> Message:
        content = message.json("content")
        sealed = self._sealer.seal(_as_output(kind, content), recipients)
        shown: dict[str, Any] = {"data": sealed["data"], "metadata": {}}
        if kind in _WITH_ID:
            shown["transient"] = content.get("transient", {})
        header = message.json("header")
        # An update stays one: it replaces what has its display id.
        header["msg_type"] = kind if kind == "update_display_data" else "display_data"
        changed = dataclasses.replace(message, header=json.dumps(header).encode(), buffers=())
        return changed.with_parts(content=shown, metadata={})


def _as_output(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    """A message's content as an output of a notebook (nbformat 4)."""
    output_type = "display_data" if kind == "update_display_data" else kind
    kept = {name: value for name, value in content.items() if name != "transient"}
    return {"output_type": output_type, **kept}


def _marked(message: Message, recipients: dict[OutputKey, bytes]) -> Message:
    mark = {
        "recipients": [
            {
                "artifact": key.artifact,
                "seal_id": key.seal_id,
                "output_key": base64.b64encode(recipients[key]).decode(),
            }
            for key in sorted(recipients)
        ]
    }
    return message.with_parts(metadata={**message.json("metadata"), MARK: mark})


def _silenced(message: Message) -> Message:
    """A reply without what it may quote: error text, pager payloads, user expressions."""
    content = message.json("content")
    changed = {**content, "payload": [], "user_expressions": {}}
    if content.get("status") == "error":
        changed |= {"evalue": "sealed: open the notebook in a secure kernel", "traceback": []}
    return message.with_parts(content=changed)
