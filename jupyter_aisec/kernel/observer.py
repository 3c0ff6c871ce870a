"""The second observer: every message of every front end, seen from outside the kernel.

The recorder inside can be silenced by the notebook; this one cannot. It keeps digests, never
sources or outputs.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, cast

from jupyter_aisec.confine.wire import Message
from jupyter_aisec.errors import MalformedError
from jupyter_aisec.ledger.bodies import Isolation
from jupyter_aisec.provenance.facts import Observation, SeenCell
from jupyter_aisec.record import source_digest
from jupyter_aisec.sealed.messages import OUTPUT_TYPES

__all__ = ["Observer"]

MOST_CELLS = 5_000
_OUTPUTS = OUTPUT_TYPES | {"clear_output"}
Status = Literal["ok", "error", "aborted"]


class _Cell:
    def __init__(self, msg_id: str, content: dict[str, Any], at: str) -> None:
        self.msg_id, self.at = msg_id, at
        self.sha256 = source_digest(str(content.get("code", "")))
        self.silent = bool(content.get("silent", False))
        expressions = content.get("user_expressions")
        self.expressions_sha256 = (
            source_digest(json.dumps(expressions, sort_keys=True)) if expressions else None
        )
        self.began = False
        self.status: Status | None = None
        self.outputs: Any = None  # a running digest, from the first output on

    def seen(self) -> SeenCell:
        return SeenCell(
            msg_id=self.msg_id,
            sha256=self.sha256,
            at=self.at,
            silent=self.silent,
            expressions_sha256=self.expressions_sha256,
            began=self.began,
            outputs_sha256=None if self.outputs is None else self.outputs.hexdigest(),
            status=self.status,
        )


class Observer:
    """What was asked to run and what came out. ``now`` gives the time as text."""

    def __init__(self, now: Callable[[], str]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._cells: deque[_Cell] = deque()
        # By id, for what comes back; an id that is used again hides no earlier cell.
        self._latest: dict[str, _Cell] = {}
        self._missing = 0

    def saw(self, message: Message) -> None:
        """A message that passes, as it was before anybody changed it.

        Raises MalformedError for one that is not JSON, or no object, where the protocol has it
        so.
        """
        if message.direction == "out":
            with self._lock:
                cell = self._latest.get(_msg_id(message, "parent_header"))
                if cell is not None:
                    self._came_back(cell, message)
        elif _object(message, "header").get("msg_type") == "execute_request":
            self._asked(message)

    def _asked(self, message: Message) -> None:
        cell = _Cell(_msg_id(message, "header"), _object(message, "content"), self._now())
        with self._lock:
            self._cells.append(cell)
            self._latest[cell.msg_id] = cell
            if len(self._cells) > MOST_CELLS:
                oldest = self._cells.popleft()
                if self._latest[oldest.msg_id] is oldest:
                    del self._latest[oldest.msg_id]
                self._missing += 1

    def _came_back(self, cell: _Cell, message: Message) -> None:
        cell.began = True
        kind = _object(message, "header").get("msg_type")
        if kind == "execute_reply":
            status = _object(message, "content").get("status")
            # Whatever it calls it, it is an answer; a strange one did not end well.
            cell.status = cast(Status, status) if status in ("ok", "aborted") else "error"
        elif message.channel == "iopub" and kind in _OUTPUTS:
            if cell.outputs is None:
                cell.outputs = hashlib.sha256()
            # The content's length first, so that two outputs are not one longer one.
            cell.outputs.update(b"%d:" % len(message.content) + message.content)

    def observation(
        self,
        *,
        origin: str,
        person: str,
        run: str,
        kernel: str,
        record_sha256: str,
        isolation: Isolation,
    ) -> Observation:
        """What was seen so far, to be signed beside the record with that digest."""
        with self._lock:
            return Observation(
                origin=origin,
                person=person,
                run=run,
                kernel=kernel,
                record_sha256=record_sha256,
                at=self._now(),
                isolation=isolation,
                cells=tuple(cell.seen() for cell in self._cells),
                cells_missing=self._missing,
            )


def _msg_id(message: Message, part: Literal["header", "parent_header"]) -> str:
    return str(_object(message, part).get("msg_id", ""))


def _object(
    message: Message, part: Literal["header", "parent_header", "content"]
) -> dict[str, Any]:
    found = message.json(part)
    if not isinstance(found, dict):
        raise MalformedError(f"The {part} of a message is not an object.")
    return found
