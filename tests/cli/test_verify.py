"""``aisec verify`` on a folder, offline; and on names, through a real broker."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from jupyter_aisec.cli import main
from jupyter_aisec.people import canonical
from jupyter_aisec.provenance import parse_bundle
from tests.conftest import RunningBroker
from tests.provenance.world import Walked, walk


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
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder) == 0
    out = capsys.readouterr().out
    assert " 1 ok   bundle: " in out
    assert "22 ok   model signature: " in out
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
