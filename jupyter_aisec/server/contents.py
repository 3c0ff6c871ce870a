"""The guard's place in Jupyter Server: every save of a notebook passes through ``before_save``.

The server logs any exception of a pre-save hook but ``HTTPError`` and *writes all the same*,
and calls the hook for a notebook saved as a plain file or, in pieces, for the first piece
only. Hence: a notebook is known by its name and by its content, pieces are refused, and every
fault becomes an ``HTTPError``.
"""

from __future__ import annotations

import base64
import binascii
import logging
from pathlib import Path
from typing import Any

import msgspec
from jupyter_server.services.contents.filemanager import FileContentsManager
from tornado.web import HTTPError

from jupyter_aisec.errors import AisecError
from jupyter_aisec.server.guard import Guard, Written

__all__ = ["NotebookSaves"]

_log = logging.getLogger(__name__)
_MARKED = b'"output_key"'  # in every mark, see marks.py
_PIECES = "A notebook is saved in one piece here, so that its outputs can be sealed."


class NotebookSaves:
    """A contents manager's pre-save hook that fails closed."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    def before_save(
        self, *, model: dict[str, Any], path: str, contents_manager: FileContentsManager, **_: Any
    ) -> None:
        """Replace the content of ``model`` by what may be written; raises HTTPError."""
        try:
            self._guard_model(model, path, lambda: _written(contents_manager, path))
        except HTTPError:
            raise
        except AisecError as error:
            raise HTTPError(500, reason=_one_line(f"Not saved: {error}")) from None
        except Exception:
            # Its text may quote an output, so that it goes neither to the log nor to the page.
            _log.error("the output guard failed on %s; nothing was written", path)
            raise HTTPError(500, reason="Not saved: outputs could not be sealed.") from None

    def _guard_model(self, model: dict[str, Any], path: str, written: Written) -> None:
        content = model.get("content")
        if content is None:
            return
        if model.get("type") == "notebook":
            model["content"] = self._guard.guarded(content, path, written)
        elif model.get("type") == "file":
            self._guard_file(model, content, path, written)

    def _guard_file(self, model: dict[str, Any], content: str, path: str, written: Written) -> None:
        named = path.lower().endswith(".ipynb")
        in_base64 = model.get("format") == "base64"
        try:
            data = base64.b64decode(content) if in_base64 else content.encode()
        except binascii.Error:
            raise HTTPError(400, reason="The content is not base64.") from None
        suspect = _MARKED in data
        if model.get("chunk") is not None and (named or suspect):
            raise HTTPError(400, reason=_PIECES)
        if not suspect and not (named and data.strip()):
            return
        try:
            notebook = msgspec.json.decode(data)
        except (msgspec.DecodeError, RecursionError):
            if named:
                raise HTTPError(
                    400, reason="Not saved: this is not a notebook (JSON). Save it as .txt."
                ) from None
            return
        if not isinstance(notebook, dict):
            return
        guarded = self._guard.guarded(notebook, path, written)
        if guarded == notebook:
            return  # as it was written, byte for byte
        text = msgspec.json.format(msgspec.json.encode(guarded), indent=1) + b"\n"
        model["content"] = base64.b64encode(text).decode() if in_base64 else text.decode()


def _written(manager: FileContentsManager, path: str) -> object:
    """What lies at ``path`` now (JSON), or None."""
    try:
        return msgspec.json.decode(Path(manager._get_os_path(path)).read_bytes())
    except (OSError, HTTPError, msgspec.DecodeError, RecursionError):
        return None


def _one_line(text: str) -> str:
    """``text`` as an HTTP reason phrase."""
    return " ".join(text.split()).encode("ascii", "replace").decode()
