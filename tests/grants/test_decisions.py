from __future__ import annotations

import msgspec
import pytest

from jupyter_aisec.errors import LedgerError, NotFoundError, RefusedError
from jupyter_aisec.grants import propose_decision, propose_refusal
from jupyter_aisec.ledger.bodies import GrantDenied
from tests.grants.world import World, policy, refused, sha256, stocked


def grant_in(world: World, state: str) -> str:
    grant = world.ask()
    if state != "pending":
        world.approve(grant)
    if state in ("active", "ended"):
        world.bind(grant)
    if state == "ended":
        world.later(hours=1)
    assert world.state.grants[grant].state(world.now) == state
    return grant


LEGAL = {
    ("deny", "pending"): "denied",
    ("deny", "scheduled"): "denied",
    ("withdraw", "pending"): "withdrawn",
    ("return", "scheduled"): "returned",
    ("return", "active"): "returned",
    ("revoke", "scheduled"): "revoked",
    ("revoke", "active"): "revoked",
}
WHO = {
    "deny": ("second", "admin"),
    "withdraw": ("researcher",),
    "return": ("researcher",),
    "revoke": ("approver", "second", "admin"),
}


@pytest.mark.parametrize("state", ["pending", "scheduled", "active", "ended"])
@pytest.mark.parametrize("action", WHO)
def test_every_decision_is_legal_or_refused_by_state(action: str, state: str) -> None:
    for person in WHO[action]:
        world = stocked()
        grant = grant_in(world, state)
        why = LEGAL.get((action, state))
        if why is None:
            code = "grant-ended" if state == "ended" else "state-wrong"
            with refused(code, RefusedError):
                world.decide(action, grant, person)
            continue
        world.decide(action, grant, person, "because")
        found = world.state.grants[grant]
        assert (found.state(world.now), found.ended_why(world.now)) == ("ended", why)
        with refused("grant-ended", RefusedError):
            world.decide(action, grant, person, "again")


REFUSED = {
    "researcher denies": ("deny", "pending", "researcher", "own-request"),
    "researcher revokes": ("revoke", "active", "researcher", "own-request"),
    "approver withdraws": ("withdraw", "pending", "approver", "not-the-requester"),
    "admin returns": ("return", "active", "admin", "not-the-requester"),
    "approver denies after approving": ("deny", "scheduled", "approver", "decided-already"),
    "colleague denies": ("deny", "pending", "rita", "approver-not-asked"),
    "colleague revokes": ("revoke", "active", "rita", "approver-not-asked"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_who_may_decide_what(fault: str) -> None:
    action, state, person, code = REFUSED[fault]
    world = stocked()
    world.invite("rita", "researcher")
    grant = grant_in(world, state)
    with refused(code, RefusedError):
        world.decide(action, grant, person)
    assert world.state.grants[grant].state(world.now) == state


def test_a_deny_beats_an_approval_that_came_with_it() -> None:
    world = stocked(policy(rule={"approvals": 2}))
    grant = world.ask()
    world.approve(grant)
    world.decide("deny", grant, "second")
    assert world.state.grants[grant].ended_why(world.now) == "denied"

    world = stocked()
    grant = world.ask()
    world.approve(grant)
    world.decide("deny", grant, "second")
    with refused("grant-ended"):
        world.bind(grant)


def test_whoever_denied_cannot_approve_afterwards() -> None:
    world = stocked()
    grant = world.ask()
    world.decide("deny", grant, "approver")
    with refused("grant-ended"):
        world.approve(grant)


def test_the_end_of_one_grant_never_ends_another_on_the_same_artifact() -> None:
    world = stocked()
    one, other = (grant_in(world, "scheduled") for _ in range(2))
    kernels = world.bind(one), world.bind(other)
    world.decide("revoke", one, "approver")
    with refused("grant-ended"):
        world.release(one, kernels[0])
    assert world.release(other, kernels[1]).grant == other


def test_an_entry_that_calls_a_decision_something_else_is_refused() -> None:
    world = stocked()
    grant = grant_in(world, "pending")
    body = propose_decision(world.state, world.decision("withdraw", grant, "researcher"), world.now)
    with refused("entry-illegal", LedgerError):
        world.append(GrantDenied(grant=grant, statement=body.statement))
    with refused("entry-illegal", LedgerError):
        world.append(msgspec.structs.replace(body, grant="another"))


def test_a_reason_is_bounded() -> None:
    world = stocked()
    with refused("reason-too-long"):
        world.decide("withdraw", grant_in(world, "pending"), "researcher", "x" * 4001)


def test_a_refused_attempt_is_kept_if_the_person_is_known() -> None:
    world = stocked()
    error = RefusedError("No.", code="self-approval")
    body = propose_refusal(
        world.state, error, person="researcher", action="approve", subject="grant_x"
    )
    before = world.state.grants
    world.append(body)
    assert (body.code, body.what, world.state.grants) == ("self-approval", "No.", before)
    with refused("person-unknown", NotFoundError):
        propose_refusal(world.state, error, person=sha256("x")[:9], action="a", subject="s")
