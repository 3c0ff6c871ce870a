"""Slips that everybody makes: names, files, keys, clocks, and what is not theirs to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from jupyter_aisec.grants.policy import DEFAULT_POLICY_TEXT
from tests.conftest import RunningBroker
from tests.faults.clocks import exported
from tests.faults.person import Notebook, Person, grant_in, ok
from tests.faults.table import Row
from tests.faults.test_at_the_broker import starts

AtTerminal = Callable[[RunningBroker, str], Person]


@pytest.fixture
def newcomer(broker: RunningBroker, at_terminal: AtTerminal) -> Callable[[str], Person]:
    """Makes one more researcher, who is no admin."""

    def join(name: str) -> Person:
        person = at_terminal(broker, name)
        ok(person.run("login", "--token", broker.add(name, "researcher")))
        return person

    return join


# -- at the broker


def test_no_encryption(row: Row, researching: Person) -> None:
    """A name that is not known to be this machine's, and is."""
    researching.environment["AISEC_BROKER"] = researching.broker.url.replace("127.0.0.1", "127.1")
    met = researching.meets(row, "whoami")
    researching.type(met.commands()[1])
    ok(researching.run("whoami"))


def test_broker_made_twice(
    row: Row, unstarted: RunningBroker, at_terminal: AtTerminal, tmp_path: Path
) -> None:
    person = at_terminal(unstarted, "researcher")
    key = tmp_path / "researcher.pem"
    key.write_bytes(unstarted.homes["researcher"].key().public.pem())
    init = ("broker", "init", "--admin", f"researcher={key}", "--home", str(unstarted.home))
    met = person.meets(row, *init)
    start = ("broker", "start", "--home", str(unstarted.home), "--listen", "127.0.0.1:0")
    starts(person, start)
    ok(person.run(*met.with_option(FOLDER=str(tmp_path / "another"))))


def test_key_of_nobody(row: Row, researching: Person, tmp_path: Path) -> None:
    key = tmp_path / "admin.pem"
    key.write_text("-----BEGIN PRIVATE KEY-----\n")
    init = ("broker", "init", "--admin", f"admin={key}", "--home", str(tmp_path / "made"))
    met = researching.meets(row, *init)
    owner = Person(researching.broker, "owner", tmp_path)
    key.unlink()
    owner.type(f"cd {tmp_path}; {met.commands()[0]}")
    ok(researching.run(*init))


def test_policy_not_in_force(
    row: Row, unstarted: RunningBroker, at_terminal: AtTerminal, tmp_path: Path
) -> None:
    person = at_terminal(unstarted, "approver")
    policy = tmp_path / "policy.toml"
    policy.write_text(DEFAULT_POLICY_TEXT.replace('longest = "4h"', 'longest = "1h"'))
    start = ("broker", "start", "--home", str(unstarted.home), "--listen", "127.0.0.1:0")
    met = person.meets(row, *start, "--policy", str(policy))
    unstarted.start()
    person.environment["AISEC_BROKER"] = unstarted.url
    assert "4h" in met.follow(person)


def test_policy_malformed(row: Row, approving: Person, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text(DEFAULT_POLICY_TEXT.replace("approvals = 1", "approvals = -1"))
    met = approving.meets(row, "policy", "apply", str(policy), "--yes")
    policy.write_text(DEFAULT_POLICY_TEXT)
    met.follow(approving, FILE=str(policy))
    ok(approving.run("policy", "apply", str(policy), "--yes"))


# -- people and keys


def test_token_cut(row: Row, broker: RunningBroker, at_terminal: AtTerminal) -> None:
    token = broker.add("tina", "researcher")
    person = at_terminal(broker, "tina")
    met = person.meets(row, "login", "--token", token.rpartition(".")[2])
    met.follow(person, TOKEN=token)
    ok(person.run("whoami"))


def test_person_unknown(row: Row, approving: Person, broker: RunningBroker) -> None:
    broker.add("paula", "researcher")
    met = approving.meets(row, "person", "remove", "pavla", "--yes")
    assert "paula" in met.follow(approving)


def test_key_unknown(row: Row, researching: Person) -> None:
    key = researching.broker.homes["researcher"].key().public.key_id
    met = researching.meets(row, "key", "revoke", "sha256:" + "0" * 64, "--yes")
    assert key[:16] in met.follow(researching)


def test_not_an_admin(
    row: Row, approving: Person, newcomer: Callable[[str], Person], broker: RunningBroker
) -> None:
    person = newcomer("nina")
    broker.add("nobody", "researcher")
    met = person.meets(row, "person", "remove", "nobody", "--yes")
    assert "approver" in met.follow(person)
    ok(approving.run("person", "remove", "nobody", "--yes"))


def test_last_admin(row: Row, own_broker: RunningBroker, at_terminal: AtTerminal) -> None:
    person = at_terminal(own_broker, "researcher")
    ok(person.run("login"))
    other = at_terminal(own_broker, "approver")
    ok(other.run("login"))
    ok(other.run("person", "remove", "approver", "--yes"))
    leave = ("person", "remove", "researcher", "--yes")
    met = person.meets(row, *leave)
    token = met.follow(person, NAME="next").partition("--token ")[2].split()[0]
    successor = at_terminal(own_broker, "next")
    ok(successor.run("login", "--token", token))
    ok(person.run(*leave))


def test_name_given_before(
    row: Row, approving: Person, researching: Person, broker: RunningBroker
) -> None:
    """Whoever signs last is told: until then nothing is sent."""
    broker.add("nora", "researcher")
    file = str(approving.folder.parent / "invitation.json")
    for name in ("nora", "nora-2"):
        add = ("person", "add", name, "--role", "researcher", "--out", file)
        ok(approving.run(*add))
        sign = ("person", "countersign", file, "--yes")
        if name == "nora":
            researching.meets(row, *sign)
            Path(file).unlink()
        else:
            ok(researching.run(*sign))


# -- asking and deciding


def test_approved_unnamed(row: Row, approving: Person, grant: str, artifact: str) -> None:
    again = approving.broker.client("researcher").request([artifact], 3600, "a second one").id
    met = approving.meets(row, "grant", "approve", "--yes")
    assert {grant, again} <= set(met.follow(approving).split())
    ok(approving.run("grant", "approve", grant, "--yes"))


def test_clock_wrong_while_signing(row: Row, approving: Person, grant: str) -> None:
    approve = ("grant", "approve", grant, "--yes")
    approving.meets(row, *approve, before=exported("-1h"))
    ok(approving.run(*approve))


def test_may_not_ask(row: Row, approving: Person, researching: Person, artifact: str) -> None:
    ask = ("grant", "request", artifact, "--for", "1h", "--reason", "r")
    approving.meets(row, *ask)
    ok(researching.run(*ask))


# -- runs and what they made


def test_run_unknown(row: Row, researching: Person) -> None:
    met = researching.meets(row, "run", "show", "run_01ARZ3NDEKTSV4RRFFQ69G5FAV")
    met.follow(researching)


@pytest.fixture
def trust(researching: Person, tmp_path: Path) -> str:
    file = tmp_path / "trust.json"
    file.write_text(ok(researching.run("broker", "trust")).stdout)
    return str(file)


def test_trained_by_no_run(row: Row, researching: Person, artifact: str, trust: str) -> None:
    met = researching.meets(row, "verify", artifact, "--trust", trust)
    met.follow(researching)


def test_trust_file_missing(
    row: Row, researching: Person, approving: Person, artifact: str, tmp_path: Path
) -> None:
    file = str(tmp_path / "none.json")
    met = researching.meets(row, "verify", artifact, "--trust", file)
    met.follow(approving, FILE=file)
    read(researching, artifact, file)


def test_trust_file_malformed(
    row: Row, researching: Person, approving: Person, artifact: str, tmp_path: Path
) -> None:
    file = tmp_path / "trust.json"
    file.write_text("{}")
    met = researching.meets(row, "verify", artifact, "--trust", str(file))
    file.write_text(met.follow(approving))
    read(researching, artifact, str(file))


def read(person: Person, artifact: str, trust: str) -> None:
    """The trust file is good: what is said next is about the artifact."""
    done = person.run("verify", artifact, "--trust", trust, "--json")
    assert msgspec.json.decode(done.stderr.splitlines()[-1])["code"] == "bundle-missing"


# -- in a notebook


def test_used_after_its_end(row: Row, notebook: Notebook, approving: Person, artifact: str) -> None:
    ask = notebook.cell(f"%grant request {artifact} --for 1h --reason fault")
    ok(approving.run("grant", "approve", grant_in(ask), "--yes"))
    notebook.cell("import jupyter_aisec")
    opened = f"file = jupyter_aisec.open('{artifact}/x.csv')"
    notebook.cell(opened)
    notebook.cell(f"%grant return {grant_in(ask)}")
    met = notebook.opens_nothing(row, "file.read()")
    again = notebook.cell(*met.commands(NAME=artifact, TEXT="again"))
    ok(approving.run("grant", "approve", grant_in(again), "--yes"))
    notebook.cell(opened)
    notebook.cell("assert file.read() == b'x\\n1\\n'")
