"""Which cells were run after an artifact was opened, as seen from the server.

A second line behind the marks in the outputs themselves: a browser joins the pieces of a
stream and keeps only what came with the first, so that ``print`` before and after an opening
in one cell would lose the mark.
"""

from __future__ import annotations

from collections import OrderedDict

from jupyter_aisec.server.marks import Mark, union

__all__ = ["Executions"]

_REQUESTS = 100_000  # about 20 MB; an execution that old prints no more


class Executions:
    """Remembers the cell of each execution and the marks that its outputs came with."""

    def __init__(self) -> None:
        self._cells: OrderedDict[str, str] = OrderedDict()
        self._marks: dict[str, Mark] = {}

    def asked(self, message: str, cell: str) -> None:
        """An execution of ``cell`` was asked for by ``message``; its old outputs are gone."""
        self._cells[message] = cell
        self._marks.pop(cell, None)
        if len(self._cells) > _REQUESTS:
            self._cells.popitem(last=False)

    def came(self, parent: str, mark: Mark) -> None:
        """An output with ``mark`` came for the request ``parent``."""
        cell = self._cells.get(parent)
        if cell is not None:
            joined = union(self._marks.get(cell), mark)
            if joined is not None:
                self._marks[cell] = joined

    def mark_of(self, cell: object) -> Mark | None:
        """What the outputs of ``cell`` are made from, as far as was seen."""
        return self._marks.get(cell) if isinstance(cell, str) else None
