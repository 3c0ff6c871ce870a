"""The cells that ran in this kernel, by digest: the first of the two observers.

IPython says when a cell starts and ends. A notebook can silence that (``unregister``), which
is why the keeper watches the messages from outside; the broker compares the two.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from jupyter_aisec.provenance.facts import Cell

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MOST_CELLS", "CellRecorder", "source_digest"]

MOST_CELLS = 5_000
"""Cells kept in memory; older ones are counted, and the record says that they are missing."""


def source_digest(source: str) -> str:
    """SHA-256 (hex) of a cell's source in UTF-8; both observers use this one.

    Lone surrogates, which JSON can carry, are digested as their three bytes.
    """
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()


class CellRecorder:
    """Listens to one IPython shell; never raises into it, and never touches a result.

    ``now`` gives the time as text (RFC 3339).
    """

    def __init__(self, now: Callable[[], str]) -> None:
        self._now = now
        self._count = 0
        self._done: deque[Cell] = deque(maxlen=MOST_CELLS)
        # A cell can run another one (``get_ipython().run_cell``), so the open ones nest.
        self._open: list[tuple[Any, Cell]] = []

    def install(self, shell: Any) -> None:
        shell.events.register("pre_run_cell", self.on_start)
        shell.events.register("post_run_cell", self.on_end)

    def remove(self, shell: Any) -> None:
        """Stops listening; a callback that somebody already took away is no error."""
        for event, callback in (("pre_run_cell", self.on_start), ("post_run_cell", self.on_end)):
            if callback in shell.events.callbacks[event]:
                shell.events.unregister(event, callback)

    def on_start(self, info: Any) -> None:
        """IPython's ``pre_run_cell``."""
        self._count += 1
        cell = Cell(
            n=self._count,
            cell_id=info.cell_id if isinstance(info.cell_id, str) else None,
            sha256=source_digest(str(info.raw_cell)),
            started=self._now(),
        )
        self._open.append((info, cell))

    def on_end(self, result: Any) -> None:
        """IPython's ``post_run_cell``; ``result.info`` is what ``on_start`` was given."""
        for position in range(len(self._open) - 1, -1, -1):
            if self._open[position][0] is result.info:
                _, cell = self._open.pop(position)
                self._done.append(
                    msgspec.structs.replace(cell, finished=self._now(), ok=bool(result.success))
                )
                break

    @property
    def running(self) -> bool:
        """Whether a cell runs now."""
        return bool(self._open)

    @property
    def missing(self) -> int:
        """How many cells that started are no longer kept."""
        return self._count - len(self._done) - len(self._open)

    def cells(self) -> tuple[Cell, ...]:
        """All cells kept, by number; those that still run have no end."""
        cells = [*self._done, *(cell for _, cell in self._open)]
        return tuple(sorted(cells, key=lambda cell: cell.n))
