"""Messages of a kernel in which something is open, for a front end that writes its own files.

Both ends use this: the keeper where no server guards the outputs, the server for a client that
is not its own page. Pure. Types and fields: the Jupyter messaging protocol 5.4.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any

__all__ = [
    "GUARD_VARIABLE",
    "MARK",
    "OUTPUT_TYPES",
    "PAGED",
    "WIDGET_TYPES",
    "as_output",
    "guard_token",
    "paged",
    "sealed_message",
    "unmarked",
]

GUARD_VARIABLE = "AISEC_GUARD_TOKEN"
"""Its name counts as a secret's, so the keeper gets it and nothing inside the confinement does."""
MARK = "aisec"
"""The name under which a message's metadata says which artifacts it may be made from."""
OUTPUT_TYPES = frozenset(
    {"stream", "display_data", "update_display_data", "execute_result", "error"}
)
"""Messages whose content becomes an output of a cell."""
PAGED = "page"
"""The source of those payloads of a reply that a page shows as one more output (``x?``)."""
WIDGET_TYPES = frozenset({"comm_open", "comm_msg", "comm_close"})
"""Messages that carry the state of widgets."""
_WITH_ID = frozenset({"display_data", "update_display_data"})
_SEALED = "sealed: open the notebook in a secure kernel"
_STATUSES = frozenset({"ok", "error", "aborted"})
_COMPLETENESS = frozenset({"complete", "incomplete", "invalid", "unknown"})
_ID = re.compile("[A-Za-z0-9-]{1,36}")
_EMPTY: Mapping[str, Mapping[str, Any]] = {
    "comm_info_reply": {"comms": {}},
    "create_subshell_reply": {},
    "complete_reply": {"matches": [], "cursor_start": 0, "cursor_end": 0, "metadata": {}},
    "debug_reply": {"type": "response", "success": False, "message": _SEALED},
    "delete_subshell_reply": {},
    "execute_reply": {"payload": [], "user_expressions": {}},
    "history_reply": {"history": []},
    "inspect_reply": {"found": False, "data": {}, "metadata": {}},
    "interrupt_reply": {},
    "is_complete_reply": {"indent": ""},
    "list_subshell_reply": {"subshell_id": []},
    "shutdown_reply": {},
}
"""Replies that may quote anything, without what they say: all but the kernel's name for itself."""


def guard_token(session_key: bytes) -> str:
    """What a server tells one kernel's keeper: outputs are sealed on save.

    Bound to the key of that kernel's connection file, so that a variable inherited by a kernel
    that somebody else starts says nothing.
    """
    return hmac.digest(session_key, b"jupyter-aisec output guard", "sha256").hex()


def as_output(kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """A message's content as an output of a notebook (nbformat 4)."""
    output_type = "display_data" if kind == "update_display_data" else kind
    kept = {name: value for name, value in content.items() if name != "transient"}
    return {"output_type": output_type, **kept}


def unmarked(content: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a message's content, or of an output, without a mark.

    What a kernel says under that name is nothing: marks are the keeper's to make.
    """
    bare = {name: value for name, value in content.items() if name != MARK}
    if isinstance(bare.get("metadata"), dict):
        bare["metadata"] = {n: v for n, v in bare["metadata"].items() if n != MARK}
    return bare


def paged(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The outputs that a page makes of a reply's payloads."""
    payload = content.get("payload")
    return [
        {"output_type": "display_data", "data": one.get("data", {}), "metadata": {}}
        for one in (payload if isinstance(payload, list) else [])
        if isinstance(one, dict) and one.get("source") == PAGED
    ]


def sealed_message(
    kind: str, content: Mapping[str, Any], seal: Callable[[dict[str, Any]], dict[str, Any]]
) -> tuple[str, dict[str, Any]] | None:
    """Type and content to pass on instead; None for a message that is not passed on.

    ``seal`` turns an output into a sealed one. Messages of widgets, and replies, lose whatever
    a kernel's code can choose to say in them: a front end may write, print or log it.
    """
    if kind in OUTPUT_TYPES:
        shown: dict[str, Any] = {"data": seal(as_output(kind, content))["data"], "metadata": {}}
        if kind in _WITH_ID:
            shown["transient"] = content.get("transient", {})
        # An update stays one: it replaces what has its display id.
        return (kind if kind == "update_display_data" else "display_data"), shown
    if kind in WIDGET_TYPES:
        return kind, {"comm_id": "", "data": {}}
    if kind == "input_request":
        return kind, {"prompt": "", "password": bool(content.get("password"))}
    if kind in _EMPTY:
        return kind, _reply(kind, content)
    # What is left says a word of a few, a number, or what was said before anything was open.
    if kind in ("status", "kernel_info_reply"):
        return kind, dict(content)
    if kind == "execute_input":
        return kind, {"code": "", "execution_count": content.get("execution_count")}
    if kind == "clear_output":
        return kind, {"wait": bool(content.get("wait"))}
    return (kind, {}) if kind == "iopub_welcome" else None


def _reply(kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """A reply without what it may quote: error text, matches, variables, what was run."""
    status = content.get("status")
    words = _COMPLETENESS if kind == "is_complete_reply" else _STATUSES
    kept = {"status": status if status in words else "error", **_EMPTY[kind]}
    if "execution_count" in content:
        kept["execution_count"] = content["execution_count"]
    if kind == "shutdown_reply":
        kept["restart"] = bool(content.get("restart"))
    if kind == "create_subshell_reply" and _ID.fullmatch(str(content.get("subshell_id"))):
        kept["subshell_id"] = content["subshell_id"]
    if kept["status"] == "error":
        kept |= {"ename": "Error", "evalue": _SEALED, "traceback": []}
    return kept
