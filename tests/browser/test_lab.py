from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from jupyter_aisec.client import PersonClient
from jupyter_aisec.errors import WrongKeyError
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.sealed.outputs import MIME_TYPE, read_output, unwrap_content_key
from jupyter_aisec.sealed.release import ReleaseKey
from tests.conftest import RunningBroker
from tests.jupyter import Server

pytestmark = pytest.mark.browser
expect.set_options(timeout=60_000)  # the page asks every five seconds; a busy machine is slow


def open_lab(page: Page, lab: Server, path: str = "") -> None:
    page.goto(f"{lab.url}lab{'/tree/' + path if path else ''}?token={lab.token}&reset")
    page.wait_for_function("window.jupyterapp !== undefined")
    page.evaluate("window.jupyterapp.restored")


def test_the_status_bar_follows_a_grant_from_request_to_countdown(
    page: Page,
    lab: Server,
    broker: RunningBroker,
    researcher: PersonClient,
    approver: PersonClient,
    tmp_path: Path,
) -> None:
    (tmp_path / "a.txt").write_text("something")
    source, name = str(tmp_path / "a.txt"), "dataset/<b>bold"
    sealed = broker.run("artifact", "seal", source, "dataset/bold", person="researcher")
    sealed.check_returncode()
    open_lab(page, lab)
    item = page.locator(".jp-AisecGrants")
    expect(item).to_have_text("no grants")

    reason = f"Shown as text, not as markup: {name}"
    grant = researcher.request(["dataset/bold"], 3600, reason)
    expect(item).to_have_text("1 waiting")
    item.click()
    listed = page.locator(".jp-AisecGrants-list")
    expect(listed).to_contain_text(reason)
    expect(listed).to_contain_text("waiting for approver")
    assert listed.locator("b").count() == 0

    approver.approve(grant.id)
    expect(listed).to_contain_text("approved")
    researcher.bind(
        grant.id,
        seat=researcher.read_request(grant).seat,
        kernel_key=SigningKey.generate().public,
        release_key=ReleaseKey.generate().public,
        isolation="none",
    )
    expect(listed).to_contain_text("active, 59:")
    expect(item).to_contain_text("grant 59:")
    page.screenshot(path=tmp_path / "lab.png")
    assert (tmp_path / "lab.png").stat().st_size > 10_000

    researcher.return_(grant.id)
    expect(item).to_have_text("no grants")


def cell(id_: str, source: str) -> dict[str, Any]:
    return {
        "cell_type": "code",
        "id": id_,
        "metadata": {},
        "execution_count": None,
        "outputs": [],
        "source": source,
    }


def run_notebook(page: Page, lab: Server, kernel: str, *cells: dict[str, Any]) -> Path:
    """Open a new notebook in the lab and begin to run all its cells."""
    spec = {"name": kernel, "display_name": kernel, "language": "python"}
    notebook = {
        "cells": cells,
        "metadata": {"kernelspec": spec},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    path = lab.folder / f"{kernel}.ipynb"
    path.write_text(json.dumps(notebook))
    open_lab(page, lab, path.name)
    found = "window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel"
    page.wait_for_function(f"{found}?.status === 'idle'")  # else the page asks for a kernel
    page.evaluate("void window.jupyterapp.commands.execute('notebook:run-all-cells')")
    return path


def save(page: Page, path: Path) -> str:
    page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    expect(page.locator(".jp-Dialog")).to_have_count(0)
    return path.read_text()


def test_what_a_browser_saves_of_marked_outputs_is_sealed(page: Page, lab: Server) -> None:
    """The joining of streams and all else that the page does to outputs, by the page itself."""
    path = run_notebook(
        page,
        lab,
        "marking",
        cell("before", "print('a plain card')"),
        cell("mixed", "print('early', flush=True); state['opened'] = True; print(4711 * 1000)"),
        cell("shown", "print(4711 * 1000)\n4711 * 1000"),
        cell("asked", "x = 4711 * 1000\nget_ipython().run_line_magic('pinfo', 'x')"),
        cell("error", "raise ValueError(4711 * 1000)"),
    )
    expect(page.locator(".jp-OutputArea-output", has_text="ValueError: 4711000")).to_be_visible()
    expect(page.locator(".jp-OutputArea-output", has_text="4711000")).to_have_count(5)
    # A copy has a new id, and what the page joined or made itself has no mark.
    for command in ("select-all", "copy-cell", "paste-cell-below"):
        page.evaluate(f"window.jupyterapp.commands.execute('notebook:{command}')")
    expect(page.locator(".jp-OutputArea-output", has_text="4711000")).to_have_count(10)
    text = save(page, path)
    assert "4711000" not in text
    assert "a plain card" in text
    assert text.count(f'"{MIME_TYPE}"') == 10


def test_what_a_secure_kernel_shows_is_live_in_the_page_and_sealed_in_the_file(
    page: Page,
    lab: Server,
    broker: RunningBroker,
    researcher: PersonClient,
    approver: PersonClient,
    tmp_path: Path,
) -> None:
    (tmp_path / "rows.txt").write_text("patient 4711")
    source = str(tmp_path / "rows.txt")
    broker.run("artifact", "seal", source, "dataset/rows", person="researcher").check_returncode()
    # What somebody who shared this notebook wrote into it: to whom its outputs are to be sealed.
    theirs = ReleaseKey.generate()
    recipient = {
        "artifact": "dataset/rows",
        "seal_id": researcher.artifact("dataset/rows").seal_id,
        "output_key": base64.b64encode(theirs.public).decode(),
    }
    claim = {"aisec": {"recipients": [recipient]}}
    bait = f'display({{"text/plain": "a bait"}}, raw=True, metadata={claim})\n'
    path = run_notebook(
        page,
        lab,
        "aisec",
        cell("ask", '%grant request dataset/rows --for 1h --reason "A look"'),
        cell("load", bait + "%load_secure dataset/rows as rows --format bytes\nprint(rows)"),
        cell("show", bait + "print(rows)\nrows"),
    )
    item = page.locator(".jp-AisecGrants")
    expect(item).to_have_text("1 waiting")
    (grant,) = [view for view in approver.grants("pending") if view.reason == "A look"]
    approver.approve(grant.id)
    expect(page.locator(".jp-OutputArea-output", has_text="patient 4711")).to_have_count(3)
    expect(item).to_contain_text("grant 59:")
    text = save(page, path)
    assert "4711" not in text
    outputs = [one for each in json.loads(text)["cells"][1:] for one in each["outputs"]]
    sealed = [read_output(one["data"][MIME_TYPE]) for one in outputs]
    assert len(sealed) >= 5
    for one in sealed:
        with pytest.raises(WrongKeyError):
            unwrap_content_key(one.header, lambda _: theirs)
    researcher.return_(grant.id)  # the next test's page shows this person's grants too
