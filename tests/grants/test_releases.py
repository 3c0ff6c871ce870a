from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from jupyter_aisec.errors import (
    ConflictError,
    IdentityError,
    LedgerError,
    MalformedError,
    NotFoundError,
    RefusedError,
    SignatureError,
)
from jupyter_aisec.grants import fold, propose_ending, propose_enrolment, propose_release
from jupyter_aisec.ledger.bodies import GrantApproved
from jupyter_aisec.ledger.entry import make_entry
from tests.grants.world import (
    KEYS,
    SALT,
    START,
    Kernel,
    World,
    policy,
    refused,
    sha256,
    stocked,
    ulid,
)


def opened(world: World, *artifacts: str, **approval: Any) -> tuple[str, Kernel]:
    grant = world.ask(*artifacts)
    world.approve(grant, **approval)
    return grant, world.bind(grant)


def test_keys_are_released_only_in_the_window_and_its_last_moment_is_outside() -> None:
    world = stocked()
    grant, kernel = opened(world)
    world.now = START + timedelta(hours=1, milliseconds=-1)
    assert world.release(grant, kernel)
    world.now = START + timedelta(hours=1)
    with refused("grant-ended", RefusedError):
        world.release(grant, kernel)


@pytest.mark.parametrize("state", ["pending", "active", "ended"])
def test_a_kernel_of_another_person_learns_neither_that_a_grant_is_nor_what_it_covers(
    state: str,
) -> None:
    world = stocked()
    world.invite("rita", "researcher")
    theirs = world.ask("dataset/digits", person="rita")
    world.approve(theirs)
    stranger = world.bind(theirs)
    grant = world.ask("weights/minilm")
    if state != "pending":
        world.approve(grant)
        world.bind(grant)
    if state == "ended":
        world.decide("revoke", grant, "approver")
    for artifact in ("weights/minilm", "dataset/digits"):
        with refused("grant-unknown", NotFoundError):
            world.release(grant, stranger, artifact)
    with refused("grant-unknown", NotFoundError):
        world.release(f"grant_{ulid(1)}", stranger, "weights/minilm")


def test_a_kernel_that_lost_its_seat_hears_that_its_grant_ended() -> None:
    world = stocked()
    grant, kernel = opened(world)
    world.decide("revoke", grant, "approver")
    world.append(propose_ending(world.state, grant, kernel.id, "wiped", world.now))
    with refused("grant-ended", RefusedError):
        world.release(grant, kernel)


def test_a_clock_that_is_set_back_re_opens_nothing() -> None:
    world = stocked()
    grant, kernel = opened(world)
    world.later(hours=2)
    world.seal("dataset/other")
    world.later(hours=-2, minutes=1)
    with refused("grant-ended", RefusedError):
        world.release(grant, kernel)


@pytest.mark.parametrize("action", ["deny", "withdraw", "return", "revoke"])
def test_nothing_is_released_after_an_end_whatever_the_clock_says(action: str) -> None:
    world = stocked()
    grant = world.ask()
    kernel = Kernel()
    if action in ("return", "revoke"):
        world.approve(grant)
        world.bind(grant, kernel)
        world.release(grant, kernel)
    person = "researcher" if action in ("return", "withdraw") else "second"
    world.decide(action, grant, person)
    for hours in (0, -5, 5):
        world.later(hours=hours)
        with refused("grant-ended", RefusedError):
            world.release(grant, kernel)


def test_a_pending_and_a_scheduled_grant_release_nothing() -> None:
    world = stocked()
    grant = world.ask()
    with refused("grant-not-active", RefusedError):
        world.release(grant, Kernel())
    world.approve(grant)
    with refused("grant-not-active", RefusedError):
        world.release(grant, Kernel())


def test_only_the_bound_kernel_gets_keys() -> None:
    world = stocked()
    grant, _ = opened(world)
    with refused("kernel-not-bound", IdentityError):
        world.release(grant, Kernel())
    with refused("grant-unknown", NotFoundError):
        world.release(f"grant_{ulid(99)}", Kernel())


def test_only_what_is_left_after_narrowing_is_released() -> None:
    world = stocked()
    world.seal("dataset/digits")
    grant, kernel = opened(
        world, "dataset/digits", "weights/minilm", artifacts=("dataset/digits@1",)
    )
    assert world.release(grant, kernel).version == 1
    assert world.release(grant, kernel, version=1).version == 1
    with refused("artifact-not-granted", RefusedError):
        world.release(grant, kernel, version=2)
    with refused("artifact-not-granted", RefusedError):
        world.release(grant, kernel, "weights/minilm")
    with refused("artifact-not-granted", RefusedError):
        world.release(grant, kernel, "dataset/none")


def test_a_name_covers_every_version_and_the_last_is_the_default() -> None:
    world = stocked()
    world.seal("dataset/digits")
    grant, kernel = opened(world, "dataset/digits")
    assert world.release(grant, kernel).version == 2
    assert world.release(grant, kernel, version=1).version == 1
    with refused("version-unknown", NotFoundError):
        world.release(grant, kernel, version=3)


def test_the_last_of_several_pinned_versions_is_the_default() -> None:
    world = stocked()
    for _ in range(2):
        world.seal("dataset/digits")
    grant, kernel = opened(world, "dataset/digits@1", "dataset/digits@2")
    assert world.release(grant, kernel).version == 2


def test_a_version_sealed_later_with_labels_nobody_was_asked_about_is_not_released() -> None:
    world = stocked()
    grant, kernel = opened(world)
    world.seal("dataset/digits", labels=["phi"])
    with refused("labels-new", RefusedError):
        world.release(grant, kernel)
    assert world.release(grant, kernel, version=1)


def test_some_of_the_keys_may_be_asked_for_and_none_that_is_not_there() -> None:
    world = stocked()
    grant, kernel = opened(world)
    assert world.release(grant, kernel, key_ids=["key_2", "key_2"]).key_ids == ("key_2",)
    for key_ids in (["key_3"], []):
        with refused("key-id-unknown", NotFoundError):
            world.release(grant, kernel, key_ids=key_ids)


def test_an_equal_repeat_returns_what_is_recorded_and_appends_nothing() -> None:
    world = stocked()
    grant, kernel = opened(world)
    action = f"action_{ulid(50)}"
    first = world.release(grant, kernel, action=action)
    world.seal("dataset/digits")
    size = world.state.size
    assert world.release(grant, kernel, action=action) == first
    assert world.state.size == size
    world.later(hours=1)
    with refused("grant-ended", RefusedError):
        world.release(grant, kernel, action=action)


def test_an_action_id_is_used_for_one_request_of_one_kernel() -> None:
    world = stocked()
    grant, kernel = opened(world)
    action = f"action_{ulid(50)}"
    body = world.release(grant, kernel, action=action)
    other, _ = opened(world)
    with refused("action-reused", ConflictError):
        world.release(grant, kernel, action=action, request_sha256=sha256("other"))
    with refused("action-reused", ConflictError):
        world.release(grant, Kernel(), action=action)
    with refused("action-reused", ConflictError):
        world.release(other, kernel, action=action)
    with refused("entry-illegal", LedgerError):
        world.append(body)


def test_an_action_id_and_a_digest_are_of_their_form() -> None:
    world = stocked()
    grant, kernel = opened(world)
    with refused("id-invalid", MalformedError):
        world.release(grant, kernel, action="action_1")
    with refused("digest-invalid", MalformedError):
        world.release(grant, kernel, request_sha256="x")


def test_zero_approvals_take_a_policy_of_two_admins_and_are_said_aloud() -> None:
    world = stocked()
    world.apply_policy(policy(rule={"approvals": 0}))
    grant = world.ask()
    kernel = world.bind(grant)
    assert world.release(grant, kernel).approvals == 0


def test_observing_releases_without_approval_but_not_without_identity() -> None:
    world = stocked()
    world.apply_policy(policy(mode="observe"))
    grant = world.ask(person="admin", seconds=9 * 3600)
    kernel = world.bind(grant, isolation="none")
    assert world.release(grant, kernel).approvals == 0
    with refused("kernel-not-bound", IdentityError):
        world.release(grant, Kernel())


def test_a_requester_who_was_removed_gets_nothing_more() -> None:
    world = stocked()
    grant, kernel = opened(world)
    world.remove("researcher")
    with refused("person-removed", IdentityError):
        world.release(grant, kernel)


def test_a_revoked_key_takes_the_seats_it_took_with_it() -> None:
    world = stocked()
    grant, kernel = opened(world)
    old = world.keys["researcher"]
    envelope = world.enrolment("researcher", KEYS[8], "researcher")
    world.append(propose_enrolment(world.state, envelope, world.now))
    world.keys["researcher"] = KEYS[8]
    world.revoke_key(old.public.key_id, "researcher")
    with refused("key-not-valid", IdentityError):
        world.release(grant, kernel)
    assert world.release(grant, world.bind(grant))


def test_signatures_of_recorded_statements_are_checked_before_any_release() -> None:
    """A row that was forged with the right key ids, by somebody without the keys."""
    world = stocked()
    grant = world.ask()
    genuine = world.countersigned(GrantApproved(grant=grant, approval=world.approval(grant)))
    signatures = tuple(
        msgspec.structs.replace(one, sig=bytes(64)) for one in genuine.approval.signatures
    )
    forged = msgspec.structs.replace(
        genuine, approval=msgspec.structs.replace(genuine.approval, signatures=signatures)
    )
    entry = make_entry(world.state.size, world.entries[-1].at, forged, SALT)
    with refused("entry-illegal", LedgerError):
        fold([*world.entries, entry], signatures=True)
    world.append(forged)
    kernel = world.bind(grant)
    with pytest.raises(SignatureError):
        world.release(grant, kernel)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 9},
        {"seal_id": "seal_other"},
        {"artifact": "weights/minilm"},
        {"approvals": 0},
        {"key_ids": ("key_9",)},
        {"kernel": "sha256:0"},
        {"grant": f"grant_{ulid(99)}"},
        {"action": "again"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_forged_release_in_the_ledger_is_refused(change: dict[str, Any]) -> None:
    world = stocked()
    grant, kernel = opened(world)
    body = propose_release(
        world.state,
        grant,
        "dataset/digits",
        None,
        None,
        kernel.id,
        f"action_{ulid(60)}",
        sha256("r"),
        world.now,
    )
    size = world.state.size
    with refused("entry-illegal", LedgerError):
        world.append(msgspec.structs.replace(body, **change))
    assert world.state.size == size
    world.append(body)
