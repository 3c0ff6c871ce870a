"""Who is asking: tokens, sessions, keys and clocks."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from jupyter_aisec.client import Home
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.sealed.release import ReleaseKey
from tests.conftest import RunningBroker
from tests.faults.clocks import clock_off, exported
from tests.faults.person import Person, ok
from tests.faults.table import Row

AtTerminal = Callable[[RunningBroker, str], Person]


def whoami(person: Person) -> str:
    return str(msgspec.json.decode(ok(person.run("whoami", "--json")).stdout)["person"])


def invited(admin: Person, command: str) -> str:
    """What the admin is told to do with one command, and by that with the next; the token."""
    said = admin.type(command)
    (sign,) = re.findall(r"^ +(aisec person countersign .+)$", said, re.M)
    other = "researcher" if admin.name == "approver" else "approver"
    Person(admin.broker, other, admin.folder).type(sign)
    (token,) = re.findall(r"aisec login --token (\S+)", said)
    return str(token)


def test_wrong_token(row: Row, researching: Person) -> None:
    researching.environment["AISEC_TOKEN"] = "wrong-token"
    met = researching.meets(row, "whoami")
    assert "wrong-token" not in met.advice
    met.follow(researching)
    assert whoami(researching) == "researcher"


def test_session_over(row: Row, unstarted: RunningBroker, at_terminal: AtTerminal) -> None:
    """A job that was given a session which ends before the job does."""
    (unstarted.home / "config.toml").write_text('session = "1s"\n')
    unstarted.start()
    person = at_terminal(unstarted, "researcher")
    ok(person.run("login"))
    session = unstarted.homes["researcher"].session()
    assert session is not None
    person.environment["AISEC_TOKEN"] = session.token
    while person.run("whoami").returncode == 0:
        pass
    met = person.meets(row, "whoami")
    met.follow(person)
    assert whoami(person) == "researcher"


def test_not_logged_in(row: Row, broker: RunningBroker, at_terminal: AtTerminal) -> None:
    person = at_terminal(broker, "newcomer")
    met = person.meets(row, "whoami")
    holes = {"NAME": "newcomer", "ROLE": "researcher"}
    token = invited(at_terminal(broker, "approver"), met.commands(**holes, TOKEN="")[0])
    _, first, later = met.commands(**holes, TOKEN=token)
    person.type(first)
    assert whoami(person) == "newcomer"
    person.type(later)
    assert whoami(person) == "newcomer"


def test_token_used_twice(
    row: Row, broker: RunningBroker, at_terminal: AtTerminal, tmp_path: Path
) -> None:
    """Somebody who got hold of a token that was used already."""
    token = broker.add("nick", "researcher")
    ok(at_terminal(broker, "nick").run("login", "--token", token))
    other = at_terminal(broker, "nell")
    met = other.meets(row, "login", "--token", token)
    holes = {"NAME": "nell", "ROLE": "researcher"}
    fresh = invited(at_terminal(broker, "approver"), met.commands(**holes, TOKEN="")[0])
    other.type(met.commands(**holes, TOKEN=fresh)[1])
    assert whoami(other) == "nell"


def test_key_revoked(
    row: Row, broker: RunningBroker, at_terminal: AtTerminal, tmp_path: Path
) -> None:
    person = at_terminal(broker, "mary")
    ok(person.run("login", "--token", broker.add("mary", "researcher")))
    key = Home(broker.folder / "mary").key().public.key_id
    ok(person.run("key", "revoke", key, "--yes"))
    assert person.run("whoami").returncode == 1  # it says: aisec login
    met = person.meets(row, "login")
    file = str(tmp_path / "mary.json")
    make, sign, login = met.commands(FOLDER=str(tmp_path / "new"), FILE=file)
    person.type(make)
    for admin in ("approver", "researcher"):
        at_terminal(broker, admin).type(sign)
    person.type(login)
    assert whoami(person) == "mary"


@pytest.mark.parametrize("by", ["-1d", "+1d"])
def test_clock_set_back(row: Row, researching: Person, by: str) -> None:
    """On the person's machine, either way."""
    met = researching.meets(row, "login", before=exported(by))
    met.follow(researching)
    assert whoami(researching) == "researcher"


def test_what_is_over_stays_so_when_the_brokers_clock_goes_back(
    own_broker: RunningBroker, at_terminal: AtTerminal
) -> None:
    """By a day, between two starts: it goes on where it was, and people with the right time."""
    researcher, approver = own_broker.client("researcher"), own_broker.client("approver")
    researcher.seal("dataset/x", {"x.csv": b"x\n"})
    asked = researcher.request(["dataset/x"], 1, "for a second")
    approver.approve(asked.id)
    researcher.bind(
        asked.id,
        seat=researcher.read_request(asked).seat,
        kernel_key=SigningKey.generate().public,
        release_key=ReleaseKey.generate().public,
        isolation="none",
    )
    while (over := researcher.grant(asked.id)).state != "ended":
        pass
    own_broker.stop()
    own_broker.start(own_broker.url.removeprefix("http://"), **clock_off("-1d"))
    person = at_terminal(own_broker, "researcher")
    ok(person.run("login"))
    again = researcher.grant(asked.id)
    assert (again.state, again.ended_why) == ("ended", "expired")
    assert again.now >= over.now
    ok(person.run("grant", "request", "dataset/x", "--for", "1h", "--reason", "goes on"))
    ok(person.run("audit", "verify"))


def test_key_file_open(row: Row, researching: Person) -> None:
    secrets = researching.broker.homes["researcher"].folder / "secrets"
    for file in secrets.iterdir():
        file.chmod(0o644)
    try:
        for _ in secrets.iterdir():
            if researching.run("login").returncode:
                researching.meets(row, "login").follow(researching)
        ok(researching.run("login"))
    finally:
        for file in secrets.iterdir():
            file.chmod(0o600)
