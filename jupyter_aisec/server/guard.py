"""The output guard: seals what came out of sealed artifacts before a notebook is written.

Rules, per notebook:

1. A cell with a mark, on one of its outputs or seen by the server, has *all* its outputs
   sealed, each by itself, to the keys of every artifact named by any of those marks. A mark in
   a notebook counts if this server's proof is in it. One without names no keys; an output that
   says it is to be sealed, and neither that nor another rule says to whom, is not written
   unless it is known to be from before.
2. In a notebook that has used a kernel in which something was opened, or that holds a mark,
   every other output is sealed too, whatever its cell, unless it is known to be from before:
   it came through this server unmarked, or it lies in the file already.
3. An output that shows the same as one that came marked is sealed in any notebook, and so is
   an image pasted as an attachment replaced; unless the same came unmarked as well.
4. What was sealed before and has not changed keeps its ciphertext, so that saving twice gives
   equal files. An output that only says that it is sealed is sealed.
5. A notebook of rule 1 or 2 is written without the state of its widgets and without the values
   of expressions that a page keeps in a cell's metadata: they may show what the outputs show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

from jupyter_aisec.errors import MalformedError
from jupyter_aisec.sealed.messages import unmarked
from jupyter_aisec.server.marks import Mark, is_claimed, mark_of, union
from jupyter_aisec.server.seen import Seen

__all__ = ["Guard", "Written"]

Written = Callable[[], object]
"""What lies where a notebook is to be written (JSON), or None."""
_VALUES = "user_expressions"
"""Of a cell's metadata: where jupyterlab-myst keeps what a kernel's replies said."""
_INSTEAD = {"text/plain": "An image made from a sealed artifact was not saved."}


class Guard:
    """Seals the outputs of notebooks; one for each server."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen

    def guarded(self, notebook: dict[str, Any], path: str, written: Written) -> dict[str, Any]:
        """``notebook`` as it may be written at ``path``; the argument is not changed.

        Raises an AisecError where an output cannot be sealed: then nothing may be written.
        """
        copy = deepcopy(notebook)
        cells = list(_cells(copy))
        marks = [self._mark(cell) for cell in cells]
        found = union(*marks)
        if found is not None:
            self._seen.openings.found(path, found)
        whole = self._seen.openings.mark_of(path)
        claimed = any(is_claimed(one) for cell in cells for one in _dicts(cell.get("outputs")))
        before = self._before(written()) if claimed or whole is not None else frozenset()
        for cell, mark in zip(cells, marks, strict=True):
            if "outputs" in cell:
                cell["outputs"] = [
                    self._written(output, mark or self._lost(output, whole, before), before)
                    for output in _dicts(cell["outputs"])
                ]
            self._take_images_out(cell)
            if whole is not None and isinstance(cell.get("metadata"), dict):
                cell["metadata"].pop(_VALUES, None)
        if whole is not None and isinstance(copy.get("metadata"), dict):
            copy["metadata"].pop("widgets", None)
        return copy

    def _mark(self, cell: dict[str, Any]) -> Mark | None:
        seen = self._seen.executions.mark_of(cell.get("id"))
        proves = self._seen.proofs.proves
        return union(seen, *(mark_of(one, proves) for one in _dicts(cell.get("outputs"))))

    def _before(self, written: object) -> frozenset[bytes]:
        """Digests of the outputs that the file holds; what is sealed there stays as it is."""
        outputs = [
            output
            for cell in (_cells(written) if isinstance(written, dict) else ())
            for output in _dicts(cell.get("outputs"))
        ]
        for output in outputs:
            self._seen.sealer.adopt(output)
        return frozenset(self._seen.digests.of(output) for output in outputs)

    def _lost(
        self, output: dict[str, Any], whole: Mark | None, before: frozenset[bytes]
    ) -> Mark | None:
        """The mark of an output whose cell has none."""
        digests = self._seen.digests
        came = digests.mark_of(output)
        if whole is None:
            return None if digests.is_plain(output) else came
        if came is not None:
            return came
        return None if digests.is_plain(output) or digests.of(output) in before else whole

    def _written(
        self, output: dict[str, Any], mark: Mark | None, before: frozenset[bytes]
    ) -> dict[str, Any]:
        """What is written of an output."""
        bare = unmarked(output)
        if mark is not None:
            return self._seen.sealer.seal(bare, mark.keys())
        digests = self._seen.digests
        if is_claimed(output) and not digests.is_plain(bare) and digests.of(bare) not in before:
            raise MalformedError(
                "An output says that it is to be sealed, and this server did not say so.",
                next="Clear it (Edit, Clear Cell Output) or run its cell again, and save. It came "
                "from another server, or somebody wrote that into the notebook.",
                code="output-mark-unproved",
            )
        return bare

    def _take_images_out(self, cell: dict[str, Any]) -> None:
        attachments = cell.get("attachments")
        if not isinstance(attachments, dict):
            return
        for name, bundle in attachments.items():
            shown = bundle.values() if isinstance(bundle, dict) else ()
            if any(self._seen.digests.is_marked_image(value) for value in shown):
                attachments[name] = dict(_INSTEAD)


def _cells(notebook: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The cells of notebook format 4, and those in the worksheets of format 3."""
    for sheet in (notebook, *_dicts(notebook.get("worksheets"))):
        yield from _dicts(sheet.get("cells"))


def _dicts(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
