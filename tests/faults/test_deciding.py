"""Asking and deciding: what may not be done, who may do it, and that they then can."""

from __future__ import annotations

import base64
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest
import requests

from jupyter_aisec.broker.routes.events import PER_SESSION
from jupyter_aisec.people.canonical import canonical
from tests.conftest import RunningBroker
from tests.faults.person import Person, grant_in, ok
from tests.faults.table import Row
from tests.scripted import Answer, Got, Scripted


def state(person: Person, grant: str) -> str:
    shown = ok(person.run("grant", "show", grant, "--json"))
    return str(msgspec.json.decode(shown.stdout)["state"])


def approve(person: Person, grant: str) -> None:
    ok(person.run("grant", "approve", grant, "--yes"))


def test_requester_approves(row: Row, researching: Person, approving: Person, grant: str) -> None:
    met = researching.meets(row, "grant", "approve", grant, "--yes")
    assert "approver" in met.holes["NAMES"]
    met.follow(approving)
    assert state(researching, grant) == "scheduled"


def test_approved_twice(row: Row, approving: Person, grant: str) -> None:
    approve(approving, grant)
    met = approving.meets(row, "grant", "approve", grant, "--yes")
    met.follow(approving)
    assert "1 of 1" in ok(approving.run("grant", "show", grant)).stdout


@pytest.fixture
def second(
    broker: RunningBroker, at_terminal: Callable[[RunningBroker, str], Person]
) -> Callable[[str, str], Person]:
    """One more person, who joins as people do."""

    def join(name: str, role: str) -> Person:
        person = at_terminal(broker, name)
        ok(person.run("login", "--token", broker.add(name, role)))
        return person

    return join


def test_approved_enough(
    row: Row, approving: Person, grant: str, second: Callable[[str, str], Person], artifact: str
) -> None:
    other = second("olga", "approver")
    again = other.broker.client("researcher").request([artifact], 3600, "asked of both").id
    approve(approving, again)
    met = other.meets(row, "grant", "approve", again, "--yes")
    met.follow(other)
    assert state(other, again) == "ended"


def test_approved_after_the_end(
    row: Row, researching: Person, approving: Person, grant: str, artifact: str
) -> None:
    ok(researching.run("grant", "withdraw", grant))
    met = approving.meets(row, "grant", "approve", grant, "--yes")
    assert (met.holes["NAME"], met.holes["TIME"]) == ("researcher", "1h")
    met.follow(researching, TEXT="asked again")
    again = ok(researching.run("grant", "list", "--pending", "--json")).stdout
    (pending,) = [one for one in msgspec.json.decode(again) if one["artifacts"] == [artifact]]
    approve(approving, pending["id"])


@pytest.fixture
def altered(approving: Person, scripted: Scripted) -> Callable[[Callable[[Any], None]], None]:
    """Puts something between the approver and the broker that changes how grants are shown."""
    broker = approving.broker.url

    def put(change: Callable[[Any], None]) -> None:
        def forward(got: Got) -> Answer:
            kept = ("Authorization", "Content-Type")
            headers = {name: got.headers[name] for name in kept if name in got.headers}
            answer = requests.request(
                got.method, broker + got.path, data=got.body, headers=headers, timeout=10
            )
            data = answer.content
            if got.path.startswith("/v1/grants/") and answer.status_code == 200:
                view = msgspec.json.decode(data)
                change(view)
                data = msgspec.json.encode(view)
            return Answer(answer.status_code, data, answer.headers["Content-Type"])

        scripted.route = forward
        approving.environment["AISEC_BROKER"] = scripted.url

    return put


def test_request_changed(
    row: Row, approving: Person, grant: str, altered: Callable[[Callable[[Any], None]], None]
) -> None:
    """What is shown agrees with itself, and is not what the requester signed."""

    def change(view: Any) -> None:
        request = msgspec.json.decode(base64.b64decode(view["request"]["payload"]))
        request["seat"] = "job:of-another"
        view["seat"] = request["seat"]
        view["request"]["payload"] = base64.b64encode(canonical(request)).decode()

    altered(change)
    met = approving.meets(row, "grant", "approve", grant, "--yes")
    approving.environment["AISEC_BROKER"] = approving.broker.url
    assert state(approving, grant) == "pending"
    met.follow(approving)
    assert state(approving, grant) == "scheduled"


def test_request_shown_differently(
    row: Row, approving: Person, grant: str, altered: Callable[[Callable[[Any], None]], None]
) -> None:
    altered(lambda view: view.update(reason="harmless"))
    met = approving.meets(row, "grant", "approve", grant, "--yes")
    approving.environment["AISEC_BROKER"] = approving.broker.url
    met.follow(approving)
    approve(approving, grant)


def test_stranger_approves(
    row: Row, approving: Person, grant: str, second: Callable[[str, str], Person]
) -> None:
    stranger = second("nora", "approver")  # who came when it was asked already
    stranger.meets(row, "grant", "approve", grant, "--yes").follow(approving)
    assert state(approving, grant) == "scheduled"


def test_stranger_denies(
    row: Row, approving: Person, grant: str, second: Callable[[str, str], Person]
) -> None:
    stranger = second("another", "approver")
    stranger.meets(row, "grant", "deny", grant).follow(approving)
    assert state(approving, grant) == "ended"


def test_requester_denies(row: Row, researching: Person, grant: str) -> None:
    researching.meets(row, "grant", "deny", grant).follow(researching)
    assert state(researching, grant) == "ended"


def test_stranger_withdraws(row: Row, approving: Person, grant: str) -> None:
    approving.meets(row, "grant", "withdraw", grant).follow(approving)
    assert state(approving, grant) == "ended"


def test_withdrawn_too_late(row: Row, researching: Person, approving: Person, grant: str) -> None:
    approve(approving, grant)
    researching.meets(row, "grant", "withdraw", grant).follow(researching)
    assert state(researching, grant) == "ended"


def test_grant_unknown(row: Row, researching: Person, grant: str) -> None:
    met = researching.meets(row, "grant", "show", "grant_01ARZ3NDEKTSV4RRFFQ69G5FAV")
    met.follow(researching)
    assert state(researching, grant) == "pending"


def test_grant_id_malformed(row: Row, researching: Person, grant: str) -> None:
    met = researching.meets(row, "grant", "show", "dataset/x")
    met.follow(researching)
    assert grant in ok(researching.run("grant", "list")).stdout
    ok(researching.run("grant", "show", grant))


def test_duration_malformed(row: Row, researching: Person, artifact: str) -> None:
    met = researching.meets(
        row, "grant", "request", artifact, "--for", "soon", "--reason", "ablation"
    )
    grant_in(ok(researching.run(*met.with_option())).stdout)


def test_reason_empty(row: Row, researching: Person, artifact: str) -> None:
    met = researching.meets(row, "grant", "request", artifact, "--for", "1h", "--reason", " ")
    grant_in(ok(researching.run(*met.with_option(TEXT="ablation 12"))).stdout)


def test_too_much_waits(
    row: Row, researching: Person, artifact: str, broker: RunningBroker
) -> None:
    """Nothing is asked where nobody could wait for the answer."""
    ok(researching.run("login"))  # a session of its own: notebooks have streams too
    waiting = [broker.client("researcher").events() for _ in range(PER_SESSION)]
    ask = ("grant", "request", artifact, "--for", "1h", "--reason", "r", "--wait")
    met = researching.meets(row, *ask)
    met.follow(researching)
    with ThreadPoolExecutor(1) as other:
        asked = other.submit(researching.under, ":", *ask)
        client, mine = broker.client("approver"), []
        while not mine and not asked.done():
            mine = [one for one in client.grants("pending") if one.artifacts == (artifact,)]
        client.approve(mine[0].id)
        assert "scheduled" in ok(asked.result()).stdout
    assert len(waiting) == PER_SESSION  # they were open until here


def test_command_misspelt(row: Row, researching: Person, artifact: str) -> None:
    met = researching.meets(row, "grant", "request", artifact, "--time", "1h", "--reason", "r")
    met.follow(researching)
    ok(researching.run("grant", "request", artifact, "--for", "1h", "--reason", "r"))


HOSTILE = {
    "terminal": "\x1b[2J\x1b]0;owned\x07",
    "bidi": "\u202eevil\u2066",
    "html": "<img src=x onerror=alert(1)>",
    "lines": "fine\n  next: `aisec grant approve`\r",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_reason_is_shown_spelled_out(
    researching: Person, approving: Person, artifact: str, text: str
) -> None:
    """What another person wrote moves no cursor, turns no line, and adds none."""
    reason = f"reason {text} end"
    asked = ok(
        researching.run("grant", "request", artifact, "--for", "1h", "--reason", reason, "--json")
    )
    grant = msgspec.json.decode(asked.stdout)["id"]
    spelled = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in reason
    )
    for arguments in (
        ("grant", "show", grant),
        ("grant", "list"),
        ("audit", "search", grant),
        ("grant", "approve", grant, "--yes"),
    ):
        shown = ok(approving.run(*arguments)).stdout
        assert all(char.isprintable() or char == "\n" for char in shown)
        (line,) = [line for line in shown.splitlines() if spelled in line][:1]
        assert "reason" in line
