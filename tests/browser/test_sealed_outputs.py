"""A saved notebook, opened again: its sealed outputs are shown, and the file stays as it is."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from jupyter_aisec.client import PersonClient
from jupyter_aisec.errors import AisecError
from jupyter_aisec.sealed.manifest import read_manifest
from jupyter_aisec.sealed.outputs import MIME_TYPE, OutputKey, seal_output
from jupyter_aisec.sealed.release import ReleaseKey
from tests.browser.test_lab import cell, open_lab, save
from tests.jupyter import Server

pytestmark = pytest.mark.browser

SECURE = "aisec"
STREAM = {"output_type": "stream", "name": "stdout", "text": "patient 4711"}


@pytest.fixture(autouse=True)
def _no_grant_is_left(researcher: PersonClient) -> Iterator[None]:
    """A page shows all grants of its person."""
    yield
    for view in researcher.grants():
        with contextlib.suppress(AisecError):  # it is over
            (researcher.withdraw if view.state == "pending" else researcher.return_)(view.id)


def ask(name: str) -> str:
    return f'%grant request {name} --for 1h --reason "A look"'


def write(lab: Server, file: str, *cells: dict[str, Any], kernel: str = SECURE) -> Path:
    path = lab.folder / file
    notebook = {
        "cells": cells,
        "metadata": {"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path.write_text(json.dumps(notebook))
    return path


def open_notebook(page: Page, lab: Server, path: Path) -> None:
    open_lab(page, lab, path.name)
    wait_for_kernel(page)


def wait_for_kernel(page: Page) -> None:
    found = "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel"
    page.wait_for_function(f"{found}?.status === 'idle'")


def start(page: Page, number: int) -> None:
    """Begin to run one cell."""
    content = "window.jupyterapp.shell.currentWidget.content"
    page.evaluate(f"{content}.activeCellIndex = {number}")
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-cell')")


def approve(page: Page, approver: PersonClient) -> None:
    """What was asked for in the page, once it was."""
    while not (pending := approver.grants("pending")):
        page.wait_for_timeout(50)
    approver.approve(pending[0].id)


def sealed(researcher: PersonClient, name: str, output: dict[str, Any]) -> dict[str, Any]:
    """``output`` as a notebook has it that was saved with ``name`` open; it is sealed anew."""
    researcher.seal(name, {"a.txt": b"patient 4711"})
    view = researcher.artifact(name)
    key = OutputKey(artifact=name, seal_id=view.seal_id)
    return seal_output(output, {key: read_manifest(view.manifest).output_key})


def shown(page: Page) -> Locator:
    return page.locator(".jp-AisecSealed")


def press(box: Locator, name: str) -> None:
    box.get_by_role("button", name=name).click()


def test_a_saved_output_is_shown_again_and_the_file_stays_sealed(
    page: Page, lab: Server, researcher: PersonClient, approver: PersonClient, tmp_path: Path
) -> None:
    researcher.seal("dataset/kept", {"a.txt": b"patient 4711"})
    load = cell("load", "%load_secure dataset/kept as rows --format bytes")
    path = write(lab, "kept.ipynb", cell("ask", ask("dataset/kept")), load, cell("show", "rows"))
    open_notebook(page, lab, path)
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    approve(page, approver)
    expect(page.locator(".jp-OutputArea-output", has_text="patient 4711")).to_have_count(1)
    assert "4711" not in save(page, path)
    for view in researcher.grants("active"):
        researcher.return_(view.id)
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")

    # Another day: the notebook, and a kernel that has opened nothing.
    open_notebook(page, lab, path)
    before = outputs(save(page, path))
    box = shown(page).last
    expect(box).to_contain_text("Sealed output, made from dataset/kept")
    assert "4711" not in page.content()
    press(box, "Show")
    alert = box.get_by_role("alert")
    expect(alert).to_contain_text("No grant of this notebook")
    expect(alert.locator("code")).to_contain_text("%grant request dataset/kept --for 1h")
    start(page, 0)
    approve(page, approver)
    press(box, "Show")
    expect(box).to_contain_text("patient 4711")
    expect(alert).to_be_hidden()
    page.screenshot(path=tmp_path / "shown.png")

    text = save(page, path)
    assert "4711" not in text
    assert outputs(text) == before
    press(box, "Hide")
    expect(box).not_to_contain_text("4711")


def outputs(text: str) -> list[Any]:
    """Those of the cells that are not run again."""
    return [one["outputs"] for one in json.loads(text)["cells"][1:]]


def test_showing_changes_no_byte_of_the_file_and_runs_nothing(
    page: Page, lab: Server, researcher: PersonClient, approver: PersonClient
) -> None:
    """Anybody can seal to a public key: what comes out is shown without trust."""
    html = "<b>patient 4711</b><img src=x onerror='window.ran=1'><script>window.ran=1</script>"
    forged = {"output_type": "display_data", "data": {"text/html": html}, "metadata": {}}
    output = sealed(researcher, "dataset/forged", forged)
    path = write(
        lab,
        "forged.ipynb",
        cell("ask", ask("dataset/forged")),
        {**cell("forged", "rows"), "outputs": [output]},
    )
    open_notebook(page, lab, path)
    start(page, 0)
    approve(page, approver)
    expect(page.locator(".jp-InputArea-prompt").first).to_have_text("[1]:")
    before = save(page, path)
    assert MIME_TYPE in before
    box = shown(page)
    press(box, "Show")
    expect(box.locator("b")).to_have_text("patient 4711")
    assert box.locator("script").count() == 0
    assert page.evaluate("window.ran") is None
    page.evaluate("window.jupyterapp.shell.currentWidget.context.model.dirty = true")
    assert save(page, path) == before


def test_a_running_cell_is_not_waited_for(
    page: Page, lab: Server, researcher: PersonClient, approver: PersonClient
) -> None:
    path = write(
        lab,
        "busy.ipynb",
        cell("ask", ask("dataset/busy")),
        {**cell("saved", "rows"), "outputs": [sealed(researcher, "dataset/busy", STREAM)]},
        cell("run", "import threading; threading.Event().wait(600)"),
    )
    open_notebook(page, lab, path)
    start(page, 0)
    approve(page, approver)
    expect(page.locator(".jp-InputArea-prompt").first).to_have_text("[1]:")
    start(page, 2)
    running = page.locator(".jp-InputArea-prompt", has_text="[*]")
    expect(running).to_have_count(1)
    press(shown(page), "Show")
    expect(shown(page)).to_contain_text("patient 4711")
    expect(running).to_have_count(1)
    assert "4711" not in save(page, path)


def test_another_kernel_says_which_one_does_it(page: Page, lab: Server) -> None:
    key = OutputKey(artifact="dataset/x", seal_id="seal_x")
    output = seal_output(STREAM, {key: ReleaseKey.generate().public})
    saved = {**cell("saved", "rows"), "outputs": [output]}
    path = write(lab, "other.ipynb", saved, kernel="marking")
    open_notebook(page, lab, path)
    press(shown(page), "Show")
    alert = shown(page).get_by_role("alert")
    expect(alert).to_contain_text("This kernel does not open sealed outputs.")
    expect(alert).to_contain_text('"Python 3 (secure)"')
