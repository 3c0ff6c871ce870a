"""Keys that are lost, that were never made, and that are enrolled already."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from jupyter_aisec.client import Home
from tests.conftest import RunningBroker
from tests.faults.person import Person, ok
from tests.faults.table import Row
from tests.faults.test_at_the_log_in import whoami

AtTerminal = Callable[[RunningBroker, str], Person]


def joined(broker: RunningBroker, at_terminal: AtTerminal, name: str) -> Person:
    person = at_terminal(broker, name)
    ok(person.run("login", "--token", broker.add(name, "researcher")))
    return person


def test_key_lost(row: Row, broker: RunningBroker, at_terminal: AtTerminal, tmp_path: Path) -> None:
    """A new token enrols no second key, and no other home has one of hers: two admins sign."""
    person = joined(broker, at_terminal, "lena")
    shutil.rmtree(broker.folder / "lena" / "secrets")
    for asked in (("whoami",), ("grant", "list")):
        met = person.meets(row, *asked)
    file = str(tmp_path / "lena.json")
    make, sign, login = met.commands(FILE=file)
    person.type(make)
    for admin in ("approver", "researcher"):
        at_terminal(broker, admin).type(sign)
    person.type(login)
    assert whoami(person) == "lena"


def test_a_lost_key_is_replaced_with_an_older_one(
    broker: RunningBroker, at_terminal: AtTerminal, tmp_path: Path
) -> None:
    """The other way that the advice speaks of: her home on another machine has a key."""
    person = joined(broker, at_terminal, "lisa")
    older = tmp_path / "other-machine"
    shutil.copytree(broker.folder / "lisa", older)
    shutil.rmtree(broker.folder / "lisa" / "secrets")
    file = str(tmp_path / "lisa.json")
    ok(person.run("key", "enroll", "--as", "lisa", "--out", file))
    there = Person(broker, "lisa", person.folder, AISEC_HOME=str(older))
    ok(there.run("key", "countersign", file, "--yes"))
    ok(person.run("login"))
    assert whoami(person) == "lisa"


def test_home_of_another(row: Row, broker: RunningBroker, researching: Person) -> None:
    met = researching.meets(row, "login", "--as", "approver")
    theirs, own = met.commands(FOLDER=str(broker.folder / "approver"))
    researching.type(own)
    assert whoami(researching) == "researcher"
    researching.type(theirs)
    assert whoami(researching) == "approver"


def test_key_not_made(row: Row, broker: RunningBroker, at_terminal: AtTerminal) -> None:
    token = broker.add("kim", "researcher")
    person = at_terminal(broker, "kim")
    met = person.meets(row, "login", "--as", "kim")
    met.follow(person, TOKEN=token)
    assert whoami(person) == "kim"


def test_key_enrolled_already(
    row: Row, broker: RunningBroker, at_terminal: AtTerminal, tmp_path: Path
) -> None:
    person = joined(broker, at_terminal, "emma")
    file = str(tmp_path / "emma.json")
    met = person.meets(row, "key", "enroll", "--out", file)
    assert not Path(file).exists()
    check, another = met.commands(FOLDER=str(tmp_path / "another"), FILE=file)
    assert "emma" in person.type(check)
    older = Person(broker, "emma", person.folder)
    person.type(another)
    ok(older.run("key", "countersign", file, "--yes"))
    ok(person.run("login"))
    assert whoami(person) == "emma"


def test_a_key_that_was_revoked_is_not_enrolled_again(
    broker: RunningBroker, at_terminal: AtTerminal, tmp_path: Path
) -> None:
    """That is found where it is sent, and says what to do instead."""
    person = joined(broker, at_terminal, "eva")
    key = Home(broker.folder / "eva").key().public.key_id
    ok(person.run("key", "revoke", key, "--yes"))
    file = str(tmp_path / "eva.json")
    ok(person.run("key", "enroll", "--out", file))
    ok(at_terminal(broker, "approver").run("key", "countersign", file, "--yes"))
    done = at_terminal(broker, "researcher").run("key", "countersign", file, "--yes")
    assert done.returncode == 1
    assert "enrolled already, or was" in done.stderr
    assert "a new home makes a new key" in done.stderr
