"""What the relay refuses is an entry of the ledger, and carries nothing out."""

from __future__ import annotations

import json

import msgspec
import pytest

from jupyter_aisec.errors import BrokerUnreachableError
from jupyter_aisec.kernel.refusals import MOST, Refusals, kind_of

from .conftest import wait_for


class Person:
    """Stands in for a PersonClient whose broker is away, or not."""

    def __init__(self):
        self.told, self.away = [], False

    def relay_refused(self, *what):
        if self.away:
            raise BrokerUnreachableError("away")
        self.told.append(what)


def kept(world):
    """What the ledger says was refused by relays, the first first."""
    size = world.approver.checkpoint().size
    entries = [one for one in world.approver.entries(0, size) if one.type == "action.refused"]
    bodies = [msgspec.json.decode(one.body) for one in entries]
    return [body for body in bodies if body["code"] == "relay-refused"]


def test_each_kind_is_an_entry_at_once_and_the_rest_a_number_at_the_end(world):
    before = len(kept(world))
    refusals = Refusals(world.researcher)
    refusals.met("POST", "/v1/people/PLAINTEXT")
    wait_for(lambda: len(kept(world)) == before + 1)
    for _ in range(3):
        refusals.met("POST", "/v1/people")
    refusals.close()
    first, rest = kept(world)[before:]
    assert (first["person"], first["action"], first["subject"]) == (
        "researcher",
        "relay",
        "POST people",
    )
    assert first["what"] == "A secure kernel was refused POST people."
    assert rest["what"] == "A secure kernel was refused POST people, 3 times."


def test_a_refusal_of_a_secure_kernel_is_found_by_who_audits(idle, world):
    code = (
        "import os, urllib.error, urllib.request\n"
        "url = os.environ['AISEC_RELAY'] + '/v1/people/PLAINTEXT'\n"
        "try: urllib.request.urlopen(urllib.request.Request(url, method='DELETE'))\n"
        "except urllib.error.HTTPError as error: print(error.code)\n"
    )
    assert "403" in idle.run(code).ok().text
    (found,) = wait_for(lambda: [one for one in kept(world) if one["subject"] == "DELETE people"])
    assert found["person"] == "researcher"
    assert "PLAINTEXT" not in json.dumps(found)


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("GET", "/v1/people", ("GET", "people")),
        ("POST", "/v1/grants/PLAINTEXT/approve", ("POST", "grants")),
        ("POST", "/v1/PLAINTEXT", ("POST", "broker")),
        ("PUT", "/keeper/PLAINTEXT", ("PUT", "relay-keeper")),
        ("GET", "/store/PLAINTEXT", ("GET", "relay-store")),
        ("PLAINTEXT", "http://PLAINTEXT/v1/people", ("OTHER", "elsewhere")),
        ("", "", ("OTHER", "elsewhere")),
    ],
)
def test_a_kind_is_of_a_short_list_whatever_the_kernel_asks(method, path, kind):
    assert kind_of(method, path) == kind


def test_what_could_not_be_told_is_told_at_the_end():
    person = Person()
    person.away = True
    refusals = Refusals(person)
    refusals.met("GET", "/x")
    refusals._teller.shutdown()
    refusals.met("GET", "/y")
    refusals.met("PUT", "/v1/runs")  # nobody is left to tell it at once
    refusals.close()
    assert person.told == []
    person.away = False
    refusals.close()
    assert sorted(person.told) == [("GET", "elsewhere", 2), ("PUT", "runs", 1)]
    refusals.close()
    assert len(person.told) == 2


def test_more_than_are_counted_are_as_many():
    person = Person()
    refusals = Refusals(person)
    refusals._teller.shutdown()
    for _ in range(MOST + 1):
        refusals.met("GET", "/x")
    refusals.close()
    assert person.told == [("GET", "elsewhere", MOST)]


def test_refusals_carry_no_data_into_the_log(caplog):
    refusals = Refusals(Person())
    for number in range(100):
        refusals.met("GET", f"/{number}" + "/PLAINTEXT" * 20)
    refusals.close()
    said = [record.getMessage() for record in caplog.records]
    assert 0 < len(said) <= 10
    assert max(map(len, said)) < 80
    assert "PLAIN" not in caplog.text
    assert "GET" not in caplog.text
