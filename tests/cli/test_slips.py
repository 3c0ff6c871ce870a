"""What a slip in what was typed must not do."""

from __future__ import annotations

import io
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from jupyter_aisec import __version__
from jupyter_aisec.cli import main
from jupyter_aisec.cli.output import confirm, say, table
from jupyter_aisec.client import Home, PersonClient
from jupyter_aisec.errors import UsageError
from tests.conftest import RunningBroker


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AISEC_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AISEC_BROKER", "http://127.0.0.1:1")  # nothing listens there
    monkeypatch.chdir(tmp_path)


# -- an empty argument is a variable that was not set


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["grant", "approve", "GRANT", "--for", ""], "Nothing follows --for."),
        (["grant", "approve", "GRANT", "--for="], "Nothing follows --for."),
        (["grant", "approve", "GRANT", "--only", ""], "Nothing follows --only."),
        (["artifact", "seal", "", "dataset/x"], "An argument is empty."),
        (["broker", "start", "--home", ""], "Nothing follows --home."),
        (["key", "revoke", ""], "An argument is empty."),
        (["person", "remove", "", "--yes"], "An argument is empty."),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else None,
)
def test_an_empty_argument_is_not_taken_for_none(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*arguments, "--json"]) == 2
    problem = json.loads(capsys.readouterr().err)
    assert (problem["code"], problem["detail"]) == ("argument-empty", said)
    assert list(tmp_path.iterdir()) == []  # no broker was made in the working folder


def test_an_argument_that_is_not_utf8_is_named_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["grant", "request", "dataset/x", "--for", "1h", "--reason", "\udcff"]) == 2
    assert "An argument is not UTF-8." in capsys.readouterr().err


def test_digits_of_other_scripts_are_no_duration(capsys: pytest.CaptureFixture[str]) -> None:
    request = ["grant", "request", "dataset/x", "--reason", "r", "--for", "\u0661h"]
    assert main([*request, "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["code"] == "duration-invalid"


def test_a_token_that_no_header_can_carry(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AISEC_TOKEN", "two\nlines")
    assert main(["whoami", "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["code"] == "token-malformed"


@pytest.mark.parametrize("kind", ["file", "loop"])
def test_the_doctor_says_that_a_home_is_no_folder(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    home.touch() if kind == "file" else home.symlink_to("home")
    assert main(["doctor", "--json"]) == 1
    assert f"{home} is not a folder" in capsys.readouterr().out


# -- help


@pytest.mark.parametrize("noun", [[], ["broker"], ["person"], ["policy"]], ids=" ".join)
def test_a_noun_alone_shows_its_help_as_it_is_drawn(
    noun: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(noun) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"Usage: {' '.join(['aisec', *noun])} ")
    assert "\\n" not in err
    assert main([*noun, "-h"]) == 0
    assert capsys.readouterr().out == err


def test_help_cuts_no_sentence_off(capsys: pytest.CaptureFixture[str]) -> None:
    for noun in ([], ["broker"], ["policy"], ["audit"]):
        assert main([*noun, "--help"]) == 0
        assert "..." not in capsys.readouterr().out.partition("Commands:")[2]


def test_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"aisec {__version__}\n"


def test_a_question_that_nobody_can_answer_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    with pytest.raises(UsageError) as caught:
        confirm("Sign?", yes=False)
    assert (caught.value.code, "--yes" in caught.value.next) == ("not-confirmed", True)


# -- where it is said


@pytest.mark.parametrize("where", ["/dev/full", "closed"])
def test_an_output_that_takes_nothing_is_no_fault_of_ours(where: str) -> None:
    script = f"exec {sys.executable} -m jupyter_aisec.cli --version "
    script += ">&-" if where == "closed" else f"> {where}"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    if where == "closed":
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert done.returncode == 1
        assert "What this command says cannot be written: No space left" in done.stderr


def test_a_narrow_screen_cuts_no_id_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grant = "grant_01M82VRVZF096SJ650JPPGMEQH"
    drawn = table(("GRANT", "STATE", "REASON"), [(grant, "ended (withdrawn)", "a reason " * 9)])
    monkeypatch.setattr("jupyter_aisec.cli.output._console", lambda _: Console(width=40))
    say(drawn)
    out = capsys.readouterr().out
    assert grant in out
    assert "…" not in out
    assert out.count("reason") == 9


# -- brokers that nobody wanted


@pytest.mark.parametrize("slip", ["address", "taken", "settings", "policy"])
def test_a_slip_makes_no_broker(slip: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        (tmp_path / "bad.toml").write_text("=")
        typed = {
            "address": ["--listen", "127.0.0.1:x"],
            "taken": ["--listen", taken],
            "settings": ["--listen", "127.0.0.1:0", "--config", "bad.toml"],
            "policy": ["--listen", "127.0.0.1:0", "--policy", "missing.toml"],
        }[slip]
        assert main(["broker", "start", "--home", "b", *typed]) == 2
    assert not (tmp_path / "b").exists()
    assert not (tmp_path / "home").exists()


def test_a_second_broker_does_not_take_the_first_ones_place_in_a_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["broker", "start", "--listen", "127.0.0.1:0", "--json", "--home"]
    monkeypatch.setattr(
        "jupyter_aisec.broker.server.run_broker",
        lambda *_, announce, **__: announce("http://127.0.0.1:2", "files"),
    )
    assert main([*start, "first"]) == 0
    me = Home(tmp_path / "home")
    assert me.account().broker == "http://127.0.0.1:2"  # known without AISEC_BROKER
    trusted = me.trust()
    capsys.readouterr()
    assert main([*start, "second"]) == 2
    assert json.loads(capsys.readouterr().err)["code"] == "home-trusts-another"
    assert me.trust() == trusted
    assert not (tmp_path / "second").exists()
    assert main([*start, "first"]) == 0


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_a_home_that_cannot_be_a_folder(
    where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["broker", "start", "--listen", "127.0.0.1:0", "--home", where, "--json"]) == 1
    problem = json.loads(capsys.readouterr().err.splitlines()[-1])  # after a word about its key
    assert (problem["code"], "--home FOLDER" in problem["next"]) == ("home-unwritable", True)


# -- artifacts


def test_a_store_that_ends_with_the_command_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text("a")
    assert main(["artifact", "seal", "a.txt", "dataset/a", "--to", "memory://s", "--json"]) == 2
    assert json.loads(capsys.readouterr().err)["code"] == "store-fleeting"


def test_a_slip_in_a_label_is_said_before_anything_is_sealed(
    broker: RunningBroker, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("a")
    seal = ["artifact", "seal", str(tmp_path / "a.txt"), "dataset/a", "--json"]
    store = tmp_path / "store"
    done = broker.run(*seal, "--label", "Two Words", "--to", str(store), person="researcher")
    problem = json.loads(done.stderr)
    assert (done.returncode, problem["code"]) == (1, "label-invalid")
    assert "small letters" in problem["next"]
    assert not store.exists()


@pytest.mark.parametrize("source", ["missing", "loop", "pipe"])
def test_what_is_no_file_to_seal(source: str, broker: RunningBroker, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    seal = ["artifact", "seal", str(tmp_path / source), "dataset/a", "--json"]
    done = broker.run(*seal, person="researcher")
    assert done.returncode == 2
    problem = json.loads(done.stderr)
    said = f"There is no {tmp_path}/" if source == "missing" else "is not a file."
    assert said in problem["detail"]
    assert problem["next"]


def test_an_approval_for_more_is_told_in_words_how_much_was_asked_for(
    broker: RunningBroker, researcher: PersonClient
) -> None:
    researcher.seal("dataset/asked", {"a.csv": b"1"})
    grant = researcher.request(["dataset/asked"], 5400, "why").id
    done = broker.run("grant", "approve", grant, "--for", "2h", "--json", person="approver")
    assert "dataset/asked, for 1h30m" in json.loads(done.stderr)["next"]


def test_a_grant_says_its_seat_when_it_begins_and_where_a_decision_is_told(
    broker: RunningBroker, researcher: PersonClient
) -> None:
    researcher.seal("dataset/seat", {"a.csv": b"1"})
    ask = ["grant", "request", "dataset/seat", "--for", "1h", "--reason", "why", "--json"]
    asked = [
        json.loads(broker.run(*ask, "--seat", "job:train", person="researcher").stdout)["id"]
        for _ in range(2)
    ]
    assert "job:train" in broker.run("grant", "show", asked[0], person="approver").stdout
    broker.run("grant", "approve", asked[0], "--yes", person="approver")
    shown = broker.run("grant", "show", asked[0], person="researcher").stdout
    assert "when something is opened, until 20" in shown
    deny = ("grant", "deny", asked[1], "--reason", "not with these")
    broker.run(*deny, person="approver")
    told = f"aisec audit search {asked[1]}"
    assert told in broker.run("grant", "show", asked[1], person="researcher").stdout
    found = broker.run(*told.split()[1:], person="researcher").stdout
    assert "approver not with these" in found


def test_a_grant_of_others_is_as_unknown_as_one_that_is_not(
    own_broker: RunningBroker,
) -> None:
    researcher = own_broker.client("researcher")
    researcher.seal("dataset/own", {"a.csv": b"1"})
    grant = researcher.request(["dataset/own"], 60, "why").id
    token = own_broker.add("newcomer", "researcher")
    own_broker.run("login", "--token", token, person="newcomer")
    done = own_broker.run("grant", "show", grant, "--json", person="newcomer")
    assert json.loads(done.stderr)["detail"] == f"There is no grant '{grant}'."


@pytest.mark.parametrize("version", ["0", "-1", "99999999999999999999"])
def test_a_version_that_none_can_have(version: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["artifact", "show", "dataset/a", "--version", version]) == 2
    assert "--version" in capsys.readouterr().err


# -- keys


def test_whose_key_is_revoked_is_asked_and_said(
    broker: RunningBroker, researcher: PersonClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("jupyter_aisec.cli.key.confirm", lambda text, _: asked.append(text))
    monkeypatch.setattr(PersonClient, "revoke_key", lambda *_: None)
    key = broker.homes["approver"].key().public.key_id
    done = broker.run("key", "revoke", key, person="researcher")
    assert asked == [f"Revoke {key} of approver for good?"]
    assert done.stdout == f"{key} of approver was revoked.\n"
