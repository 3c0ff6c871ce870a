"""An alert says who reached which limit, once within an hour, and nothing that is not so."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from jupyter_aisec.errors import ConflictError, LedgerError, MalformedError, NotFoundError
from jupyter_aisec.grants import fold
from jupyter_aisec.grants.alerts import check_alert, overstepped, propose_alert
from jupyter_aisec.grants.limits import LimitReachedError, Reached
from jupyter_aisec.ledger.bodies import AlertRaised
from tests.grants.test_limits import active, limited
from tests.grants.world import START, Kernel, World, policy, refused, stocked

REACHED = Reached(limit="grants", most=1, used=1, asked=1, room=None)


def refusal(world: World, *artifacts: str) -> Reached:
    """The limit that the next request, or opening these, reaches."""
    grant, kernel = active(world, *artifacts) if artifacts else ("", Kernel())
    *before, last = artifacts or ("",)
    for artifact in before:
        world.release(grant, kernel, artifact)
    with pytest.raises(LimitReachedError) as caught:
        world.release(grant, kernel, last) if artifacts else world.ask()
    return caught.value.reached


def alert(world: World, reached: Reached, person: str = "researcher", **changes: Any) -> None:
    body = propose_alert(world.state, person, reached, "request", "grant_x", world.now)
    world.append(msgspec.structs.replace(body, **changes))


def test_it_says_what_was_used_and_asked() -> None:
    world = stocked(limited(artifacts=1))
    alert(world, refusal(world, "dataset/digits", "weights/minilm"))
    assert world.entries[-1].content() == AlertRaised(
        person="researcher",
        limit="artifacts",
        most=1,
        used=1,
        asked=1,
        action="request",
        subject="grant_x",
        what="researcher opened 1 artifact version within an hour, and this takes 1 artifact "
        "version more; the limit of each person is 1 artifact version.",
    )
    fold(world.entries, signatures=True)


def test_it_is_raised_once_within_an_hour_for_a_person_and_a_limit() -> None:
    both = {"requesters": ("role:researcher", "role:admin")}
    world = stocked(limited(grants=1, rule=both, same_person=(("researcher", "admin"),)))
    world.ask()
    alert(world, refusal(world))
    for person in ("researcher", "admin"):
        with refused("alert-raised", ConflictError):
            alert(world, REACHED, person)
    world.later(hours=1, seconds=-1)
    world.now -= timedelta(seconds=1)
    with refused("alert-raised"):
        alert(world, REACHED)
    world.later(seconds=2)
    world.ask()
    alert(world, REACHED, "admin")
    with pytest.raises(LedgerError, match="was said within the hour"):
        world.append(world.entries[-1].content())


def test_each_limit_and_each_person_has_its_own() -> None:
    both = {"requesters": ("role:researcher", "role:admin")}
    world = stocked(limited(grants=1, bytes=1, rule=both))
    alert(world, refusal(world, "dataset/digits"))
    alert(world, REACHED)
    world.ask(person="admin")
    alert(world, REACHED, "admin")
    assert set(world.state.alerts) == {
        ("researcher", "bytes"),
        ("researcher", "grants"),
        ("admin", "grants"),
    }


@pytest.mark.parametrize(
    "changes",
    [{"most": 2}, {"used": 0}, {"used": 2}, {"asked": 0}, {"limit": "bytes"}],
    ids=lambda changes: next(iter(changes)),
)
def test_what_is_not_so_is_no_alert(changes: dict[str, Any]) -> None:
    world = stocked(limited(grants=1))
    world.ask()
    with pytest.raises(LedgerError, match="not reached as the alert says"):
        alert(world, REACHED, **changes)


@pytest.mark.parametrize("limits", [policy(), limited(artifacts=1), limited(grants=2)])
def test_there_is_none_where_there_is_room(limits: Any) -> None:
    world = stocked(limits)
    world.ask()
    with refused("alert-differs", MalformedError):
        alert(world, REACHED)


def test_there_is_none_about_nobody() -> None:
    world = stocked(limited(grants=1))
    body = AlertRaised(
        person="nobody", limit="grants", most=1, used=0, asked=2, action="", subject="", what=""
    )
    with refused("person-unknown", NotFoundError):
        check_alert(world.state, body, world.now)


def test_a_policy_that_observes_refuses_nothing_and_every_limit_is_overstepped() -> None:
    world = stocked(policy())
    world.apply_policy(limited(grants=2, artifacts=1, bytes=1500, mode="observe"))
    grant = world.ask("dataset/digits", "weights/minilm")
    kernel = world.bind(grant)
    world.release(grant, kernel)
    world.ask()
    assert overstepped(world.state, "researcher", world.now) == ()  # used to the full, not beyond
    world.ask()
    world.release(grant, kernel, "weights/minilm")
    found = overstepped(world.state, "researcher", world.now)
    assert [(one.limit, one.most, one.used, one.asked) for one in found] == [
        ("grants", 2, 3, 0),
        ("artifacts", 1, 2, 0),
        ("bytes", 1500, 3000, 0),
    ]
    for one in found:
        alert(world, one)
    said = [body.what for body in map(content, world.entries[-3:])]
    limit = "the limit of each person is 2 grants."
    assert said[0] == f"researcher asked for 3 grants within an hour; {limit}"
    assert overstepped(world.state, "approver", world.now) == ()
    world.apply_policy(limited(grants=1))  # one that decides lets nobody go beyond
    assert overstepped(world.state, "researcher", world.now) == ()
    world.apply_policy(policy(mode="observe"))
    assert overstepped(world.state, "researcher", world.now) == ()


def content(entry: Any) -> AlertRaised:
    body = entry.content()
    assert isinstance(body, AlertRaised)
    return body


@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_what_is_beyond_all_numbers_is_said_as_the_most_that_an_entry_can(mode: str) -> None:
    world = stocked(limited(bytes=10**15, rule={"requesters": ("role:researcher",)}))
    if mode == "observe":
        world.apply_policy(limited(bytes=10**15, mode="observe"))
    world.seal("dataset/digits", files=[{"sealed_size": 2**53 - 1}] * 2)
    if mode == "observe":
        grant = world.ask()
        world.release(grant, world.bind(grant))
        (reached,) = overstepped(world.state, "researcher", world.now)
    else:
        reached = refusal(world, "dataset/digits")
    alert(world, reached)
    body = content(world.entries[-1])
    assert (body.used, body.asked) == ((2**53 - 1, 0) if mode == "observe" else (0, 2**53 - 1))
    assert fold(world.entries).alerts == {("researcher", "bytes"): START}
