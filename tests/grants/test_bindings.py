from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from jupyter_aisec.errors import ConflictError, IdentityError, LedgerError
from jupyter_aisec.grants import propose_binding, propose_ending
from jupyter_aisec.grants.view import grant_view
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.times import format_time
from tests.grants.world import BROKER, START, Kernel, World, policy, refused, stocked, ulid


def approved(world: World, **fields: Any) -> str:
    grant = world.ask(**fields)
    world.approve(grant)
    return grant


def test_the_clock_starts_at_the_first_binding_and_a_second_does_not_start_it_again() -> None:
    world = stocked()
    grant = approved(world)
    world.later(hours=5)
    world.bind(grant)
    assert world.state.grants[grant].starts_at == world.now
    ends = world.now + timedelta(hours=1)
    world.later(minutes=30)
    world.bind(grant)
    assert world.state.grants[grant].ends_at == ends


@pytest.mark.parametrize(
    ("seconds", "ahead"),
    [(3600, (360, 120)), (1200, (120,)), (600, (120, 60))],
    ids=["a tenth first", "both at once", "two minutes first"],
)
def test_its_end_is_warned_of_a_tenth_and_two_minutes_ahead(
    seconds: int, ahead: tuple[int, ...]
) -> None:
    world = stocked()
    grant = approved(world, seconds=seconds)
    assert world.state.grants[grant].warnings == ()
    world.bind(grant)
    found = world.state.grants[grant]
    assert found.ends_at is not None
    assert [(found.ends_at - moment).total_seconds() for moment in found.warnings] == list(ahead)


def test_the_clock_starts_at_a_scheduled_start_whether_a_kernel_is_there_or_not() -> None:
    world = stocked()
    start = START + timedelta(hours=3)
    grant = approved(world, start=format_time(start))
    found = world.state.grants[grant]
    assert (found.starts_at, found.ends_at) == (start, start + timedelta(hours=1))
    with refused("grant-not-begun"):
        world.bind(grant)
    world.now = start
    assert found.state(world.now) == "active"
    kernel = world.bind(grant)
    assert world.release(grant, kernel)
    assert found.state(start + timedelta(hours=1)) == "ended"


def test_an_approval_that_comes_after_a_scheduled_start_does_not_move_the_window() -> None:
    world = stocked()
    grant = world.ask(start=format_time(START + timedelta(minutes=10)))
    world.later(minutes=30)
    world.approve(grant)
    found = world.state.grants[grant]
    assert found.state(world.now) == "active"
    assert found.ends_at == START + timedelta(minutes=70)


def test_an_approved_grant_that_nobody_begins_expires() -> None:
    world = stocked()
    grant = approved(world)
    found = world.state.grants[grant]
    assert found.begin_until == START + timedelta(days=1)
    world.now = START + timedelta(days=1)
    assert (found.state(world.now), found.ended_why(world.now)) == ("ended", "expired")
    with refused("grant-ended"):
        world.bind(grant)


def test_the_time_to_begin_counts_from_the_last_approval_that_was_needed() -> None:
    world = stocked(policy(rule={"approvals": 2}))
    grant = world.ask()
    world.approve(grant)
    world.later(hours=3)
    world.approve(grant, "second")
    assert world.state.grants[grant].begin_until == START + timedelta(hours=27)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another seat": ({"seat": f"session:{ulid(8)}"}, "seat-wrong"),
    "another person": ({"person": "approver"}, "seat-of-another"),
    "too little isolation": ({"isolation": "none"}, "isolation-too-low"),
    "a release key of another length": ({"release_key": bytes(32)}, "hpke-key-malformed"),
    "a release key of zeros": ({"release_key": bytes(1216)}, "hpke-key-malformed"),
    "the broker's key": ({"kernel_key": BROKER.public}, "kernel-key-taken"),
    "a P-256 key": ({"kernel_key": SigningKey.generate("p256").public}, "malformed"),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_a_binding_that_is_refused(fault: str) -> None:
    world = stocked(policy(rule={"isolation": "partial"}))
    grant = approved(world)
    fields, code = REFUSED[fault]
    with refused(code):
        world.bind(grant, **fields)
    assert world.state.grants[grant].state(world.now) == "scheduled"
    world.bind(grant, isolation="partial")


def test_an_older_binding_that_was_never_sent_does_not_take_the_seat_from_a_newer() -> None:
    world = stocked()
    grant = approved(world)
    unsent = world.binding(grant, Kernel())
    world.later(seconds=1)
    kernel = world.bind(grant)
    with refused("binding-outdated", ConflictError):
        propose_binding(world.state, unsent, world.now)
    assert world.release(grant, kernel)


def test_a_persons_key_and_a_kernel_of_another_person_take_no_seat() -> None:
    world = stocked()
    grant = approved(world)
    with refused("kernel-key-taken", IdentityError):
        world.bind(grant, kernel_key=world.keys["approver"].public)
    world.invite("rita", "researcher")
    kernel = world.bind(approved(world, person="rita"))
    with refused("kernel-key-taken", IdentityError):
        world.bind(grant, kernel)


def test_a_pending_and_an_ended_grant_take_no_kernel() -> None:
    world = stocked()
    grant = world.ask()
    with refused("grant-pending"):
        world.bind(grant)
    world.approve(grant)
    world.bind(grant)
    world.later(hours=1)
    with refused("grant-ended"):
        world.bind(grant)


def test_a_kernel_that_starts_again_binds_without_a_new_approval_and_the_old_one_is_out() -> None:
    world = stocked()
    grant = approved(world)
    old = world.bind(grant)
    world.release(grant, old)
    world.later(minutes=10)
    new = world.bind(grant)
    assert world.release(grant, new).kernel == new.id
    with refused("kernel-not-bound", IdentityError):
        world.release(grant, old)
    with refused("kernel-bound-already", ConflictError):
        world.bind(grant, old)


def test_an_old_binding_cannot_be_replayed() -> None:
    world = stocked()
    grant = approved(world)
    kernel = Kernel()
    envelope = world.binding(grant, kernel)
    world.append(propose_binding(world.state, envelope, world.now))
    world.bind(grant)
    with refused("statement-recorded", ConflictError):
        propose_binding(world.state, envelope, world.now)


def test_one_kernel_may_hold_the_seats_of_several_grants() -> None:
    world = stocked()
    kernel = Kernel()
    for _ in range(2):
        grant = approved(world)
        world.bind(grant, kernel)
        assert world.release(grant, kernel)


def test_an_ending_is_visible_until_every_kernel_is_confirmed() -> None:
    world = stocked()
    grant = approved(world)
    kernel, other = world.bind(grant), world.bind(grant)
    assert world.state.grants[grant].ending(world.now) == ()
    world.decide("revoke", grant, "approver")
    assert world.state.grants[grant].ending(world.now) == (kernel.id, other.id)
    world.append(propose_ending(world.state, grant, kernel.id, "wiped", world.now))
    assert world.state.grants[grant].ending(world.now) == (other.id,)
    with refused("ending-confirmed", ConflictError):
        propose_ending(world.state, grant, kernel.id, "killed", world.now)
    with refused("kernel-not-bound"):
        propose_ending(world.state, grant, "sha256:other", "killed", world.now)
    world.append(propose_ending(world.state, grant, other.id, "killed", world.now))
    assert world.state.grants[grant].ending(world.now) == ()


def test_a_kernel_whose_ending_is_confirmed_holds_no_seat_any_more() -> None:
    world = stocked()
    grant = approved(world)
    kernel = world.bind(grant)
    world.append(propose_ending(world.state, grant, kernel.id, "exited", world.now))
    assert world.state.grants[grant].seat is None
    with refused("kernel-not-bound", IdentityError):
        world.release(grant, kernel)
    world.release(grant, world.bind(grant))


def test_a_grant_shows_the_kernel_that_holds_its_seat() -> None:
    world = stocked()
    grant = approved(world)

    def holder() -> str | None:
        return grant_view(world.state, world.state.grants[grant], world.now).holder

    assert holder() is None
    first, second = world.bind(grant), world.bind(grant)
    assert holder() == second.id != first.id
    world.append(propose_ending(world.state, grant, second.id, "exited", world.now))
    assert holder() is None
    third = world.bind(grant)
    assert holder() == third.id
    world.decide("revoke", grant, "approver")
    assert holder() is None


def test_an_entry_that_differs_from_its_binding_is_refused() -> None:
    world = stocked()
    grant = approved(world)
    body = propose_binding(world.state, world.binding(grant, Kernel()), world.now)
    with refused("entry-illegal", LedgerError):
        world.append(msgspec.structs.replace(body, grant=approved(world)))
