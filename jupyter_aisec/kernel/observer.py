"""The second observer: every message of every front end, seen from outside the kernel.

The recorder inside can be silenced by the notebook; this one cannot. It keeps digests, never
sources or outputs.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal, cast

from jupyter_aisec.confine.wire import Message
from jupyter_aisec.provenance.facts import Observation, SeenCell
from jupyter_aisec.record import source_digest

__all__ = ["OUTPUT_TYPES", "Observer"]

MOST_CELLS = 5_000
OUTPUT_TYPES = frozenset(
    {"stream", "display_data", "execute_result", "update_display_data", "error", "clear_output"}
)
Status = Literal["ok", "error", "aborted"]


class _Cell:
    def __init__(self, msg_id: str, sha256: str, at: str, silent: bool) -> None:
        self.msg_id, self.sha256, self.at, self.silent = msg_id, sha256, at, silent
        self.status: Status | None = None
        self.outputs: Any = None  # a running digest, from the first output on

    def seen(self) -> SeenCell:
        return SeenCell(
            msg_id=self.msg_id,
            sha256=self.sha256,
            at=self.at,
            silent=self.silent,
            outputs_sha256=None if self.outputs is None else self.outputs.hexdigest(),
            status=self.status,
        )


class Observer:
    """What was asked to run and what came out. ``now`` gives the time as text."""

    def __init__(self, now: Callable[[], str]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._cells: OrderedDict[str, _Cell] = OrderedDict()
        self._missing = 0

    def saw(self, message: Message) -> None:
        """A message that passes, as it was before anybody changed it.

        Raises MalformedError for one that is not JSON where the protocol has it so.
        """
        kind = message.type
        if message.direction == "in" and kind == "execute_request":
            self._asked(message)
        elif message.direction == "out" and kind == "execute_reply":
            self._answered(message)
        elif message.channel == "iopub" and kind in OUTPUT_TYPES:
            self._came_out(message)

    def _asked(self, message: Message) -> None:
        content = message.json("content")
        msg_id = str(message.json("header").get("msg_id", ""))
        cell = _Cell(
            msg_id,
            source_digest(str(content.get("code", ""))),
            self._now(),
            bool(content.get("silent", False)),
        )
        with self._lock:
            self._cells[msg_id] = cell
            if len(self._cells) > MOST_CELLS:
                self._cells.popitem(last=False)
                self._missing += 1

    def _answered(self, message: Message) -> None:
        status = message.json("content").get("status")
        with self._lock:
            cell = self._parent(message)
            if cell is not None and status in ("ok", "error", "aborted"):
                cell.status = cast(Status, status)

    def _came_out(self, message: Message) -> None:
        with self._lock:
            cell = self._parent(message)
            if cell is not None:
                if cell.outputs is None:
                    cell.outputs = hashlib.sha256()
                # The content's length first, so that two outputs are not one longer one.
                cell.outputs.update(b"%d:" % len(message.content) + message.content)

    def _parent(self, message: Message) -> _Cell | None:
        return self._cells.get(str(message.json("parent_header").get("msg_id", "")))

    def observation(
        self,
        *,
        origin: str,
        person: str,
        run: str,
        kernel: str,
        record_sha256: str,
        isolation: Literal["none", "partial", "full"],
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
                cells=tuple(cell.seen() for cell in self._cells.values()),
                cells_missing=self._missing,
            )
