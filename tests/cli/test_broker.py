"""Making and starting brokers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jupyter_aisec.broker import server
from jupyter_aisec.cli import main
from jupyter_aisec.cli.children import child, read_json
from jupyter_aisec.client import Home
from jupyter_aisec.people.keys import SigningKey
from tests.conftest import AISEC, RunningBroker


@pytest.fixture
def public(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The public key of person-a, as `aisec key enroll --public-out` writes it."""
    monkeypatch.setenv("AISEC_HOME", str(tmp_path / "person-a"))
    assert (
        main(["key", "enroll", "--as", "person-a", "--public-out", str(tmp_path / "person-a.pem")])
        == 0
    )
    return tmp_path / "person-a.pem"


def test_a_broker_is_made_once(
    public: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = str(tmp_path / "b")
    arguments = ["broker", "init", "--home", home, "--admin", f"person-a={public}"]
    more = ["--role", "person-a=approver", "--origin", "log.example", "--store", "memory://s"]
    capsys.readouterr()
    assert main([*arguments, *more, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["trust"]["origin"] == "log.example"
    assert made["people"][0]["roles"] == ["admin", "approver"]
    assert (tmp_path / "b" / "config.toml").read_text() == 'store = "memory://s"\n'
    assert main([*arguments, "--json"]) == 1
    assert json.loads(capsys.readouterr().err)["code"] == "genesis-exists"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--admin", "person-a"),
        ("--admin", "=x.pem"),
        ("--admin", "person-b=/nonexistent.pem"),
        ("--admin", "person-b={folder}/rsa.pem"),
        ("--role", "person-b=approver"),
        ("--role", "person-a=king"),
        ("--policy", "/nonexistent"),
    ],
)
def test_what_cannot_be_meant_is_misuse(
    public: Path, tmp_path: Path, option: str, value: str
) -> None:
    (tmp_path / "rsa.pem").write_bytes(SigningKey.generate("p256").public.pem())
    arguments = ["broker", "init", "--home", str(tmp_path / "b"), "--admin", f"person-a={public}"]
    assert main([*arguments, option, value.format(folder=tmp_path)]) == 2
    assert not (tmp_path / "b" / "broker.sqlite").exists()


def test_starting_on_an_empty_home_makes_one_for_the_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AISEC_HOME", str(tmp_path / "me"))
    ran: list[dict[str, Any]] = []

    def run(home: Path, listen: str, **options: Any) -> None:
        options["announce"]("http://127.0.0.1:1", "files")
        ran.append({"home": home, "listen": listen, **options})

    monkeypatch.setattr(server, "run_broker", run)
    start = ["broker", "start", "--home", str(tmp_path / "b"), "--listen", "127.0.0.1:0"]
    assert main(start) == 0
    out, err = capsys.readouterr()
    assert "The broker runs at http://127.0.0.1:1 (keys in files)." in out
    assert "aisec person add NAME --role approver" in err
    me = Home(tmp_path / "me")
    assert me.has_key()
    assert me.trust() is not None
    assert me.account().person
    policy = tmp_path / "policy.toml"
    policy.write_text("mode = 1")
    config = tmp_path / "config.toml"
    config.write_text('lease = "30s"\n')
    assert main([*start, "--policy", str(policy), "--config", str(config), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["url"] == "http://127.0.0.1:1"
    assert err == ""
    assert (ran[0]["policy"], ran[1]["policy"]) == (None, "mode = 1")
    assert ran[1]["config"].lease.total_seconds() == 30


def test_a_broker_ends_when_told(own_broker: RunningBroker) -> None:
    own_broker.stop()
    start = [*AISEC, "broker", "start", "--json", "--home", str(own_broker.home)]
    with child([*start, "--listen", "127.0.0.1:0"], {}, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert read_json(process.stdout)["url"].startswith("http://127.0.0.1:")
    assert process.returncode == 0


def test_a_child_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jupyter_aisec.cli.children._END_SECONDS", 0.2)
    deaf = "import signal; signal.signal(15, signal.SIG_IGN); print(1, flush=True); signal.pause()"
    with child([sys.executable, "-c", deaf], {}, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert read_json(process.stdout) == 1
    assert process.returncode == -signal.SIGKILL


def test_a_child_that_says_nothing_is_noticed() -> None:
    assert read_json(iter(())) is None
    assert read_json(iter(("{\n", '"a": 1', "}\n"))) == {"a": 1}
