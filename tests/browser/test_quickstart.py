"""`aisec quickstart`, as `make lab` runs it: the notebook of the walk, in a browser, by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from jupyter_aisec.sealed.outputs import MIME_TYPE
from tests.walk.scanner import changed_files, scan_files
from tests.walk.walk import Walk

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

expect.set_options(timeout=60_000)  # a busy machine is slow
COUNTDOWN = re.compile(r"active, \S+ left")


@pytest.fixture
def walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Walk]:
    """The quickstart with its JupyterLab, and something planted in what it opens."""
    for what in ("CONFIG", "DATA", "RUNTIME"):
        monkeypatch.setenv(f"JUPYTER_{what}_DIR", str(tmp_path / what.lower()))
    folder = tmp_path / "quickstart"
    folder.mkdir()
    with Walk(folder, lab=True) as walk:
        walk.plant()
        yield walk


def opened_by_the_lab(page: Page, runtime: Path) -> None:
    """Goes where JupyterLab sends the browser that it opens."""
    while not (found := list(runtime.glob("jpserver-file-to-run-*-open.html"))):
        page.wait_for_timeout(100)
    page.goto(found[0].as_uri())


def choose(page: Page, menu: str, item: str) -> None:
    page.get_by_role("menubar").get_by_role("menuitem", name=menu, exact=True).click()
    label = page.locator(".lm-Menu-itemLabel", has_text=re.compile(f"^{re.escape(item)}$"))
    label.click()


def test_the_quickstart_walks_by_hand(page: Page, walk: Walk, tmp_path: Path) -> None:
    page.set_viewport_size({"width": 1200, "height": 6000})  # so that all cells are drawn
    opened_by_the_lab(page, tmp_path / "runtime")
    expect(page).to_have_url(re.compile(r"/lab/tree/quickstart\.ipynb"))
    expect(page.locator("#jp-main-statusbar")).to_contain_text("Python 3 (secure) | Idle")
    give_back = page.locator(".jp-CodeCell", has_text="%grant return")
    give_back.locator(".jp-InputPrompt").click()
    choose(page, "Run", "Run All Above Selected Cell")

    card = page.locator(".jp-OutputArea-output [role=status]")
    expect(card).to_contain_text("waiting for approver")
    # Narrowed to less than ten minutes, the countdown is in seconds.
    walk.aisec("grant", "approve", "--for", "9m", "--yes", person="approver").expect()
    accuracy = page.locator(".jp-OutputArea-output", has_text="accuracy")
    expect(accuracy).to_have_count(1, timeout=240_000)
    expect(page.locator(".jp-InputArea-prompt", has_text="[*]")).to_have_count(0)
    for _ in range(2):  # nothing runs, and it goes on
        expect(card).to_have_text(COUNTDOWN)
        expect(card).not_to_have_text(card.inner_text())
    expect(card).to_have_text(COUNTDOWN)
    choose(page, "Run", "Run Selected Cell")
    expect(card).to_have_text("ended: returned")
    expect(give_back).to_contain_text("ended: returned")

    errors = page.locator('[data-mime-type="application/vnd.jupyter.stderr"]')
    expect(errors).to_have_count(2)
    for number, file in enumerate(("digits.txt", "digits.csv")):
        explained = f"This is the secure kernel: it lets nothing be written to '{file}'"
        expect(errors.nth(number)).to_contain_text(explained)
        expect(errors.nth(number)).to_contain_text("%save_secure EXPRESSION as results/NAME")
    answers = page.locator('[data-mime-type="application/vnd.jupyter.stdout"]')
    expect(answers.filter(has_text="interrupt to stop waiting")).to_have_count(1)
    expect(answers.filter(has_text="Sealed weights/digits-net as seal_")).to_have_count(1)
    custody = answers.filter(has_text="sealed by researcher")
    expect(custody).to_contain_text("60 training steps in researcher's kernel")
    expect(custody).to_contain_text("approved by approver")
    displayed = accuracy.inner_text().strip("'")

    saved = save(page, walk.work / "quickstart.ipynb")
    found = [output for cell in saved["cells"] for output in cell.get("outputs", ())]
    sealed = [MIME_TYPE in output.get("data", {}) for output in found]
    assert sealed == [False] + [True] * (len(found) - 1), "all but the card, which shows no data"
    assert len(found) >= 8
    assert displayed not in json.dumps(saved)
    places = [walk.folder, tmp_path / "runtime", tmp_path / "config", tmp_path / "data"]
    assert scan_files(changed_files(places, walk.started), walk.needles) == []
    walk.trust.write_text(walk.aisec("broker", "trust", person="researcher").expect().out)
    verify = ("verify", "weights/digits-net", "--trust", walk.trust)
    walk.aisec(*verify, person="researcher").expect()


def save(page: Page, file: Path) -> Any:
    """By the menu; the notebook as it is on the disk then."""
    choose(page, "File", "Save Notebook")
    expect(page.locator(".jp-mod-dirty")).to_have_count(0)
    expect(page.locator(".jp-Dialog")).to_have_count(0)
    return json.loads(file.read_text())
