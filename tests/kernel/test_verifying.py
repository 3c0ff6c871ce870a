"""What a kernel sealed, verified by the commands of docs/verify.md as they stand there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .test_walk_ordinary import TRAIN, ask_and_approve, run

DOCS = Path(__file__).parents[2] / "docs" / "verify.md"
COMMANDS = re.findall(r"```sh\n(.*?)```", DOCS.read_text(), re.DOTALL)
AISEC, MODEL_SIGNING, SECURESYSTEMSLIB, OPENSSL = COMMANDS


@pytest.fixture
def sealed(notebook, tmp_path):
    """A copy of the folder of a model that was trained and saved; the trust file beside it."""
    ask_and_approve(notebook)
    run(notebook, "%load_secure dataset/rows as df")
    run(notebook, TRAIN)
    run(notebook, "%save_secure model as weights/verified")
    url = notebook.world.researcher.artifact("weights/verified").url
    folder = tmp_path / "verified"
    shutil.copytree(url.removeprefix("file://"), folder)
    trust = notebook.world.broker.run("broker", "trust", person="researcher").stdout
    (tmp_path / "trust.json").write_text(trust)
    return folder


def sh(command, folder):
    """Runs it as an auditor would: far from any broker."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    home = {"AISEC_HOME": str(folder.parent / "auditor"), "AISEC_BROKER": "http://127.0.0.1:1"}
    return subprocess.run(
        ["bash", "-e", "-c", command],
        env={**os.environ, **home, "PATH": path, "FOLDER": str(folder)},
        cwd=folder.parent,
        capture_output=True,
        text=True,
        check=False,
    )


def change(file):
    """One byte; of a bundle one in its statement, of which the other tools read nothing else."""
    content = bytearray(file.read_bytes())
    at = len(content) // 2
    if file.name == "bundle.json":
        at = content.index(b'"payload":"', content.rindex(b'"statement"')) + 60
    content[at] = ord("A") if content[at] != ord("A") else ord("B")
    file.write_bytes(content)


def test_every_command_accepts_what_a_run_sealed(sealed):
    for command in COMMANDS:
        done = sh(command, sealed)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "weights/verified/0000.sealed" in sh(SECURESYSTEMSLIB, sealed).stdout


def test_every_command_rejects_what_was_changed(sealed):
    assert sh(AISEC, sealed).returncode == 0  # writes model.pem
    for command, files in (
        (AISEC, ("0000.sealed", "manifest.json", "bundle.json", "model.sig")),
        (MODEL_SIGNING, ("0000.sealed", "manifest.json", "model.sig")),
        (SECURESYSTEMSLIB, ("bundle.json",)),
        (OPENSSL, ("bundle.json",)),
    ):
        for name in files:
            copy = shutil.copytree(sealed, sealed.parent / "changed")
            change(copy / name)
            assert sh(command, copy).returncode != 0, (command, name)
            shutil.rmtree(copy)


def test_the_model_key_is_written_only_of_what_holds(sealed):
    change(sealed / "model.sig")
    done = sh(AISEC, sealed)
    assert "model signature" in done.stderr
    assert not (sealed.parent / "model.pem").exists()


def test_without_its_file_the_signature_of_the_bundle_is_checked(sealed):
    (sealed / "model.sig").unlink()
    done = sh(AISEC, sealed)
    assert done.returncode == 0
    assert "there is no model.sig here" in done.stdout


def test_the_brokers_bundle_stands_in_for_one_that_was_not_stored(sealed, notebook):
    """A kernel that was killed between the two: by name, what it recorded is verified."""
    world = notebook.world
    url = world.researcher.artifact("weights/verified").url
    for name in ("bundle.json", "model.sig"):
        (Path(url.removeprefix("file://")) / name).unlink()
    command = ("verify", "weights/verified", "--trust", str(sealed.parent / "trust.json"))
    done = world.broker.run(*command, person="researcher")
    assert done.returncode == 0, done.stderr
    assert "ok   catalog" in done.stdout
