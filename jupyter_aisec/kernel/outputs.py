"""What leaves a secure kernel once an artifact is open in it.

A front end with our output guard (the lab, through our server extension) shows outputs live;
the keeper marks every message with the artifacts it may be made from, and the server seals on
save. Any other front end (papermill, ``jupyter execute``, VS Code) writes what it gets to
disk: it gets sealed outputs, and no state of widgets.

Either way, what a front end writes down besides outputs is not the kernel's to choose: dates
are the keeper's, counts are numbers, a cell's source is not replaced.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import re
import threading
import uuid
from collections.abc import Callable
from typing import Any

from jupyter_aisec.confine.wire import Message, new_message
from jupyter_aisec.sealed.messages import MARK, PAGED, WIDGET_TYPES, sealed_message
from jupyter_aisec.sealed.outputs import OutputKey, OutputSealer

__all__ = ["OutputGuard", "dropped"]

_PAYLOADS = frozenset({PAGED, "ask_exit"})  # not set_next_input: it writes into a cell
_STATES = frozenset({"busy", "idle", "starting"})
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
_TYPE = re.compile(r"[a-z_]{1,40}")
_DATE = re.compile(r"[0-9T:.+-]{1,40}Z?")
_MOST_COUNTED = 1_000_000  # cells run in one kernel
_LANGUAGE = {"name": "python", "file_extension": ".py", "mimetype": "text/x-python"}


class OutputGuard:
    """Marks or seals what comes out of one kernel.

    ``guarded`` says that the server proved, when it started the kernel, that it seals on save:
    then messages are marked, else sealed. ``now`` gives the time as text (RFC 3339).
    """

    def __init__(self, *, guarded: bool, now: Callable[[], str]) -> None:
        self._guarded = guarded
        self._now = now
        self._lock = threading.Lock()
        self._recipients: dict[OutputKey, bytes] = {}
        self._sealer = OutputSealer()
        self._info: dict[str, Any] = {"status": "ok", "language_info": _LANGUAGE}

    def opened(self, artifact: str, seal_id: str, output_key: bytes) -> None:
        """Keys of this version went to the kernel: what comes out now may be made from it."""
        with self._lock:
            self._recipients[OutputKey(artifact=artifact, seal_id=seal_id)] = output_key

    def change(self, message: Message) -> Message | None:
        """The message to pass on instead, or None for the message as it is.

        Raises what reading it raises: one that cannot be read must not pass.
        """
        if message.direction != "out":
            return None
        header, kind = message.json("header"), message.type
        with self._lock:
            recipients = dict(self._recipients)
        if not recipients:
            if kind == "kernel_info_reply":
                self._info = message.json("content")
            return None
        if not _TYPE.fullmatch(kind):
            return dropped(message, self._now())
        content = self._info if kind == "kernel_info_reply" else message.json("content")
        content = _plain_content(kind, content)
        metadata: dict[str, Any] = {}
        if self._guarded:
            # Widgets find the version of their protocol there.
            metadata = message.json("metadata") if kind in WIDGET_TYPES else {}
            metadata = {**metadata, MARK: _mark(recipients)}
        else:
            sealed = sealed_message(
                kind, content, lambda output: self._sealer.seal(output, recipients)
            )
            if sealed is None:
                return dropped(message, self._now())
            kind, content = sealed
        stamped = _plain_header(header, kind) | {"date": self._now()}
        parent = message.json("parent_header")
        return dataclasses.replace(
            message,
            prefix=message.prefix if message.channel != "iopub" else (f"kernel.{kind}".encode(),),
            header=json.dumps(stamped).encode(),
            parent_header=json.dumps(_plain_parent(parent)).encode(),
            buffers=message.buffers if self._guarded else (),
        ).with_parts(content=content, metadata=metadata)


def dropped(message: Message, now: str) -> Message:
    """In place of a message that could not be read or sealed: that there was one."""
    if message.channel in ("shell", "control"):
        content = {
            "status": "error",
            "ename": "SealingError",
            "evalue": "This answer could not be sealed and was dropped.",
            "traceback": [],
        }
        # Front ends wait for a reply's parent and not for its type.
        made = new_message("out", message.channel, "execute_reply", content, now)
    else:
        text = "An output could not be sealed and was dropped.\n"
        content = {"name": "stderr", "text": text}
        made = new_message("out", message.channel, "stream", content, now)
    try:
        parent = _plain_parent(message.json("parent_header"))
    except Exception:
        parent = {}
    prefix = message.prefix if message.channel != "iopub" else (b"kernel.stream",)
    return dataclasses.replace(made, prefix=prefix, parent_header=json.dumps(parent).encode())


def _plain_header(header: dict[str, Any], kind: str) -> dict[str, Any]:
    """A header that says nothing but what the protocol needs."""
    return {
        "msg_id": _name(header.get("msg_id")) or uuid.uuid4().hex,
        "session": _name(header.get("session")) or uuid.uuid4().hex,
        "username": "kernel",
        "msg_type": kind,
        "version": "5.4",
    }


def _plain_parent(parent: dict[str, Any]) -> dict[str, Any]:
    if not parent:
        return {}
    kind, date = str(parent.get("msg_type", "")), str(parent.get("date", ""))
    kept = _plain_header(parent, kind if _TYPE.fullmatch(kind) else "")
    return kept | ({"date": date} if _DATE.fullmatch(date) else {})


def _name(value: object) -> str:
    return value if isinstance(value, str) and _NAME.fullmatch(value) else ""


def _plain_content(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    """``content`` without free text where a notebook keeps something else."""
    changed = dict(content)
    if "execution_count" in changed:
        count = changed["execution_count"]
        fine = type(count) is int and 0 <= count <= _MOST_COUNTED
        changed["execution_count"] = count if fine else 0
    if kind == "status":
        state = changed.get("execution_state")
        changed = {"execution_state": state if state in _STATES else "idle"}
    elif kind == "execute_reply":
        payload = changed.get("payload")
        changed["payload"] = [
            one
            for one in (payload if isinstance(payload, list) else [])
            if isinstance(one, dict) and one.get("source") in _PAYLOADS
        ]
    if "transient" in changed:
        changed["transient"] = _plain_transient(changed["transient"])
    return changed


def _plain_transient(transient: object) -> dict[str, Any]:
    if not isinstance(transient, dict) or "display_id" not in transient:
        return {}
    display = str(transient["display_id"])
    digest = hashlib.sha256(display.encode("utf-8", "surrogatepass")).hexdigest()
    return {"display_id": _name(display) or digest}


def _mark(recipients: dict[OutputKey, bytes]) -> dict[str, Any]:
    return {
        "recipients": [
            {
                "artifact": key.artifact,
                "seal_id": key.seal_id,
                "output_key": base64.b64encode(recipients[key]).decode(),
            }
            for key in sorted(recipients)
        ]
    }
