from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from jupyter_aisec.errors import ConflictError, IdentityError, LedgerError, NotFoundError
from jupyter_aisec.grants import fold, propose_approval, propose_enrolment
from jupyter_aisec.ledger.bodies import GrantApproved
from jupyter_aisec.people.dsse import sign_again
from tests.grants.world import BROKER, KEYS, policy, refused, sha256, stocked, ulid

ROOT = "A" * 43 + "="  # 32 bytes, none of this ledger's
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "the requester": ({"person": "researcher"}, "self-approval"),
    "not asked": ({"person": "admin"}, "approver-not-asked"),
    "another request": ({"request_sha256": sha256("x")}, "request-changed"),
    "another policy version": ({"policy_version": 1}, "policy-changed"),
    "more time": ({"seconds": 3601}, "approval-widens"),
    "no time": ({"seconds": 0}, "approval-widens"),
    "more artifacts": ({"artifacts": ("dataset/digits", "weights/minilm")}, "approval-widens"),
    "another artifact": ({"artifacts": ("weights/minilm",)}, "approval-widens"),
    "no artifact": ({"artifacts": ()}, "artifacts-invalid"),
    "an unknown version": ({"artifacts": ("dataset/digits@9",)}, "version-unknown"),
    "a book": ({"comment": "x" * 4001}, "comment-too-long"),
    "checkpoint of no form": ({"checkpoint": "seven"}, "checkpoint-invalid"),
    "checkpoint of no number": ({"checkpoint": f"-1:{ROOT}"}, "checkpoint-invalid"),
    "checkpoint of no root": ({"checkpoint": "1:?"}, "checkpoint-invalid"),
    "checkpoint of a short root": ({"checkpoint": "1:AAAA"}, "checkpoint-invalid"),
    "checkpoint in another spelling": ({"checkpoint": f"02:{ROOT}"}, "checkpoint-invalid"),
    "checkpoint ahead": ({"checkpoint": f"99:{ROOT}"}, "checkpoint-ahead"),
    "checkpoint of another log": ({"checkpoint": f"2:{ROOT}"}, "checkpoint-differs"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_an_approval_that_does_not_count_is_refused_before_the_write(fault: str) -> None:
    world = stocked()
    grant = world.ask()
    fields, code = FAULTS[fault]
    size = world.state.size
    with refused(code):
        world.approve(grant, **fields)
    assert world.state.size == size
    assert world.state.grants[grant].approvals == ()


@pytest.mark.parametrize("fault", FAULTS)
def test_the_same_is_refused_when_it_is_found_in_the_ledger(fault: str) -> None:
    world = stocked()
    grant = world.ask()
    fields, _ = FAULTS[fault]
    envelope = sign_again(world.approval(grant, **fields), BROKER)
    with refused("entry-illegal", LedgerError):
        world.append(GrantApproved(grant=grant, approval=envelope))


def test_an_approval_of_an_unknown_grant_is_refused() -> None:
    world = stocked()
    envelope = world.approval(world.ask())
    other = stocked()
    with refused("grant-unknown", NotFoundError):
        propose_approval(other.state, envelope, other.now)


def test_an_approval_counts_only_with_the_brokers_countersignature() -> None:
    world = stocked()
    body = propose_approval(world.state, world.approval(world.ask()), world.now)
    with refused("entry-illegal", LedgerError):
        world.append(body)
    with refused("entry-illegal", LedgerError):
        world.append(msgspec.structs.replace(world.countersigned(body), grant=f"grant_{ulid(1)}"))
    world.append(world.countersigned(body))


def test_the_same_person_counts_once_also_through_a_second_account() -> None:
    world = stocked(policy(rule={"approvals": 2}))
    grant = world.ask()
    world.approve(grant)
    with refused("decided-already", ConflictError):
        world.approve(grant, comment="again")
    assert world.state.grants[grant].state(world.now) == "pending"
    world.approve(grant, "second")
    assert world.state.grants[grant].state(world.now) == "scheduled"

    world = stocked(
        policy(
            rule={"approvals": 2, "approvers": ("role:approver", "role:admin")},
            same_person=(("second", "admin"),),
        )
    )
    grant = world.ask()
    world.approve(grant, "second")
    with refused("decided-already", ConflictError):
        world.approve(grant, "admin")


def test_nobody_approves_for_a_second_account_of_their_own() -> None:
    world = stocked(policy(same_person=(("researcher", "second"),)))
    grant = world.ask()
    assert world.state.grants[grant].terms.approvers == ("approver",)
    with refused("self-approval"):
        world.approve(grant, "second")


def test_an_approval_too_many_or_after_the_end_is_refused() -> None:
    world = stocked()
    grant = world.ask()
    world.approve(grant)
    with refused("approved-already", ConflictError):
        world.approve(grant, "second")
    lapsed = world.ask()
    world.later(days=1)
    with refused("grant-ended"):
        world.approve(lapsed)


def test_an_approver_narrows_and_everybodys_narrowing_holds() -> None:
    world = stocked(policy(rule={"approvals": 2}))
    both = ("dataset/digits", "weights/minilm")
    grant = world.ask(*both)
    world.approve(grant, seconds=600, artifacts=("dataset/digits@1", "weights/minilm"))
    world.approve(grant, "second", artifacts=("dataset/digits",))
    found = world.state.grants[grant]
    assert found.artifacts == ("dataset/digits@1",)
    assert found.length == timedelta(seconds=600)


def test_approvals_that_leave_nothing_together_are_refused() -> None:
    world = stocked(policy(rule={"approvals": 2}))
    grant = world.ask("dataset/digits", "weights/minilm")
    world.approve(grant, artifacts=("dataset/digits",))
    with refused("approval-empties"):
        world.approve(grant, "second", artifacts=("weights/minilm",))


def test_a_change_of_policy_takes_pending_requests_with_it() -> None:
    world = stocked()
    grant = world.ask()
    world.apply_policy(policy(rule={"longest": 60}))
    for version in (0, 1):
        with refused("policy-changed", ConflictError):
            world.approve(grant, policy_version=version)


def test_a_removed_approver_and_a_revoked_key_approve_nothing_more() -> None:
    world = stocked()
    grant = world.ask()
    old = world.keys["approver"]
    new = world.enrolment("approver", KEYS[8], "approver")
    world.append(propose_enrolment(world.state, new, world.now))
    world.revoke_key(old.public.key_id, "approver")
    with refused("key-not-valid", IdentityError):
        world.approve(grant)
    world.keys["approver"] = KEYS[8]
    world.remove("approver")
    with refused("person-removed", IdentityError):
        world.approve(grant)


def test_an_approval_stays_valid_as_of_its_place_when_the_approver_leaves() -> None:
    world = stocked()
    grant = world.ask()
    world.approve(grant)
    world.remove("approver")
    kernel = world.bind(grant)
    assert world.release(grant, kernel).approvals == 1
    assert fold(world.entries, signatures=True).size == world.state.size


def test_a_checkpoint_from_before_the_request_is_of_this_ledger_and_so_accepted() -> None:
    world = stocked()
    early = world.checkpoint()
    grant = world.ask()
    world.approve(grant, checkpoint=early)
    assert world.state.grants[grant].approved_at == world.now
