"""The walk of the README holds its promises, on real parts, in the secure kernel."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.walk.walk import NOTEBOOKS, Walk, damaged

pytestmark = [pytest.mark.walk, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walk]:
    """The walk, with the quickstart notebook run and saved."""
    with Walk(tmp_path_factory.mktemp("walk")) as walk:
        walk.trust.write_text(walk.aisec("broker", "trust", person="researcher").expect().out)
        walk.plant()
        walk.approve_what_comes()
        walk.notebook(NOTEBOOKS / "quickstart.ipynb")
        yield walk


@pytest.fixture(scope="module")
def notebook(walk: Walk) -> Any:
    return json.loads((walk.work / "quickstart.ipynb").read_text())


def _verify(walk: Walk, what: str | Path, code: int) -> Any:
    return walk.aisec("verify", what, "--trust", walk.trust, "--json").expect(code).json


def test_nothing_that_was_planted_reached_a_disk(walk: Walk) -> None:
    assert walk.scan() == []


def test_the_saved_notebook_holds_no_output_of_an_opened_artifact(notebook: Any) -> None:
    text = json.dumps([cell.get("outputs") for cell in notebook["cells"]])
    assert "application/vnd.jupyter-aisec.sealed+json" in text
    assert "pixel_0_0" not in text


def test_two_people_stand_behind_the_grant(walk: Walk) -> None:
    (grant,) = walk.aisec("grant", "list", "--json", person="approver").expect().json
    assert grant["person"] == "researcher"
    assert [approval["person"] for approval in grant["approvals"]] == ["approver"]
    assert sorted(grant["artifacts"]) == ["dataset/digits", "weights/minilm"]


def test_the_grant_cannot_be_approved_by_the_requester(walk: Walk) -> None:
    (grant,) = walk.aisec("grant", "list", "--json", person="researcher").expect().json
    refused = walk.aisec("grant", "approve", grant["id"], "--yes", person="researcher").expect(1)
    assert "next:" in refused.err


def test_the_chain_of_custody_verifies(walk: Walk) -> None:
    report = _verify(walk, walk.version_folder("weights/digits-net"), 0)
    assert all(check["ok"] for check in report["checks"])
    assert [check["number"] for check in report["checks"]] == list(
        range(1, len(report["checks"]) + 1)
    )


def test_the_chain_of_custody_is_shown_by_name(walk: Walk) -> None:
    command = ("verify", "weights/digits-net", "--trust", walk.trust)
    shown = walk.aisec(*command, person="researcher").expect().out
    for name in ("weights/digits-net", "dataset/digits", "weights/minilm", "grant_", "approver"):
        assert name in shown


@pytest.mark.parametrize("position", [0, 45, -1], ids=["first", "inner", "last"])
@pytest.mark.parametrize("file", ["0000.sealed", "manifest.json", "bundle.json"])
def test_one_changed_byte_fails_a_named_check(walk: Walk, file: str, position: int) -> None:
    with damaged(walk.version_folder("weights/digits-net"), file, (position,)) as copy:
        report = _verify(walk, copy, 1)
    assert any(not check["ok"] and check["name"] for check in report["checks"])


def test_every_entry_of_the_chain_is_checked(walk: Walk, tmp_path: Path) -> None:
    sealed = walk.version_folder("weights/digits-net")
    bundle = json.loads((sealed / "bundle.json").read_text())
    for number, entry in enumerate(bundle["entries"]):
        copy = tmp_path / str(number)
        shutil.copytree(sealed, copy)
        text = (sealed / "bundle.json").read_text()
        at = text.index(entry["body"]) + len(entry["body"]) // 2
        swapped = "A" if text[at] != "A" else "B"
        (copy / "bundle.json").write_text(text[:at] + swapped + text[at + 1 :])
        report = _verify(walk, copy, 1)
        assert any(not check["ok"] for check in report["checks"]), entry["type"]


def test_the_ledger_and_all_tables_verify(walk: Walk) -> None:
    walk.aisec("audit", "verify", person="approver").expect()
