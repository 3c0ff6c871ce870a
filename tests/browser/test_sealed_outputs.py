"""A saved notebook, opened again: its sealed outputs are shown, and the file stays as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from jupyter_aisec.client import PersonClient
from jupyter_aisec.sealed.manifest import read_manifest
from jupyter_aisec.sealed.outputs import MIME_TYPE, OutputKey, seal_output
from jupyter_aisec.sealed.release import ReleaseKey
from tests.browser.test_lab import cell, open_lab, run_notebook, save
from tests.conftest import RunningBroker
from tests.jupyter import Server

pytestmark = pytest.mark.browser


def grant(approver: PersonClient, reason: str) -> str:
    (found,) = [view for view in approver.grants("pending") if view.reason == reason]
    approver.approve(found.id)
    return found.id


def sealed_outputs(page: Page) -> Locator:
    return page.locator(".jp-AisecSealed")


def wait_for_kernel(page: Page) -> None:
    found = "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel"
    page.wait_for_function(f"{found}?.status === 'idle'")


def test_a_saved_output_is_shown_again_and_the_file_stays_sealed(
    page: Page,
    lab: Server,
    broker: RunningBroker,
    researcher: PersonClient,
    approver: PersonClient,
    tmp_path: Path,
) -> None:
    (tmp_path / "rows.txt").write_text("patient 4711")
    source = str(tmp_path / "rows.txt")
    broker.run("artifact", "seal", source, "dataset/kept", person="researcher").check_returncode()
    path = run_notebook(
        page,
        lab,
        "aisec",
        cell("ask", '%grant request dataset/kept --for 1h --reason "Kept"'),
        cell("load", "%load_secure dataset/kept as rows --format bytes"),
        cell("show", "print(rows)\nrows"),
    )
    expect(page.locator(".jp-AisecGrants")).to_have_text("1 waiting")
    first = grant(approver, "Kept")
    expect(page.locator(".jp-OutputArea-output", has_text="patient 4711")).to_have_count(2)
    assert "4711" not in save(page, path)
    researcher.return_(first)
    page.evaluate("window.jupyterapp.commands.execute('kernelmenu:shutdown')")

    # Another day: the notebook, and a kernel that has opened nothing.
    open_lab(page, lab, path.name)
    wait_for_kernel(page)
    closed = save(page, path)
    shown = sealed_outputs(page).filter(has_text="dataset/kept").last
    expect(shown).to_contain_text("Sealed output, made from dataset/kept")
    assert "4711" not in page.content()
    shown.get_by_role("button", name="Show").click()
    expect(shown.get_by_role("alert")).to_contain_text("No grant of this notebook")
    expect(shown.get_by_role("alert")).to_contain_text("%grant request dataset/kept --for 1h")

    page.evaluate(
        """async () => {
            const { context, content } = window.jupyterapp.shell.currentWidget;
            content.activeCellIndex = 0;
            content.activeCell.model.sharedModel.setSource(
                '%grant request dataset/kept --for 1h --reason "Again"');
            await window.jupyterapp.commands.execute('notebook:run-cell');
        }"""
    )
    expect(page.locator(".jp-AisecGrants")).to_have_text("1 waiting")
    second = grant(approver, "Again")
    shown.get_by_role("button", name="Show").click()
    expect(shown).to_contain_text("patient 4711")
    expect(shown.get_by_role("alert")).to_be_hidden()
    page.screenshot(path=tmp_path / "shown.png")

    save(page, path)
    assert sealed_of(path.read_text()) == sealed_of(closed)
    assert "4711" not in path.read_text()
    shown.get_by_role("button", name="Hide").click()
    expect(shown).not_to_contain_text("4711")
    once = save(page, path)
    assert "4711" not in once
    assert save(page, path) == once
    researcher.return_(second)


def sealed_of(text: str) -> list[Any]:
    """The outputs of the cells that were not run again."""
    return [one["outputs"] for one in json.loads(text)["cells"][1:]]


def test_showing_changes_no_byte_of_the_file_and_runs_nothing(
    page: Page,
    lab: Server,
    broker: RunningBroker,
    researcher: PersonClient,
    approver: PersonClient,
    tmp_path: Path,
) -> None:
    """Anybody can seal to a public key: what comes out is shown without trust."""
    (tmp_path / "a.txt").write_text("a")
    broker.run(
        "artifact", "seal", str(tmp_path / "a.txt"), "dataset/forged", person="researcher"
    ).check_returncode()
    view = researcher.artifact("dataset/forged")
    key = OutputKey(artifact="dataset/forged", seal_id=view.seal_id)
    html = (
        "<b id=mark>patient 4711</b><img src=x onerror='window.ran=1'><script>window.ran=1</script>"
    )
    forged = {"output_type": "display_data", "data": {"text/html": html}, "metadata": {}}
    output = seal_output(forged, {key: read_manifest(view.manifest).output_key})
    spec = {"name": "aisec", "display_name": "Python 3 (secure)", "language": "python"}
    notebook = {
        "cells": [
            cell("ask", '%grant request dataset/forged --for 1h --reason "Forged"'),
            {**cell("forged", "show()"), "outputs": [output]},
        ],
        "metadata": {"kernelspec": spec},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path = lab.folder / "forged.ipynb"
    path.write_text(json.dumps(notebook))
    open_lab(page, lab, path.name)
    wait_for_kernel(page)
    page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex = 0")
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-cell')")
    expect(page.locator(".jp-AisecGrants")).to_have_text("1 waiting")
    given = grant(approver, "Forged")
    wait_for_kernel(page)
    before = save(page, path)
    assert MIME_TYPE in before
    shown = sealed_outputs(page)
    shown.get_by_role("button", name="Show").click()
    expect(shown.locator("b")).to_have_text("patient 4711")
    assert shown.locator("script").count() == 0
    assert page.evaluate("window.ran") is None
    page.evaluate("window.jupyterapp.shell.currentWidget.context.model.dirty = true")
    assert save(page, path) == before
    researcher.return_(given)


def test_another_kernel_says_which_one_does_it(page: Page, lab: Server) -> None:
    path = run_notebook(page, lab, "marking", cell("one", "print(1)"))
    key = OutputKey(artifact="dataset/x", seal_id="seal_x")
    output = seal_output(
        {"output_type": "stream", "name": "stdout", "text": "x"},
        {key: ReleaseKey.generate().public},
    )
    notebook = json.loads(path.read_text())
    notebook["cells"][0]["outputs"] = [output]
    other = lab.folder / "other.ipynb"
    other.write_text(json.dumps(notebook))
    open_lab(page, lab, other.name)
    wait_for_kernel(page)
    shown = sealed_outputs(page)
    shown.get_by_role("button", name="Show").click()
    expect(shown.get_by_role("alert")).to_contain_text("This kernel does not open sealed outputs.")
    expect(shown.get_by_role("alert")).to_contain_text('"Python 3 (secure)"')
