"""``aisec verify`` on a folder, offline; and on names, through a real broker."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from jupyter_aisec.cli import main
from jupyter_aisec.client.views import ArtifactView
from jupyter_aisec.people import Envelope, canonical, parse_canonical
from jupyter_aisec.provenance import parse_bundle
from jupyter_aisec.provenance.facts import Record
from tests.conftest import RunningBroker
from tests.provenance.world import Walked, walk

verify_module = importlib.import_module("jupyter_aisec.cli.verify")


@pytest.fixture(scope="module")
def walked() -> Walked:
    return walk()


@pytest.fixture
def folder(tmp_path: Path, walked: Walked) -> Path:
    """What a run left at the store, and the trust file beside the folder."""
    place = tmp_path / "digits-net"
    place.mkdir()
    for name, content in walked.world.files[walked.seal_id].items():
        (place / name).write_bytes(content)
    (place / "manifest.json").write_bytes(walked.world.manifest_file(walked.seal_id))
    (place / "bundle.json").write_bytes(walked.bundle)
    signature = parse_bundle(walked.bundle).model_signature
    (place / "model.sig").write_bytes(canonical(signature))
    (tmp_path / "trust.json").write_bytes(msgspec.json.encode(walked.world.trust))
    return place


@pytest.fixture(autouse=True)
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AISEC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AISEC_BROKER", "http://127.0.0.1:1")


def run(folder: Path, *more: str) -> int:
    return main(["verify", str(folder), "--trust", str(folder.parent / "trust.json"), *more])


def test_a_chain_of_custody_is_shown_and_holds(
    folder: Path, walked: Walked, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"weights/digits-net version 1 ({walked.seal_id}):\n")
    assert " 1 ok   bundle: " in out
    assert "24 ok   model signature: " in out
    for part in ("dataset/digits", "weights/minilm", "asked by", "approved by"):
        assert part in out


def test_the_model_key_is_written(folder: Path, walked: Walked) -> None:
    assert run(folder, "--model-key-out", str(folder.parent / "model.pem")) == 0
    written = (folder.parent / "model.pem").read_bytes()
    assert written == walked.world.keys["model"].public.pem()


def test_a_model_key_that_cannot_be_written_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "--model-key-out", str(folder), "--json") == 2
    assert json.loads(capsys.readouterr().err)["code"] == "file-unwritable"


def test_a_changed_model_signature_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "model.sig").write_bytes(b"{}")
    assert run(folder) == 1
    assert "(model signature)" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["bundle.json", "manifest.json", "0000.sealed"])
def test_a_changed_byte_is_named(
    folder: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytearray((folder / name).read_bytes())
    content[-40] ^= 1
    (folder / name).write_bytes(content)
    assert run(folder, "--json") == 1
    out, err = capsys.readouterr()
    failed = [check for check in json.loads(out)["checks"] if not check["ok"]]
    assert failed
    problem = json.loads(err)
    assert problem["code"] == "verification-failed"
    assert f"Check {failed[0]['number']} failed ({failed[0]['name']})" in problem["detail"]


def test_a_file_that_is_gone_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "0000.sealed").unlink()
    assert run(folder) == 1
    assert "(sealed files)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "code"), [("bundle.json", "bundle-missing"), ("manifest.json", "sealed-file-missing")]
)
def test_what_is_not_there_is_said(
    folder: Path, name: str, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / name).unlink()
    assert run(folder, "--json") == 1
    assert json.loads(capsys.readouterr().err)["code"] == code


def test_without_a_trust_file_nothing_is_verified(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder.parent / "trust.json").unlink()
    assert run(folder, "--json") == 2
    assert json.loads(capsys.readouterr().err)["code"] == "trust-unreadable"


def test_a_name_is_looked_up(broker: RunningBroker) -> None:
    broker.client("researcher").seal("dataset/plain", {"x.csv": b"x\n"})
    trust = broker.folder / "trust.json"
    trust.write_text(broker.run("broker", "trust", person="researcher").stdout)
    for what, code in (
        ("dataset/plain", "bundle-missing"),
        ("run_01ARZ3NDEKTSV4RRFFQ69G5FAV", "run-unknown"),
        ("dataset/none", "artifact-unknown"),
    ):
        done = broker.run("verify", what, "--trust", str(trust), "--json", person="researcher")
        assert done.returncode == 1
        assert msgspec.json.decode(done.stderr)["code"] == code


@pytest.mark.parametrize("kind", ["sealed file", "plain file", "folder"])
def test_what_else_lies_there_is_named(
    folder: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if kind == "folder":
        (folder / "more").mkdir()
    else:
        (folder / {"sealed file": "0007.sealed", "plain file": "x.pt"}[kind]).write_bytes(b"x")
    assert run(folder) == 1
    assert "(sealed files)" in capsys.readouterr().err


def test_a_link_is_no_file_of_a_version(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "0000.sealed").rename(folder.parent / "elsewhere")
    (folder / "0000.sealed").symlink_to(folder.parent / "elsewhere")
    assert run(folder) == 1
    assert "0000.sealed does not belong to this version" in capsys.readouterr().err


def test_a_path_looks_like_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder.parent)
    (folder.parent / "weights").mkdir()
    (folder.parent / "weights" / "base").symlink_to(folder)
    for what, status in (("./digits-net", 0), ("weights/base", 2), ("./nothing", 1)):
        assert main(["verify", what, "--trust", "trust.json", "--json"]) == status
    codes = [json.loads(line)["code"] for line in capsys.readouterr().err.splitlines()]
    assert codes == ["path-ambiguous", "folder-missing"]


def view(folder: Path, walked: Walked, **changes: Any) -> ArtifactView:
    manifest = parse_canonical((folder / "manifest.json").read_bytes(), Envelope, "it")
    fields = {"artifact": "weights/digits-net", "version": 1, "seal_id": walked.seal_id}
    return ArtifactView(**{**fields, **changes}, url=f"file://{folder}", manifest=manifest)


class Catalog:
    """Stands in for a PersonClient whose catalog names one version."""

    def __init__(self, found: ArtifactView) -> None:
        self.found = found

    def artifact(self, name: str, version: int | None) -> ArtifactView:
        return self.found

    def run(self, run: str) -> Any:
        return SimpleNamespace(seal_ids=(self.found.seal_id,))

    def artifacts(self) -> list[ArtifactView]:
        return [self.found]

    def versions(self, name: str) -> list[ArtifactView]:
        return [self.found]


@pytest.mark.parametrize(
    ("what", "changes", "code"),
    [
        ("weights/digits-net", {}, 0),
        ("weights/evil", {"artifact": "weights/evil"}, 1),
        ("weights/digits-net", {"version": 2}, 1),
        ("weights/digits-net", {"seal_id": "seal_01ARZ3NDEKTSV4RRFFQ69G5FAV"}, 1),
        ("run_01ARZ3NDEKTSV4RRFFQ69G5FAV", {}, 1),
    ],
    ids=["the same", "another artifact", "another version", "another seal id", "another run"],
)
def test_what_was_verified_is_what_was_asked_for(
    folder: Path,
    walked: Walked,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    what: str,
    changes: dict[str, Any],
    code: int,
) -> None:
    catalog = Catalog(view(folder, walked, **changes))
    monkeypatch.setattr(verify_module, "PersonClient", lambda: catalog)
    arguments = ["verify", what, "--trust", str(folder.parent / "trust.json")]
    assert main(arguments) == code
    out, err = capsys.readouterr()
    assert "25 ok   catalog: " in out if code == 0 else "Check 25 failed (catalog)" in err


def test_a_run_is_found_by_its_id(
    folder: Path, walked: Walked, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog(view(folder, walked))
    monkeypatch.setattr(verify_module, "PersonClient", lambda: catalog)
    bundle = parse_bundle(walked.bundle)
    run_id = bundle.record.read(Record, Record.payload_type, "it").run
    assert main(["verify", run_id, "--trust", str(folder.parent / "trust.json")]) == 0


def test_a_bundle_that_says_nothing_is_not_what_was_asked_for(
    folder: Path,
    walked: Walked,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    catalog = Catalog(view(folder, walked))
    monkeypatch.setattr(verify_module, "PersonClient", lambda: catalog)
    (folder / "bundle.json").write_bytes(b"{}")
    trust = str(folder.parent / "trust.json")
    assert main(["verify", "weights/digits-net", "--trust", trust]) == 1
    out = capsys.readouterr().out
    assert out.startswith("What lies there cannot be told.\n")
    assert "25 FAIL catalog: not checked" in out
