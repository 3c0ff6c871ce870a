"""The walk of the README holds its promises, on real parts, in the secure kernel."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from jupyter_aisec.cli import main
from jupyter_aisec.sealed.outputs import MIME_TYPE
from tests.walk.walk import NOTEBOOKS, Walk, damaged

pytestmark = [pytest.mark.walk, pytest.mark.timeout(600)]


NET = "weights/digits-net"
# The commands of docs/verify.md, by the tool that they run.
SHELL = re.findall(r"```sh\n(.*?)```", (NOTEBOOKS.parent / "docs/verify.md").read_text(), re.DOTALL)
TOOLS = dict(zip(("aisec", "model_signing", "securesystemslib", "openssl"), SHELL, strict=True))


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


def _first_failed(walk: Walk, folder: Path) -> str:
    """The name of the check that fails there; those that rest on it are not made.

    The command is called in this process, which is what the entry point does, and quicker.
    """
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        assert main(["verify", str(folder), "--trust", str(walk.trust), "--json"]) == 1
    checks = json.loads(out.getvalue())["checks"]
    return str(next(check["name"] for check in checks if not check["ok"]))


def test_nothing_that_was_planted_reached_a_disk(walk: Walk) -> None:
    """What the outputs of this notebook and of worse ones hold: see ``test_scan``."""
    assert walk.scan() == []


def test_the_saved_notebook_shows_nothing_once_an_artifact_is_open(notebook: Any) -> None:
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    ids = [cell["id"] for cell in cells]
    opened = ids.index("step-05")  # the first %load_secure
    shown = {cell["id"]: len(cell["outputs"]) for cell in cells[opened:]}
    outputs = [output for cell in cells[opened:] for output in cell["outputs"]]
    if outputs[0]["output_type"] == "stream":  # it waited, and nothing was open yet
        assert "waiting for approver" in "".join(outputs.pop(0)["text"])
    assert all(MIME_TYPE in output.get("data", {}) for output in outputs)
    # The shape, the count of tensors, both refusals, the accuracy, what was saved, its custody.
    shows = ("step-05", "step-06", "step-08", "step-09", "step-14", "step-16", "step-18")
    assert all(shown[name] for name in shows), shown
    text = json.dumps([cell["outputs"] for cell in cells])
    assert [word for word in ("1797", "accuracy", "Traceback", "parameters") if word in text] == []


def test_what_the_notebook_may_not_write_is_not_there(walk: Walk) -> None:
    source = (NOTEBOOKS / "quickstart.ipynb").read_text()
    for name in ("digits.txt", "digits.csv"):
        assert name in source
        assert not list(walk.folder.rglob(name))
    assert [path.name for path in walk.work.iterdir()] == ["quickstart.ipynb"]


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
    report = _verify(walk, walk.version_folder(NET), 0)
    assert all(check["ok"] for check in report["checks"])
    assert [check["number"] for check in report["checks"]] == list(
        range(1, len(report["checks"]) + 1)
    )


def test_the_chain_of_custody_is_shown_by_name(walk: Walk) -> None:
    command = ("verify", NET, "--trust", walk.trust)
    shown = walk.aisec(*command, person="researcher").expect().out
    for name in ("weights/digits-net", "dataset/digits", "weights/minilm", "grant_", "approver"):
        assert name in shown


@pytest.mark.parametrize("position", [0, 45, -1], ids=["first", "inner", "last"])
@pytest.mark.parametrize(
    ("file", "check"),
    [
        ("0000.sealed", "sealed files"),
        ("manifest.json", "manifest"),
        ("model.sig", "model signature"),
    ],
)
def test_one_changed_byte_of_a_file_fails_its_check(
    walk: Walk, file: str, check: str, position: int
) -> None:
    with damaged(walk.version_folder(NET), file, (position,)) as copy:
        assert _first_failed(walk, copy) == check


@pytest.mark.parametrize(
    ("part", "check"),
    [
        ((), "bundle"),
        (("checkpoint",), "checkpoint"),
        (("record", "signatures", 0, "sig"), "record"),
        (("observation", "signatures", 0, "sig"), "observation"),
        (("statement", "signatures", 0, "sig"), "statement signed"),
        (("statement", "payload"), "statement signed"),
        (("model_signature", "verificationMaterial", "publicKey", "hint"), "model signature"),
    ],
    ids=lambda value: ".".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_one_changed_byte_of_the_bundle_fails_the_check_of_its_part(
    walk: Walk, tmp_path: Path, part: tuple[str | int, ...], check: str
) -> None:
    copy = Path(shutil.copytree(walk.version_folder(NET), tmp_path / "copy"))
    bundle = (copy / "bundle.json").read_text()
    changed = _change(bundle, _at(json.loads(bundle), part)) if part else bundle[:-1] + "]"
    (copy / "bundle.json").write_text(changed)
    assert _first_failed(walk, copy) == check


@pytest.mark.parametrize(
    ("field", "checks"),
    [
        ("salt", {"entries"}),
        ("body", {"entries", "bundle"}),  # "bundle" where it cannot even be read any more
    ],
)
def test_one_changed_byte_of_any_entry_of_the_chain_fails_its_check(
    walk: Walk, tmp_path: Path, field: str, checks: set[str]
) -> None:
    sealed = walk.version_folder(NET)
    text = (sealed / "bundle.json").read_text()
    entries = json.loads(text)["entries"]
    kinds = {"artifact.sealed", "grant.requested", "grant.approved", "keys.released", "genesis"}
    assert kinds <= {entry["type"] for entry in entries}
    copy = Path(shutil.copytree(sealed, tmp_path / "copy"))
    for entry in entries:
        (copy / "bundle.json").write_text(_change(text, entry[field], within=entry))
        assert _first_failed(walk, copy) in checks, entry["type"]


def _at(value: Any, path: tuple[str | int, ...]) -> str:
    for step in path:
        value = value[step]
    return str(value)


def _change(text: str, value: str, within: dict[str, Any] | None = None) -> str:
    """``text`` with one character of ``value`` changed, its third last; JSON as before.

    ``within`` is the entry that the value belongs to, where others may have the same.
    """
    written = json.dumps(value, ensure_ascii=False)[1:-1]
    start = 0 if within is None else text.index(f'"body":"{within["body"]}"')
    at = text.index(f'"{written}"', start) + len(written) - 4
    other = {"A": "B", "0": "1"}.get(text[at], "0" if text[at].isdigit() else "A")
    return text[:at] + other + text[at + 1 :]


# -- by other people's tools, as docs/verify.md says


def _shell(walk: Walk, tool: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command of the page, where the trust file lies; no broker is asked."""
    environment = {**walk.environment(), "FOLDER": str(folder)}
    return subprocess.run(
        ["bash", "-e", "-c", TOOLS[tool]],
        env=environment,
        cwd=walk.folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("tool", "files"),
    [("model_signing", ("0000.sealed", "manifest.json", "model.sig")), ("securesystemslib", ())],
)
def test_another_tool_accepts_what_the_walk_made_and_nothing_else(
    walk: Walk, tmp_path: Path, tool: str, files: tuple[str, ...]
) -> None:
    sealed = walk.version_folder(NET)
    assert _shell(walk, "aisec", sealed).returncode == 0  # writes model.pem
    done = _shell(walk, tool, sealed)
    assert done.returncode == 0, done.stdout + done.stderr
    for file in files:
        with damaged(sealed, file, (-40,)) as copy:
            assert _shell(walk, tool, copy).returncode != 0, file
    if tool == "securesystemslib":
        assert f"{NET}/0000.sealed" in done.stdout
        copy = Path(shutil.copytree(sealed, tmp_path / "copy"))
        bundle = json.loads((sealed / "bundle.json").read_text())
        said = base64.b64decode(bundle["statement"]["payload"])
        forged = said.replace(b'"researcher"', b'"approver"')
        assert forged != said
        bundle["statement"]["payload"] = base64.b64encode(forged).decode()
        (copy / "bundle.json").write_text(json.dumps(bundle))
        refused = _shell(walk, tool, copy)
        assert refused.returncode != 0
        assert "VerificationError" in refused.stderr


def test_the_ledger_and_all_tables_verify(walk: Walk) -> None:
    walk.aisec("audit", "verify", person="approver").expect()
