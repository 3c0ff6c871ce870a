"""Breaking the glass, and reviewing that: what may not be, and that what is advised helps."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec
import pytest

from tests.conftest import BREAKABLE, RunningBroker
from tests.faults.person import Person, ok
from tests.faults.table import Row

WAIVER = """
[[rule]]
name = "free"
artifacts = ["dataset/test-glass*"]
requesters = ["role:researcher"]
approvers = []
approvals = 0
longest = "1h"
break_glass = "15m"
"""


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """A broker of this test alone: one broken glass would be owed in all others."""
    broker = RunningBroker(tmp_path_factory.mktemp("broker"))
    broker.start()
    broker.put_in_force(BREAKABLE)
    yield broker
    broker.stop()


def asking(artifact: str) -> tuple[str, ...]:
    return ("grant", "request", artifact, "--for", "10m", "--reason", "pager", "--break-glass")


@pytest.fixture
def broken(broker: RunningBroker, artifact: str) -> str:
    """A grant for which the researcher broke the glass."""
    return broker.client("researcher").request([artifact], 600, "pager", break_glass=True).id


def shown(person: Person, grant: str) -> dict[str, object]:
    found: dict[str, object] = msgspec.json.decode(
        ok(person.run("grant", "show", grant, "--json")).stdout
    )
    return found


def test_glass_not_let_be_broken(row: Row, researching: Person) -> None:
    name = "dataset/strict"
    researching.broker.client("researcher").seal(name, {"x": b"1"}, labels=["strict"])
    met = researching.meets(row, *asking(name))
    assert "pending" in met.follow(researching, TEXT="pager")


def test_glass_that_there_is_not(row: Row, researching: Person, artifact: str) -> None:
    first, rule, rest = BREAKABLE.partition("[[rule]]")
    others = (rule + rest).replace('"dataset/*"', '"dataset/other*"')
    researching.broker.put_in_force(first + others + WAIVER)
    met = researching.meets(row, *asking(artifact))
    assert "scheduled" in met.follow(researching, TEXT="pager")


def test_glass_broken_again(
    row: Row, researching: Person, approving: Person, artifact: str, broken: str
) -> None:
    met = researching.meets(row, *asking(artifact))
    assert met.holes["GRANT"] == broken
    said = met.follow(researching, TEXT="pager")
    assert "approver can review it" in said
    assert "pending" in said
    approving.type(f"aisec grant review {broken}")
    ok(researching.run(*asking(artifact)))


def test_broken_glass_approved(row: Row, approving: Person, broken: str) -> None:
    met = approving.meets(row, "grant", "approve", broken, "--yes")
    met.follow(approving)
    assert shown(approving, broken)["review_by"] == []
    assert shown(approving, broken)["ended_why"] == "revoked"


def test_own_glass_reviewed(row: Row, researching: Person, approving: Person, broken: str) -> None:
    met = researching.meets(row, "grant", "review", broken, "--yes")
    assert met.holes["NAMES"] == "approver"
    met.follow(approving)
    assert shown(researching, broken)["review_by"] == []


def test_glass_reviewed_twice(row: Row, approving: Person, broken: str) -> None:
    approving.type(f"aisec grant review {broken} --comment 'a real one'")
    met = approving.meets(row, "grant", "review", broken, "--unjustified", "--yes")
    assert "justified, approver at" in met.follow(approving)


@pytest.fixture
def stranger(broker: RunningBroker, at_terminal: Callable[[RunningBroker, str], Person]) -> Person:
    """An approver who came after the glass was broken: nobody would have asked them."""
    person = at_terminal(broker, "olga")
    ok(person.run("login", "--token", broker.add("olga", "approver")))
    return person


@pytest.fixture
def broken_before(broken: str, stranger: Person) -> str:
    """A grant from before the stranger came."""
    return broken


def test_stranger_reviews(
    row: Row, approving: Person, broken_before: str, stranger: Person
) -> None:
    met = stranger.meets(row, "grant", "review", broken_before, "--yes")
    assert met.holes["NAMES"] == "approver"
    met.follow(approving)
    assert shown(approving, broken_before)["review_by"] == []


def test_stranger_reviews_late(
    row: Row, approving: Person, broken_before: str, stranger: Person
) -> None:
    approving.type(f"aisec grant review {broken_before}")
    met = stranger.meets(row, "grant", "review", broken_before, "--yes")
    assert "justified, approver at" in met.follow(stranger)


def test_whole_glass_reviewed(row: Row, approving: Person, grant: str) -> None:
    ok(approving.run("grant", "approve", grant, "--yes"))
    met = approving.meets(row, "grant", "review", grant, "--yes")
    assert "approver" in met.follow(approving)
