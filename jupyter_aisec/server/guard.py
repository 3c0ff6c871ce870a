"""The output guard: seals what came out of sealed artifacts before a notebook is written.

Rules, per code cell:

1. A cell with a mark, on one of its outputs or seen by the server, has *all* its outputs
   sealed, each by itself, to the keys of every artifact named by any of those marks.
2. An output that was sealed before and has not changed keeps its ciphertext, so that saving
   twice gives equal files.
3. Other outputs stay as they are; so do outputs that are sealed already.
4. A notebook with a marked cell is written without the state of its widgets, which may show
   what the outputs show.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any, Protocol

from jupyter_aisec.sealed.outputs import OutputKey
from jupyter_aisec.server.executions import Executions
from jupyter_aisec.server.marks import mark_of, union, unmarked

__all__ = ["Guard", "Sealer"]


class Sealer(Protocol):
    """What is needed of an OutputSealer: an unchanged output keeps its ciphertext."""

    def seal(
        self, output: Mapping[str, Any], recipients: Mapping[OutputKey, bytes]
    ) -> dict[str, Any]: ...


class Guard:
    """Seals the outputs of notebooks; one for each server."""

    def __init__(self, sealer: Sealer, executions: Executions) -> None:
        self._sealer = sealer
        self._executions = executions

    def guarded(self, notebook: dict[str, Any]) -> dict[str, Any]:
        """``notebook`` as it may be written; the argument is not changed.

        Raises an AisecError where an output cannot be sealed: then nothing may be written.
        """
        copy = deepcopy(notebook)
        found = False
        for cell in _cells(copy):
            outputs = _dicts(cell.get("outputs"))
            seen = self._executions.mark_of(cell.get("id"))
            mark = union(seen, *(mark_of(output) for output in outputs))
            if mark is not None:
                found = True
                keys = mark.keys()
                cell["outputs"] = [self._sealer.seal(unmarked(one), keys) for one in outputs]
        if found and isinstance(copy.get("metadata"), dict):
            copy["metadata"].pop("widgets", None)
        return copy


def _cells(notebook: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The cells of notebook format 4, and those in the worksheets of format 3."""
    for sheet in (notebook, *_dicts(notebook.get("worksheets"))):
        yield from _dicts(sheet.get("cells"))


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
