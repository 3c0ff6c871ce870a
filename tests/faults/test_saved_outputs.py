"""What a person meets who opens a saved notebook with sealed outputs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jupyter_aisec.people.canonical import canonical
from jupyter_aisec.sealed.manifest import read_manifest
from jupyter_aisec.sealed.outputs import MIME_TYPE, OutputKey, seal_output
from tests.faults.person import Notebook, Person, grant_in
from tests.faults.table import Row

SHOWN = {"output_type": "stream", "name": "stdout", "text": "accuracy 0.4711"}
OPENING = """
from jupyter_aisec.kernel import extension as _extension, saved as _saved
_saved.open_saved(_extension.face(), {})
"""


class Saved:
    """An output made from an artifact, in a notebook that was saved, with a backup of it."""

    def __init__(self, notebook: Notebook, artifact: str) -> None:
        view = notebook.person.broker.client("researcher").artifact(artifact)
        key = OutputKey(artifact=artifact, seal_id=view.seal_id)
        self.output_key = {key: read_manifest(view.manifest).output_key}
        self.notebook = notebook
        self.bundle = self.again()
        self.file = notebook.person.folder / "saved.ipynb"
        self.backup = notebook.person.folder / "backup.ipynb"
        for file in (self.file, self.backup):
            self.save(self.bundle, file)

    def again(self) -> Any:
        """Another one of the same, as running the cell again makes it."""
        return seal_output(SHOWN, self.output_key)["data"][MIME_TYPE]

    def save(self, bundle: Any, file: Path) -> None:
        output = {"output_type": "display_data", "data": {MIME_TYPE: bundle}, "metadata": {}}
        cell = {"cell_type": "code", "source": "print(accuracy)", "outputs": [output]}
        file.write_bytes(msgspec.json.encode({"cells": [cell], "nbformat": 4}))

    def opened(self) -> str:
        """What the magic says of the notebook as it is now."""
        return self.notebook.cell("%open_outputs saved.ipynb")

    def changed(self, row: Row, bundle: Any) -> None:
        """One that was changed does not open, in the page or by the magic.

        By hand: the notebook is taken from the backup, or the cell is run again; either helps.
        """
        assert SHOWN["text"] in self.opened()
        self.save(bundle, self.file)
        met = self.notebook.meets(row, opening(bundle))
        said = self.opened()
        assert f"{met.advice} ({row.code})" in said
        assert SHOWN["text"] not in said
        shutil.copyfile(self.backup, self.file)
        assert SHOWN["text"] in self.opened()
        self.save(self.again(), self.file)
        assert SHOWN["text"] in self.opened()


@pytest.fixture
def saved(notebook: Notebook, artifact: str) -> Saved:
    return Saved(notebook, artifact)


def opening(bundle: Any) -> str:
    """What the button of the page does, as a cell."""
    return OPENING.format(canonical(bundle).decode())


def ask(notebook: Notebook, approving: Person, artifact: str) -> None:
    asked = notebook.cell(f"%grant request {artifact} --for 1h --reason fault")
    approving.type(f"aisec grant approve {grant_in(asked)}")


def test_saved_output_without_grant(
    row: Row, notebook: Notebook, approving: Person, saved: Saved
) -> None:
    met = notebook.meets(row, opening(saved.bundle))
    asked = notebook.cell(*met.commands())
    approving.type(f"aisec grant approve {grant_in(asked)}")
    assert SHOWN["text"] in saved.opened()


def test_saved_output_changed(
    row: Row, notebook: Notebook, approving: Person, artifact: str, saved: Saved
) -> None:
    ask(notebook, approving, artifact)
    saved.changed(row, {**saved.bundle, "ciphertext": "AAAA"})


def test_saved_output_header_changed(
    row: Row, notebook: Notebook, approving: Person, artifact: str, saved: Saved
) -> None:
    ask(notebook, approving, artifact)
    header = {**saved.bundle["header"], "wrapped": saved.again()["header"]["wrapped"]}
    saved.changed(row, {**saved.bundle, "header": header})


def test_saved_notebook_missing(row: Row, notebook: Notebook) -> None:
    notebook.follow(notebook.meets(row, "%open_outputs nowhere.ipynb"))
