"""What a person meets who opens a saved notebook with sealed outputs."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_aisec.kernel import extension
from jupyter_aisec.kernel.saved import open_saved
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
    """An output made from an artifact, as it is in a notebook that was saved."""

    def __init__(self, notebook: Notebook, artifact: str) -> None:
        view = notebook.person.broker.client("researcher").artifact(artifact)
        key = OutputKey(artifact=artifact, seal_id=view.seal_id)
        self.output_key = {key: read_manifest(view.manifest).output_key}
        self.bundle = self.again()

    def again(self) -> Any:
        """Another one of the same."""
        return seal_output(SHOWN, self.output_key)["data"][MIME_TYPE]

    def shown(self) -> bool:
        return open_saved(extension.face(), self.bundle) == SHOWN


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
    assert saved.shown()


def test_saved_output_changed(
    row: Row, notebook: Notebook, approving: Person, artifact: str, saved: Saved
) -> None:
    ask(notebook, approving, artifact)
    notebook.meets(row, opening({**saved.bundle, "ciphertext": "AAAA"}))
    assert saved.shown()  # as it is in the backup


def test_saved_output_header_changed(
    row: Row, notebook: Notebook, approving: Person, artifact: str, saved: Saved
) -> None:
    ask(notebook, approving, artifact)
    assert saved.shown()
    header = {**saved.bundle["header"], "wrapped": saved.again()["header"]["wrapped"]}
    notebook.meets(row, opening({**saved.bundle, "header": header}))
    assert saved.shown()


def test_saved_notebook_missing(row: Row, notebook: Notebook) -> None:
    notebook.follow(notebook.meets(row, "%open_outputs nowhere.ipynb"))
