"""Entries that a dishonest broker wrote, each noticed by the check that is named for it."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import pytest

from jupyter_aisec.grants import DEFAULT_POLICY_TEXT
from jupyter_aisec.grants.statements import (
    Approval,
    Binding,
    Decision,
    Request,
)
from jupyter_aisec.ledger import Checkpoint
from jupyter_aisec.ledger import bodies as b
from jupyter_aisec.people import SigningKey, sign_again
from jupyter_aisec.sealed.manifest import Manifest, sign_manifest
from tests.provenance import forged_people  # noqa: F401 - registers more of them
from tests.provenance.forger import (
    FORGERIES,
    Forger,
    change_policy,
    first_failed,
    forgery,
    replace,
    verify,
)
from tests.provenance.world import ORIGIN, Walked

WAIVING = DEFAULT_POLICY_TEXT.replace("approvals = 1", "approvals = 0")


@forgery("policy")
def policy_signed_by_one_admin(f: Forger) -> None:
    change_policy(f, f.spare, WAIVING, "admin")


@forgery("policy")
def policy_signed_by_one_who_is_no_admin(f: Forger) -> None:
    change_policy(f, f.spare, WAIVING, "admin", "approver")


@forgery("policy")
def policy_other_than_signed(f: Forger) -> None:
    change_policy(f, f.spare, WAIVING, "admin", "researcher", policy_sha256="0" * 64)


@forgery("policy")
def policy_that_replaces_another(f: Forger) -> None:
    change_policy(f, f.spare, WAIVING, "admin", "researcher", replaces=1)


@forgery("entries")
def entries_that_go_back_in_time(f: Forger) -> None:
    f.times[f.find(b.SeatBound)[0]] = "2026-11-22T08:00:00.000Z"


@forgery("requests")
def asked_in_the_name_of_another(f: Forger) -> None:
    _, body = f.find(b.GrantRequested)
    f.change(b.GrantRequested, request=f.resign(body.request, Request, "admin"))


@forgery("requests")
def asked_by_one_whom_policy_does_not_let(f: Forger) -> None:
    _, body = f.find(b.GrantRequested)
    f.change(b.GrantRequested, request=f.resign(body.request, Request, "admin", person="admin"))


@forgery("requests")
def asked_for_another_grant(f: Forger) -> None:
    _, body = f.find(b.GrantRequested)
    request = f.resign(body.request, Request, "researcher", grant="grant_other")
    f.change(b.GrantRequested, request=request)


@forgery("requests")
def asked_with_another_reason_than_signed(f: Forger) -> None:
    _, body = f.find(b.GrantRequested)
    payload = body.request.payload.replace(b"Ablation 12", b"Ablation 13")
    f.change(b.GrantRequested, request=replace(body.request, payload=payload))


def _terms(f: Forger, **changes: Any) -> None:
    _, body = f.find(b.GrantRequested)
    f.change(b.GrantRequested, terms=replace(body.terms, **changes))


@forgery("requests")
def terms_without_approvals(f: Forger) -> None:
    _terms(f, approvals=0)


@forgery("requests")
def terms_longer_than_policy(f: Forger) -> None:
    _terms(f, seconds=14_401)


@forgery("requests")
def terms_that_never_lapse(f: Forger) -> None:
    _terms(f, pending_until="9999-01-01T00:00:00.000Z")


@forgery("requests")
def terms_that_can_begin_at_any_time(f: Forger) -> None:
    _terms(f, begin_within=2**52)


@forgery("requests")
def terms_of_another_policy(f: Forger) -> None:
    _terms(f, policy_version=1)


def _approve(f: Forger, *signers: str, **changes: Any) -> None:
    _, body = f.find(b.GrantApproved)
    f.change(b.GrantApproved, approval=f.resign(body.approval, Approval, *signers, **changes))


@forgery("approvals")
def approved_by_the_requester(f: Forger) -> None:
    _approve(f, "researcher", "broker", person="researcher")


@forgery("approvals")
def approved_by_one_who_was_not_asked(f: Forger) -> None:
    _approve(f, "admin", "broker", person="admin")


@forgery("approvals")
def approved_in_the_name_of_another(f: Forger) -> None:
    _approve(f, "admin", "broker")


@forgery("approvals")
def approved_and_not_countersigned(f: Forger) -> None:
    _approve(f, "approver")


@forgery("approvals")
def approved_another_request(f: Forger) -> None:
    _approve(f, "approver", "broker", request_sha256="0" * 64)


@forgery("approvals")
def approved_under_another_policy(f: Forger) -> None:
    _approve(f, "approver", "broker", policy_version=1)


@forgery("approvals")
def approved_for_longer(f: Forger) -> None:
    _approve(f, "approver", "broker", seconds=3601)


@forgery("approvals")
def approved_for_more(f: Forger) -> None:
    artifacts = ("dataset/digits", "dataset/other", "weights/minilm")
    _approve(f, "approver", "broker", artifacts=artifacts)


@forgery("approvals")
def approved_twice_by_one_person(f: Forger) -> None:
    _, body = f.find(b.GrantApproved)
    f.changes[f.spare] = body


@forgery("approvals")
def approved_after_it_was_begun(f: Forger) -> None:
    first, approved = f.find(b.GrantApproved)
    second, bound = f.find(b.SeatBound)
    f.changes |= {first: bound, second: approved}


@forgery("same ledger")
def approved_while_looking_at_another_ledger(f: Forger) -> None:
    size = f.find(b.GrantApproved)[0]
    _approve(f, "approver", "broker", checkpoint=Checkpoint(ORIGIN, size, bytes(32)).brief)


@forgery("same ledger")
def approved_while_looking_at_a_later_ledger(f: Forger) -> None:
    tree = f.world.state.tree
    _approve(f, "approver", "broker", checkpoint=Checkpoint(ORIGIN, tree.size, tree.root()).brief)


def _bind(f: Forger, *signers: str, **changes: Any) -> None:
    _, body = f.find(b.SeatBound)
    f.change(b.SeatBound, binding=f.resign(body.binding, Binding, *signers, **changes))


@forgery("seats")
def seat_taken_by_another_person(f: Forger) -> None:
    _bind(f, "approver", person="approver")


@forgery("seats")
def seat_signed_by_another_person(f: Forger) -> None:
    _bind(f, "approver")


@forgery("seats")
def kernel_of_two_people(f: Forger) -> None:
    _, body = f.find(b.SeatBound)
    other = f.resign(body.binding, Binding, "approver", person="approver", grant="grant_other")
    f.changes[f.spare] = b.SeatBound(grant="grant_other", binding=other)


@forgery("seats")
def seat_in_another_session(f: Forger) -> None:
    _bind(f, "researcher", seat="session:other")


@forgery("seats")
def seat_of_another_grant(f: Forger) -> None:
    _bind(f, "researcher", grant="grant_other")


@forgery("seats")
def seat_of_another_kernel(f: Forger) -> None:
    _bind(f, "researcher", kernel_key=SigningKey.generate().public)


@forgery("seats")
def seat_below_the_isolation_demanded(f: Forger) -> None:
    _terms(f, isolation="full")
    _bind(f, "researcher", isolation="partial")


@forgery("seats")
def seat_taken_after_the_window(f: Forger) -> None:
    index, _ = f.find(b.SeatBound)
    for entry in f.world.entries[index:]:
        f.times[entry.index] = "2026-11-25T09:00:00.000Z"


def _end(f: Forger, type_: Any, action: str, person: str) -> None:
    """Put a decision in the place of an entry between binding and the releases."""
    statement = f.world.sign(Decision, person, action=action, grant=f.world.grant)
    f.changes[f.spare] = type_(grant=f.world.grant, statement=statement)


@forgery("releases")
def keys_released_after_the_return(f: Forger) -> None:
    _end(f, b.GrantReturned, "return", "researcher")


@forgery("releases")
def keys_released_after_the_revocation(f: Forger) -> None:
    _end(f, b.GrantRevoked, "revoke", "approver")


@forgery("releases")
def keys_released_after_the_kernel_was_gone(f: Forger) -> None:
    kernel = f.world.keys["kernel"].public.key_id
    gone = b.EndingConfirmed(grant=f.world.grant, kernel=kernel, how="killed")
    f.changes[f.spare] = gone


@forgery("releases")
def keys_released_after_the_window(f: Forger) -> None:
    index, _ = f.find(b.KeysReleased)
    for entry in f.world.entries[index:]:
        f.times[entry.index] = "2026-11-22T18:00:00.000Z"


@forgery("releases")
def keys_released_of_what_was_not_asked(f: Forger) -> None:
    index, other = f.find(b.ArtifactSealed, 2)
    f.changes[index] = other  # makes it a part of the chain
    f.change(
        b.KeysReleased, 1, artifact=other.artifact, seal_id=other.seal_id,
        key_ids=tuple(other.wrapped_sha256),
    )  # fmt: skip


@forgery("releases")
def keys_released_of_another_version(f: Forger) -> None:
    f.change(b.KeysReleased, version=2)


@forgery("releases")
def output_released_of_another_version(f: Forger) -> None:
    index, body = f.find(b.KeysReleased)
    source = b.OutputSource(
        artifact=body.artifact,
        version=2,
        seal_id=body.seal_id,
        grant=body.grant,
        approvals=body.approvals,
    )
    f.changes[index] = b.OutputReleased(
        action=body.action,
        request_sha256=body.request_sha256,
        kernel=body.kernel,
        ciphertext_sha256="0" * 64,
        sources=(source,),
    )


@forgery("releases")
def keys_released_that_the_manifest_does_not_name(f: Forger) -> None:
    f.change(b.KeysReleased, key_ids=("key_other",))


@forgery("releases")
def keys_released_with_fewer_approvals_said(f: Forger) -> None:
    f.change(b.KeysReleased, approvals=0)


def _reseal(f: Forger, which: int, key: str, by: str | None = None, **changes: Any) -> None:
    """Change a manifest, and sign it with that key."""
    _, body = f.find(b.ArtifactSealed, which)
    manifest = replace(msgspec.json.decode(body.manifest.payload, type=Manifest), **changes)
    envelope = sign_manifest(manifest, f.world.keys[key])
    f.change(b.ArtifactSealed, which, manifest=envelope, by=by or body.by)


@forgery("inputs")
def input_sealed_in_the_name_of_another(f: Forger) -> None:
    f.change(b.ArtifactSealed, 0, by="admin")


@forgery("inputs")
def input_sealed_by_a_kernel_without_a_seat(f: Forger) -> None:
    f.world.keys.setdefault("stray", SigningKey.generate())
    _reseal(f, 0, "stray")


@forgery("inputs")
def input_sealed_twice(f: Forger) -> None:
    _, body = f.find(b.ArtifactSealed)
    f.change(b.ArtifactSealed, manifest=sign_again(body.manifest, f.world.keys["admin"]))


@forgery("inputs")
def input_with_a_manifest_of_another_name(f: Forger) -> None:
    _reseal(f, 0, "researcher", artifact="dataset/else")


@forgery("inputs")
def input_with_a_changed_manifest(f: Forger) -> None:
    _, body = f.find(b.ArtifactSealed)
    payload = body.manifest.payload.replace(b'"part-0"', b'"part-9"')
    f.change(b.ArtifactSealed, manifest=replace(body.manifest, payload=payload))


@forgery("output")
def output_without_a_label_of_its_inputs(f: Forger) -> None:
    _reseal(f, 3, "kernel", labels=())
    _rerecord(f, output=_output(f))


@forgery("output")
def output_that_is_not_the_recorded_one(f: Forger) -> None:
    _reseal(f, 3, "kernel", labels=("internal", "more"))


@forgery("output")
def output_of_another_person(f: Forger) -> None:
    _reseal(f, 3, "approver", by="approver")
    _rerecord(f, output=_output(f))


@forgery("run")
def run_with_fewer_differences(f: Forger) -> None:
    f.change(b.RunRecorded, differences=3)


@forgery("run")
def run_with_another_statement(f: Forger) -> None:
    f.change(b.RunRecorded, statement_sha256="0" * 64)


@forgery("run")
def run_of_another_grant(f: Forger) -> None:
    f.change(b.RunRecorded, grant="grant_other")


@forgery("bundle")
def run_under_another_id(f: Forger) -> None:
    f.change(b.RunRecorded, run="run_other")


@forgery("bundle")
def output_under_another_seal_id(f: Forger) -> None:
    f.change(b.ArtifactSealed, 3, seal_id="seal_other")


def _output(f: Forger) -> Any:
    body: Any = f.changes[f.find(b.ArtifactSealed, 3)[0]]
    digest = hashlib.sha256(body.manifest.payload).hexdigest()
    return replace(f.walked.record.output, manifest_sha256=digest)


def _rerecord(f: Forger, **changes: Any) -> None:
    f.record = replace(f.walked.record, **changes)


@pytest.mark.parametrize("name", FORGERIES)
def test_an_entry_that_a_dishonest_broker_wrote_is_noticed(walked: Walked, name: str) -> None:
    check, forge = FORGERIES[name]
    forger = Forger(walked)
    forge(forger)
    bundle = forger.bundle()
    report = verify(walked, bundle)
    assert first_failed(report) == check, [one for one in report.checks if not one.ok]


def test_a_forger_who_changes_nothing_is_not_noticed(walked: Walked) -> None:
    """So that the forgeries above are noticed for what they forge."""
    assert verify(walked, Forger(walked).bundle()).ok
