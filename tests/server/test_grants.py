from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from jupyter_aisec.errors import BrokerUnreachableError
from jupyter_aisec.server.grants import GrantsFeed
from tests.jupyter import Server

NOW = "2026-11-22T10:00:00.000Z"


def view(person: str) -> Any:
    """The fields of a Any that are read, and one that must stay here."""
    return SimpleNamespace(
        id=f"grant_{person}",
        state="active",
        ended_why=None,
        person=person,
        artifacts=("dataset/digits",),
        reason="Ablation 12",
        approvers=("approver",),
        ends_at=NOW,
        warn=(NOW,),
        pending_until=None,
        break_glass=True,
        review_by=("approver",),
        now=NOW,
        request="signed",
    )


class Broker:
    """A person's client whose answers a test sets."""

    person = "researcher"

    def __init__(self) -> None:
        self.asked = 0
        self.connected = 0
        self.views: tuple[Any, ...] = (view("researcher"), view("somebody"))
        self.away = False

    def connect(self) -> Broker:
        self.connected += 1
        return self

    def grants(self, state: str | None = None) -> tuple[Any, ...]:
        self.asked += 1
        if self.away:
            raise BrokerUnreachableError("Away.", next="Wait.")
        return self.views


@pytest.fixture
def broker() -> Broker:
    return Broker()


async def answers(feed: GrantsFeed, count: int) -> list[dict[str, Any]]:
    return list(await asyncio.gather(*(feed.answer() for _ in range(count))))


def test_only_my_grants_are_shown_and_only_what_a_page_needs(broker: Broker) -> None:
    (answer,) = asyncio.run(answers(GrantsFeed(broker.connect), 1))
    assert answer["problem"] is None
    assert answer["now"] == NOW
    (mine,) = answer["grants"]
    assert mine["id"] == "grant_researcher"
    assert "request" not in mine
    assert (mine["break_glass"], mine["review_by"]) == (True, ("approver",))


def test_many_pages_ask_the_broker_once(broker: Broker) -> None:
    asyncio.run(answers(GrantsFeed(broker.connect), 5))
    assert broker.asked == 1


def test_no_grants_is_an_answer(broker: Broker) -> None:
    broker.views = ()
    (answer,) = asyncio.run(answers(GrantsFeed(broker.connect), 1))
    assert answer == {"grants": [], "now": None, "problem": None}


def test_a_broker_that_is_away_is_a_problem_and_asked_again(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jupyter_aisec.server.grants._FRESH_SECONDS", -1)
    feed = GrantsFeed(broker.connect)
    broker.away = True
    (away,) = asyncio.run(answers(feed, 1))
    assert away["problem"] == {"code": "broker-unreachable", "what": "Away.", "next": "Wait."}
    broker.away = False
    (back,) = asyncio.run(answers(feed, 1))
    assert back["problem"] is None
    assert broker.connected == 2


def test_the_route_answers_the_person_and_nobody_else(server: Server) -> None:
    answer = server.request("GET", "aisec/grants")
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    # Nobody has logged in from this fresh home: it says so, and what to do.
    assert answer.json()["grants"] == []
    assert answer.json()["problem"]["next"]
    for headers in ({}, {"Authorization": "token wrong"}):
        refused = requests.get(server.url + "aisec/grants", headers=headers, timeout=60)
        assert refused.status_code == 403, refused.text
