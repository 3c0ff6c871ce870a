"""Notebooks as a page saves them, and a server's table of sessions that a test fills."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from jupyter_server.services.contents.largefilemanager import LargeFileManager

from jupyter_aisec.sealed.outputs import (
    MIME_TYPE,
    OutputKey,
    open_output,
    read_output,
    unwrap_content_key,
)
from jupyter_aisec.sealed.release import ReleaseKey
from jupyter_aisec.server.marks import Mark, Recipient, carry, proved
from jupyter_aisec.server.proofs import Proofs

SECRET = "patient 4711 has the rare thing"
KEY = ReleaseKey.generate()
MARK = Mark(
    recipients=(Recipient(artifact="dataset/digits", seal_id="seal_1", output_key=KEY.public),)
)

PROOFS = Proofs(lambda: b"k" * 32)
"""As of the server that carried MARK into the page; tests share it as servers share a home."""

TEXT = {"cell_type": "markdown", "id": "t", "metadata": {}, "source": "x"}


def output(type_: str = "display_data", *, marked: bool = True, text: str = SECRET) -> Any:
    content: dict[str, Any] = {
        "display_data": {"data": {"text/plain": text}, "metadata": {}},
        "execute_result": {"data": {"text/plain": text}, "metadata": {}, "execution_count": 1},
        "stream": {"name": "stdout", "text": text},
        "error": {"ename": "E", "evalue": text, "traceback": [text]},
    }[type_]
    return {
        "output_type": type_,
        **(carry(type_, MARK, content, PROOFS.of(proved(MARK))) if marked else content),
    }


def cell(*outputs: Any, id_: str = "c1") -> dict[str, Any]:
    return {
        "cell_type": "code",
        "id": id_,
        "execution_count": 1,
        "metadata": {},
        "outputs": list(outputs),
        "source": "df",
    }


def notebook(*cells: Any, **metadata: Any) -> dict[str, Any]:
    return {"cells": list(cells), "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}


class Table:
    """A server's table of sessions that a test fills: notebook and kernel."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str]] = []

    def kernels_of(self, path: str) -> list[str]:
        return [kernel for at, kernel in self.rows if at == path]

    def notebooks_of(self, kernel: str) -> list[str]:
        return [at for at, one in self.rows if one == kernel]


def written(folder: Path) -> str:
    """Everything on disk below ``folder``, checkpoints included."""
    return "".join(p.read_text() for p in sorted(folder.rglob("*")) if p.is_file())


def save(manager: LargeFileManager, content: Any, path: str = "a.ipynb", **model: Any) -> Any:
    return manager.save({"type": "notebook", "content": content, **model}, path)


def read(folder: Path, path: str = "a.ipynb") -> Any:
    return json.loads((folder / path).read_text())


def opened(sealed: Any) -> Any:
    bundle = read_output(sealed["data"][MIME_TYPE])
    assert bundle.header.keys == (OutputKey(artifact="dataset/digits", seal_id="seal_1"),)
    return open_output(bundle, unwrap_content_key(bundle.header, lambda _: KEY))


def plain(**output: Any) -> dict[str, Any]:
    return {"output_type": "stream", "name": "stdout", "text": SECRET, **output}
