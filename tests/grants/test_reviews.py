"""Reviews of break-glass grants: whose count, of what, when, and who stands in."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_aisec.errors import ConflictError, LedgerError, NotFoundError, RefusedError
from jupyter_aisec.grants import (
    fold,
    grant_view,
    propose_review,
    reviews_waiting,
    unreviewed,
    who_reviews,
)
from jupyter_aisec.ledger.bodies import GrantReviewed
from tests.grants.test_break_glass import GLASS, opened
from tests.grants.world import World, policy, refused, sha256, stocked, ulid

FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "the requester": ({"person": "researcher"}, "self-review"),
    "not asked": ({"person": "admin"}, "reviewer-not-asked"),
    "another request": ({"request_sha256": sha256("x")}, "request-changed"),
    "a book": ({"comment": "x" * 4001}, "comment-too-long"),
}


def broken(**rule: Any) -> tuple[World, str]:
    world = opened(policy(rule={**GLASS, **rule}))
    return world, world.ask(break_glass=True)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_review_that_does_not_count_is_refused_before_the_write(fault: str) -> None:
    world, grant = broken()
    fields, code = FAULTS[fault]
    size = world.state.size
    with refused(code):
        world.review(grant, **fields)
    assert world.state.size == size
    assert world.state.grants[grant].reviews == ()


@pytest.mark.parametrize("fault", FAULTS)
def test_the_same_is_refused_when_it_is_found_in_the_ledger(fault: str) -> None:
    world, grant = broken()
    fields, _ = FAULTS[fault]
    with refused("entry-illegal", LedgerError):
        world.append(GrantReviewed(grant=grant, statement=world.a_review(grant, **fields)))


def test_a_review_of_another_grant_than_the_entry_names_is_refused() -> None:
    world, grant = broken()
    with refused("entry-illegal", LedgerError):
        world.append(GrantReviewed(grant=f"grant_{ulid(1)}", statement=world.a_review(grant)))


def test_a_review_of_an_unknown_grant_is_refused() -> None:
    world, grant = broken()
    envelope = world.a_review(grant)
    other = stocked()
    with refused("grant-unknown", NotFoundError):
        propose_review(other.state, envelope, other.now)


def test_a_grant_that_was_asked_for_as_ever_has_nothing_to_review() -> None:
    world = opened()
    grant = world.ask()
    for _ in range(2):
        with refused("not-break-glass", RefusedError):
            world.review(grant)
        if world.state.grants[grant].state(world.now) == "pending":
            world.approve(grant)


@pytest.mark.parametrize("verdict", ["justified", "unjustified"])
def test_a_review_lifts_the_duty_whatever_it_says_and_ends_nothing(verdict: str) -> None:
    world, grant = broken()
    world.bind(grant)
    assert reviews_waiting(world.state, "approver") == reviews_waiting(world.state, "second") == 1
    world.review(grant, verdict=verdict, comment="seen")
    found = world.state.grants[grant]
    assert (found.state(world.now), found.reviews_owed) == ("active", 0)
    assert unreviewed(world.state, "researcher") == ()
    assert reviews_waiting(world.state, "second") == 0
    view = grant_view(world.state, found, world.now)
    (said,) = view.reviews
    assert (said.person, said.verdict, said.comment) == ("approver", verdict, "seen")
    assert (view.break_glass, view.reviews_needed, view.review_by) == (True, 1, ())


def test_the_duty_outlasts_the_grant_and_is_done_after_its_end() -> None:
    world, grant = broken()
    world.later(days=30)
    view = grant_view(world.state, world.state.grants[grant], world.now)
    assert (view.state, view.review_by) == ("ended", ("approver", "second"))
    world.review(grant)
    assert world.state.grants[grant].reviews_owed == 0


def test_each_person_counts_once_also_through_a_second_account() -> None:
    world, grant = broken(approvals=2)
    world.review(grant)
    with refused("reviewed-already", ConflictError):
        world.review(grant, verdict="unjustified")
    assert world.state.grants[grant].reviews_owed == 1
    assert who_reviews(world.state, world.state.grants[grant]) == ("second",)
    world.review(grant, "second")
    assert world.state.grants[grant].reviews_owed == 0

    world = opened(
        policy(
            rule={**GLASS, "approvers": ("role:approver", "role:admin"), "approvals": 2},
            same_person=(("second", "admin"),),
        )
    )
    grant = world.ask(break_glass=True)
    world.review(grant, "second")
    with refused("reviewed-already", ConflictError):
        world.review(grant, "admin")


def test_one_more_person_may_say_what_they_think_once_it_is_done() -> None:
    world, grant = broken()
    world.review(grant)
    world.review(grant, "second", verdict="unjustified")
    assert [one.person for one in world.state.grants[grant].reviews] == ["approver", "second"]
    with refused("reviewer-not-asked", RefusedError):
        world.review(grant, "admin")


def test_nobody_reviews_what_a_second_account_of_their_own_did() -> None:
    world = opened(policy(rule=GLASS, same_person=(("researcher", "second"),)))
    grant = world.ask(break_glass=True)
    assert who_reviews(world.state, world.state.grants[grant]) == ("approver",)
    with refused("self-review", RefusedError):
        world.review(grant, "second")


def test_a_second_account_that_policy_maps_later_does_not_review_either() -> None:
    world, grant = broken()
    world.apply_policy(policy(rule=GLASS, same_person=(("researcher", "approver"),)))
    assert who_reviews(world.state, world.state.grants[grant]) == ("second",)
    with refused("self-review", RefusedError):
        world.review(grant, "approver")


def test_where_those_who_were_asked_left_an_admin_stands_in() -> None:
    """Or else the duty could never be done."""
    world, grant = broken(approvers=("person:approver",))
    with refused("reviewer-not-asked", RefusedError):
        world.review(grant, "admin")
    world.remove("approver")
    assert who_reviews(world.state, world.state.grants[grant]) == ("admin", "second")
    assert reviews_waiting(world.state, "admin") == 1
    world.review(grant, "admin")
    world.invite("third", "approver")
    world.apply_policy(policy(rule=GLASS))
    world.ask(break_glass=True)


def test_a_removed_admin_does_not_stand_in() -> None:
    world, grant = broken(approvers=("person:approver",))
    world.remove("approver")
    world.remove("admin", "admin", "second")
    assert who_reviews(world.state, world.state.grants[grant]) == ("second",)


def test_a_review_stays_valid_as_of_its_place_and_the_audit_checks_its_signature() -> None:
    world, grant = broken()
    world.review(grant)
    world.remove("approver")
    assert world.state.grants[grant].reviews_owed == 0
    assert fold(world.entries, signatures=True).grants == world.state.grants
