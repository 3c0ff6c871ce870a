"""Messages of a kernel in which something is open, for a front end that writes its own files.

Both ends use this: the keeper where no server guards the outputs, the server for a client that
is not its own page. Pure. Types and fields: the Jupyter messaging protocol 5.4.
"""

from __future__ import annotations

import hmac
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
_HARMLESS = frozenset({"status", "execute_input", "clear_output", "iopub_welcome"})
_REPLY = ("status", "execution_count")


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

    ``seal`` turns an output into a sealed one. Messages of widgets, and replies, lose whatever a
    front end would keep in a notebook or print.
    """
    if kind in OUTPUT_TYPES:
        shown: dict[str, Any] = {"data": seal(as_output(kind, content))["data"], "metadata": {}}
        if kind in _WITH_ID:
            shown["transient"] = content.get("transient", {})
        # An update stays one: it replaces what has its display id.
        return (kind if kind == "update_display_data" else "display_data"), shown
    if kind in WIDGET_TYPES:
        return kind, {"comm_id": "", "data": {}}
    if kind == "execute_reply":
        return kind, _silenced(content)
    if kind == "input_request":
        return kind, {"prompt": "", "password": bool(content.get("password"))}
    if kind in _HARMLESS or kind.endswith("_reply"):
        return kind, dict(content)
    return None


def _silenced(content: Mapping[str, Any]) -> dict[str, Any]:
    """A reply without what it may quote: error text, pager payloads, user expressions."""
    kept = {name: content[name] for name in _REPLY if name in content}
    kept |= {"payload": [], "user_expressions": {}}
    if content.get("status") == "error":
        sealed = "sealed: open the notebook in a secure kernel"
        kept |= {"ename": "Error", "evalue": sealed, "traceback": []}
    return kept
