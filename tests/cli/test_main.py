from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_aisec.cli import main, session
from jupyter_aisec.cli.main import app

NOUNS = ("broker", "person", "key", "artifact", "grant", "run", "audit", "policy")


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AISEC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AISEC_BROKER", "http://127.0.0.1:1")  # nothing listens there


@pytest.mark.parametrize(
    "arguments",
    [["nonsense"], ["grant", "request"], ["grant", "show"], ["whoami", "--nonsense"]],
    ids=" ".join,
)
def test_misuse_is_two_lines_and_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first.startswith("aisec: ")
    assert second.startswith("  next: See `aisec")
    assert main([*arguments, "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["code"] == "usage"


@pytest.mark.parametrize(
    "arguments",
    [
        ["grant", "show", "grant_1"],
        ["grant", "request", "dataset/x", "--for", "soon", "--reason", "r"],
        ["person", "add", "person-a", "--role", "queen"],
        ["policy", "check", "/nonexistent"],
    ],
    ids=lambda arguments: arguments[-1],
)
def test_values_that_cannot_be_meant_are_misuse_too(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert "  next: " in capsys.readouterr().err


def test_a_refusal_is_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["whoami", "--json"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err)["code"] == "broker-unreachable"


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (ValueError("oops"), "ValueError: oops"),
        (KeyboardInterrupt(), "Interrupted."),
    ],
    ids=["a fault of ours", "Ctrl-C"],
)
def test_no_traceback_ever(
    raised: BaseException,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails() -> None:
        raise raised

    monkeypatch.setattr(session, "PersonClient", fails)
    assert main(["whoami"]) == 1
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err


def test_help_names_every_noun(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    for noun in (*NOUNS, "quickstart", "login", "whoami", "doctor", "verify"):
        assert noun in out


def _leaves(group: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    import typer

    command = typer.main.get_command(group) if isinstance(group, typer.Typer) else group
    commands = getattr(command, "commands", None)
    if commands is None:
        return [path]
    return [leaf for name, sub in commands.items() for leaf in _leaves(sub, (*path, name))]


@pytest.mark.parametrize("command", _leaves(app), ids=" ".join)
def test_every_command_has_help_and_json(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--help"]) == 0
    assert "--json" in capsys.readouterr().out


def test_a_reader_that_had_enough_is_no_fault() -> None:
    script = (
        "import sys; from jupyter_aisec.cli import main, session\n"
        "def broken():\n raise BrokenPipeError\n"
        "session.PersonClient = broken; sys.exit(main(['whoami']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=os.environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "")


def test_as_a_module_it_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jupyter_aisec.cli", "whoami"],
        env=os.environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "next: Start it, `aisec broker start --listen 127.0.0.1:1`" in done.stderr
