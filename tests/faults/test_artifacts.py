"""Names, versions and owners of artifacts, and what cannot be sealed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from jupyter_aisec.sealed.manifest import MAX_FILES
from tests.conftest import RunningBroker
from tests.faults.person import Person, files, ok
from tests.faults.table import Row


def test_artifact_unknown(row: Row, researching: Person, artifact: str) -> None:
    for arguments in (
        ("artifact", "show", "dataset/none"),
        ("grant", "request", "dataset/none", "--for", "1h", "--reason", "r"),
    ):
        met = researching.meets(row, *arguments)
        met.follow(researching)
    assert artifact in ok(researching.run("artifact", "list")).stdout
    ok(researching.run("artifact", "show", artifact))


@pytest.mark.parametrize(
    "name", ["dataset/\x1b[2Jx", "../etc/passwd", "data/x", "dataset/\u202ex", "dataset/a b"]
)
def test_artifact_name_hostile(row: Row, researching: Person, artifact: str, name: str) -> None:
    met = researching.meets(row, "artifact", "show", name)
    met.follow(researching)
    ok(researching.run("artifact", "show", artifact))


def test_version_unknown(row: Row, researching: Person, artifact: str) -> None:
    met = researching.meets(row, "artifact", "show", artifact, "--version", "7")
    assert met.holes == {"VERSION": "1", "NAME": artifact}
    met.follow(researching)
    ok(researching.run("artifact", "show", artifact, "--version", met.holes["VERSION"]))


def test_artifact_of_another(
    row: Row,
    broker: RunningBroker,
    artifact: str,
    at_terminal: Callable[[RunningBroker, str], Person],
    tmp_path: Path,
) -> None:
    other = at_terminal(broker, "rosa")
    ok(other.run("login", "--token", broker.add("rosa", "researcher")))
    source = tmp_path / "x.csv"
    source.write_text("x\n2\n")
    met = other.meets(row, "artifact", "seal", str(source), artifact)
    met.follow(other, SRC=str(source), NAME=f"{artifact}-rosa")
    ok(other.run("artifact", "show", f"{artifact}-rosa"))


@pytest.fixture
def labelled(broker: RunningBroker, artifact: str) -> str:
    """A version of this test's artifact, with a label."""
    broker.client("researcher").seal(artifact, {"x.csv": b"x\n2\n"}, labels=["phi"])
    return artifact


def begin(person: Person, name: str) -> str:
    """A declassification that waits for another signature; its file."""
    drop = ("declassify", name, "--drop", "phi", "--reason", "aggregates", "--json")
    return str(msgspec.json.decode(ok(person.run(*drop)).stdout)["file"])


def labels(person: Person, name: str) -> list[str]:
    shown = ok(person.run("artifact", "show", name, "--json")).stdout
    return list(msgspec.json.decode(shown)["labels"])


def test_label_not_carried(row: Row, researching: Person, approving: Person, labelled: str) -> None:
    met = researching.meets(row, "declassify", labelled, "--drop", "ph1", "--reason", "r")
    assert "phi" in met.follow(researching)
    ok(approving.run("declassify", "countersign", begin(researching, labelled), "--yes"))
    assert labels(researching, labelled) == []


def test_stranger_declassifies(
    row: Row,
    broker: RunningBroker,
    researching: Person,
    approving: Person,
    labelled: str,
    at_terminal: Callable[[RunningBroker, str], Person],
) -> None:
    other = at_terminal(broker, "lorna")
    ok(other.run("login", "--token", broker.add("lorna", "researcher")))
    met = other.meets(row, "declassify", labelled, "--drop", "phi", "--reason", "r")
    assert met.holes == {"OWNER": "researcher", "NAME": f"{labelled}@2", "LABEL": "phi"}
    met.follow(researching, TEXT="aggregates")
    (file,) = researching.folder.glob("*.declassification.json")
    ok(approving.run("declassify", "countersign", str(file), "--yes"))
    assert labels(other, labelled) == []


def test_declassified_with_a_stranger(
    row: Row,
    broker: RunningBroker,
    researching: Person,
    approving: Person,
    labelled: str,
    at_terminal: Callable[[RunningBroker, str], Person],
) -> None:
    other = at_terminal(broker, "nils")
    ok(other.run("login", "--token", broker.add("nils", "researcher")))
    file = begin(researching, labelled)
    met = other.meets(row, "declassify", "countersign", file, "--yes")
    assert "approver" in met.holes["NAMES"].split(" or ")
    met.follow(approving, FILE=file)
    assert labels(other, labelled) == []


def test_declassified_without_a_reason(
    row: Row, researching: Person, approving: Person, labelled: str
) -> None:
    met = researching.meets(row, "declassify", labelled, "--drop", "phi", "--reason", " ")
    ok(researching.run(*met.with_option(TEXT="aggregates")))
    (file,) = researching.folder.glob("*.declassification.json")
    ok(approving.run("declassify", "countersign", str(file), "--yes"))
    assert labels(researching, labelled) == []


def test_pickle(row: Row, researching: Person) -> None:
    make = "import torch; torch.save({'w': torch.ones(3)}, 'model.pt')"
    subprocess.run([sys.executable, "-c", make], cwd=researching.folder, check=True)
    met = researching.meets(row, "artifact", "seal", "model.pt", "weights/converted")
    met.follow(researching)
    sealed = f"{met.holes['STEM']}.safetensors"
    ok(researching.run("artifact", "seal", sealed, "weights/converted"))


def test_path_too_long(row: Row, researching: Person, tmp_path: Path) -> None:
    source = tmp_path / "rows.csv"
    source.write_text("x,y\n" * 1000)
    researching.meets(row, "artifact", "seal", source.read_text(), "dataset/path-too-long")
    ok(researching.run("artifact", "seal", str(source), "dataset/path-too-long"))


def test_source_empty(row: Row, researching: Person, tmp_path: Path) -> None:
    seal = ("artifact", "seal", str(tmp_path / "rows"), "dataset/from-empty")
    (tmp_path / "rows").mkdir()
    researching.meets(row, *seal)
    (tmp_path / "rows" / "a.txt").write_text("a")
    ok(researching.run(*seal))


def test_source_of_many_files(row: Row, researching: Person, tmp_path: Path) -> None:
    folder, packed = tmp_path / "rows", tmp_path / "rows.tar"
    folder.mkdir()
    for number in range(MAX_FILES + 1):
        (folder / f"{number}.txt").touch()
    met = researching.meets(row, "artifact", "seal", str(folder), "dataset/many")
    met.follow(researching, FILE=str(packed), SRC=str(folder))
    ok(researching.run("artifact", "seal", str(packed), "dataset/many"))


@pytest.mark.parametrize("suffix", ["parquet", "safetensors"])
def test_source_malformed(row: Row, researching: Person, tmp_path: Path, suffix: str) -> None:
    source, name = tmp_path / f"rows.{suffix}", f"dataset/from-{suffix}"
    source.write_text("x,y\n1,2\n3,4\n")
    met = researching.meets(row, "artifact", "seal", str(source), name)
    assert f"rows.{suffix} is not a" in met.what
    met.follow(researching, SRC=str(source.rename(tmp_path / "rows.csv")), NAME=name)
    ok(researching.run("artifact", "show", name))


def test_disk_full_while_sealing(row: Row, researching: Person, tmp_path: Path) -> None:
    """No file of the command grows beyond 64 KiB: as on a full disk."""
    (tmp_path / "source").write_bytes(os.urandom(1024**2))
    store = researching.broker.home / "store"
    before = files(store)
    arguments = ("artifact", "seal", str(tmp_path / "source"), "dataset/large")
    met = researching.meets(row, *arguments, before="ulimit -f 64")
    assert files(store) == before
    ok(researching.run(*met.with_option(URL=(tmp_path / "elsewhere").as_uri())))
    ok(researching.run(*arguments))
