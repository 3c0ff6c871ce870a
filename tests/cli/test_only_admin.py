"""A removal that leaves one admin says so, before it is signed and after, and what follows."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from jupyter_aisec.client import Home, PersonClient
from jupyter_aisec.client.countersign import left_alone
from jupyter_aisec.people.keys import SigningKey
from tests.conftest import RunningBroker


@pytest.fixture
def broker(own_broker: RunningBroker) -> RunningBroker:
    for name in own_broker.homes:
        own_broker.client(name).whoami()
    return own_broker


def add_admin(broker: RunningBroker, name: str) -> None:
    """A third admin, with a key."""
    token = broker.add(name, "admin")
    broker.homes[name] = Home(broker.folder / name)
    broker.homes[name].keep_key(SigningKey.generate())
    broker.run("login", "--token", token, person=name).check_returncode()


def test_it_is_said_before_the_signature_and_whoever_says_no_signs_nothing(
    broker: RunningBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    said = broker.run("person", "remove", "approver", person="approver")
    assert said.returncode == 1
    warned, asked = said.stderr.index("would be the only admin"), said.stderr.index("Remove approv")
    assert warned < asked
    assert "researcher would be the only admin, who adds people and vouches for keys alone" in (
        said.stderr
    )
    assert "Nobody can change the policy, which takes 2." in said.stderr
    assert left_alone(broker.client("researcher"), "approver") is not None  # nobody went


def test_it_is_said_after_it_and_what_was_said_is_so(broker: RunningBroker) -> None:
    said = broker.run("person", "remove", "approver", "--yes", "--json", person="approver")
    assert json.loads(said.stdout)["only_admin"] == "researcher"
    # Alone, and without another signature, as was said.
    added = broker.run("person", "add", "next", "--role", "admin", "--json", person="researcher")
    assert json.loads(added.stdout)["signatures_missing"] == 0
    policy = broker.folder / "policy.toml"
    policy.write_text(broker.run("policy", "explain", "--toml", person="researcher").stdout)
    change = broker.run("policy", "apply", str(policy), "--yes", "--json", person="researcher")
    assert json.loads(change.stdout)["signatures_missing"] == 1


def test_where_two_stay_nothing_is_said(broker: RunningBroker) -> None:
    add_admin(broker, "third")
    said = broker.run("person", "remove", "third", "--yes", person="third")
    assert (said.stdout, said.stderr) == ("third was removed.\n", "")


def test_whoever_is_no_admin_leaves_nobody_alone(broker: RunningBroker) -> None:
    broker.add("helper", "researcher")
    broker.run("person", "remove", "approver", "--yes", person="approver").check_returncode()
    said = broker.run("person", "remove", "helper", "--yes", "--json", person="researcher")
    assert json.loads(said.stdout)["only_admin"] is None


def test_the_second_signer_of_a_removal_is_told_too(broker: RunningBroker, tmp_path: Path) -> None:
    file = tmp_path / "removal.json"
    remove = ("person", "remove", "researcher", "--out", str(file), "--yes")
    begun = broker.run(*remove, person="approver")
    assert "approver would be the only admin" in begun.stderr
    assert "is the only admin" not in begun.stdout  # nobody went yet
    signed = broker.run("person", "countersign", str(file), "--yes", person="researcher")
    assert "approver would be the only admin" in signed.stderr
    assert "approver is the only admin" in signed.stdout


def test_two_accounts_of_one_person_are_one_admin(broker: RunningBroker) -> None:
    add_admin(broker, "third")
    policy = broker.folder / "policy.toml"
    text = broker.run("policy", "explain", "--toml", person="approver").stdout
    policy.write_text('same_person = [["approver", "third"]]\n' + text)
    broker.run("policy", "apply", str(policy), "--yes", person="approver").check_returncode()
    change = str(policy.with_suffix(".change.json"))
    broker.run("policy", "countersign", change, "--yes", person="researcher").check_returncode()
    client: PersonClient = broker.client("researcher")
    assert left_alone(client, "third") is None
    alone = left_alone(client, "researcher")
    assert alone is not None
    assert alone.admin in ("approver", "third")
    assert alone.admins_for_policy == 2
