"""What leaves a secure kernel once an artifact is open in it.

A front end with our output guard (the lab, through our server extension) shows outputs live;
the keeper marks every message with the artifacts it may be made from, and the server seals on
save. Any other front end (papermill, ``jupyter execute``, VS Code) writes what it gets to
disk: it gets sealed outputs, and no state of widgets.

Either way, what a front end writes down besides outputs is not the kernel's to choose: dates
are the keeper's, counts are no higher than the number of cells run, a cell's source is not
replaced. And marks are the keeper's alone, from the first message on: with one of their own a
kernel's code would have the server seal what it shows to a key of its own.
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
from jupyter_aisec.errors import MalformedError
from jupyter_aisec.sealed.messages import MARK, PAGED, WIDGET_TYPES, sealed_message, unmarked
from jupyter_aisec.sealed.outputs import OutputKey, OutputSealer

__all__ = ["OutputGuard", "dropped"]

_PAYLOADS = frozenset({PAGED, "ask_exit"})  # not set_next_input: it writes into a cell
_STATES = frozenset({"busy", "idle", "starting"})
_NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
_TYPE = re.compile(r"[a-z_]{1,40}")
_DATE = re.compile(r"[0-9T:.+-]{1,40}Z?")
_VERSION = re.compile(r"[0-9.]{1,20}")
_INDENT = re.compile(" {0,40}")
_COMPLETENESS = frozenset({"complete", "incomplete", "invalid", "unknown"})
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
        self._asked = 0  # cells that front ends asked for

    def opened(self, artifact: str, seal_id: str, output_key: bytes) -> None:
        """Keys of this version went to the kernel: what comes out now may be made from it.

        Raises MalformedError (``output-keys-differ``) for a version known with another key.
        """
        version = OutputKey(artifact=artifact, seal_id=seal_id)
        with self._lock:
            if self._recipients.setdefault(version, output_key) != output_key:
                raise MalformedError(
                    f"{artifact} ({seal_id}) came with two different output keys.",
                    next="Stop, and tell an admin: the broker is not what it was.",
                    code="output-keys-differ",
                )

    def change(self, message: Message) -> Message | None:
        """The message to pass on instead, or None for the message as it is.

        Raises what reading it raises: one that cannot be read must not pass.
        """
        header, kind = message.json("header"), message.type
        if message.direction != "out":
            if kind == "execute_request":
                self._asked += 1
            return None
        with self._lock:
            recipients = dict(self._recipients)
        said = message.json("content"), message.json("metadata")
        content, metadata = map(unmarked, said)
        if not recipients:
            if kind == "kernel_info_reply":
                self._info = content
            if (content, metadata) == said:
                return None
            return message.with_parts(content=content, metadata=metadata)
        if not _TYPE.fullmatch(kind):
            return dropped(message, self._now())
        content = self._info if kind == "kernel_info_reply" else self._plain(kind, content)
        if self._guarded:
            metadata = {**_plain_metadata(kind, metadata), MARK: _mark(recipients)}
        else:
            metadata = {}
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

    def _plain(self, kind: str, content: dict[str, Any]) -> dict[str, Any]:
        """``content`` without free text where a front end keeps something else."""
        changed = _plain_content(kind, content)
        if "execution_count" in changed:
            count = changed["execution_count"]
            fine = type(count) is int and 0 <= count <= self._asked
            changed["execution_count"] = count if fine else 0
        return changed


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


def _plain_metadata(kind: str, metadata: dict[str, Any]) -> dict[str, Any]:
    """Widgets find the version of their protocol there; nobody else finds anything."""
    version = metadata.get("version") if kind in WIDGET_TYPES else None
    fine = isinstance(version, str) and _VERSION.fullmatch(version)
    return {"version": version} if fine else {}


def _plain_content(kind: str, content: dict[str, Any]) -> dict[str, Any]:
    changed = dict(content)
    match kind:
        case "status":
            state = changed.get("execution_state")
            changed = {"execution_state": state if state in _STATES else "idle"}
        case "execute_reply":
            payload = changed.get("payload")
            changed["payload"] = [
                one
                for one in (payload if isinstance(payload, list) else [])
                if isinstance(one, dict) and one.get("source") in _PAYLOADS
            ]
        # Pages put these two into what a person is writing.
        case "history_reply":
            changed["history"] = []
        case "is_complete_reply":
            status = changed.get("status")
            indent = str(changed.get("indent", ""))
            changed = {
                "status": status if status in _COMPLETENESS else "unknown",
                "indent": indent if _INDENT.fullmatch(indent) else "",
            }
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
