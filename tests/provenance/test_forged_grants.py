"""What a dishonest broker writes about grants: the fold refuses it, and so does ``aisec verify``.

Each forgery is a whole ledger with everything else in order. The fold must refuse it, so that a
check here repeats a rule there, and the check that is named must fail, for the reason named.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest

from jupyter_aisec.errors import LedgerError
from jupyter_aisec.grants import DEFAULT_POLICY_TEXT, fold
from jupyter_aisec.grants.signatures import TOLERANCE
from jupyter_aisec.grants.statements import Approval, Binding, Decision, Invitation, Request
from jupyter_aisec.ledger import Checkpoint
from jupyter_aisec.ledger import bodies as b
from jupyter_aisec.people import SigningKey
from jupyter_aisec.sealed.manifest import Manifest, sign_manifest
from jupyter_aisec.times import format_time, parse_time
from tests.provenance.forger import Forger, change_policy, first_failed, replace, verify
from tests.provenance.world import ORIGIN, Walked, new_id

Forgery = Callable[[Forger], None]
FORGED: dict[str, tuple[str, str, str, Forgery]] = {}
WAIVING = DEFAULT_POLICY_TEXT.replace("approvals = 1", "approvals = 0")
OBSERVING = DEFAULT_POLICY_TEXT.replace('mode = "enforce"', 'mode = "observe"')
NOTHING = b.ActionRefused(person="researcher", action="", subject="", code="", what="")
LONG_AGO = timedelta(hours=20)


def forgery(check: str, reason: str, folding: str = "") -> Callable[[Forgery], Forgery]:
    """``reason`` is what the failed check says, and ``folding`` the fold where it differs."""

    def register(forge: Forgery) -> Forgery:
        FORGED[forge.__name__] = (check, reason, folding or reason, forge)
        return forge

    return register


def at(f: Forger, index: int) -> datetime:
    return parse_time(f.world.entries[index].at)


def shift(f: Forger, index: int, by: timedelta) -> str:
    """Everything from entry ``index`` on happens so much later; when that entry does."""
    for entry in f.world.entries[index:]:
        f.times[entry.index] = format_time(parse_time(entry.at) + by)
    return f.times[index]


def ask(f: Forger, **changes: Any) -> None:
    _, body = f.find(b.GrantRequested)
    request = f.resign(body.request, Request, "researcher", **changes)
    f.change(b.GrantRequested, request=request)


def approve(f: Forger, to: int | None = None, **changes: Any) -> None:
    """The approval, changed; in the place of entry ``to``, or in its own."""
    index, body = f.find(b.GrantApproved)
    approval = f.resign(body.approval, Approval, "approver", "broker", **changes)
    f.changes[index if to is None else to] = replace(body, approval=approval)


def bind(f: Forger, to: int | None = None, signer: str = "researcher", **changes: Any) -> None:
    index, body = f.find(b.SeatBound)
    binding = f.resign(body.binding, Binding, signer, **changes)
    f.changes[index if to is None else to] = replace(body, binding=binding)


def unapproved(f: Forger, text: str) -> int:
    """Asked for under a policy that asks nobody; the entry where the approval was."""
    change_policy(f, f.find(b.KeyEnrolled, 1)[0], text, "admin", "researcher")
    _, body = f.find(b.GrantRequested)
    terms = replace(body.terms, approvals=0, approvers=(), policy_version=1)
    f.change(b.GrantRequested, terms=terms)
    for which in (0, 1):
        f.change(b.KeysReleased, which, approvals=0)
    index, _ = f.find(b.GrantApproved)
    f.changes[index] = NOTHING
    return index


@forgery("requests", "This was signed at")
def asked_long_after_it_was_signed(f: Forger) -> None:
    ask(f, at=format_time(at(f, f.find(b.GrantRequested)[0]) - LONG_AGO))


@forgery("requests", "needs a reason")
def asked_without_a_reason(f: Forger) -> None:
    ask(f, reason=" ")


@forgery("requests", "has passed")
def asked_for_a_start_that_had_passed(f: Forger) -> None:
    ask(f, start=format_time(at(f, 0)))


@forgery("requests", "seconds cannot be asked for")
def asked_for_longer_than_time_lasts(f: Forger) -> None:
    ask(f, seconds=2**52)


@forgery("requests", "It names an impossible time.", "date value out of range")
def asked_at_the_end_of_time(f: Forger) -> None:
    end = "9999-12-31T23:59:59.000Z"
    index, _ = f.find(b.GrantRequested)
    f.times |= dict.fromkeys(range(index, len(f.world.entries)), end)
    ask(f, at=end)


@forgery("approvals", "has ended: lapsed")
def approved_after_the_request_had_lapsed(f: Forger) -> None:
    when = shift(f, f.find(b.GrantApproved)[0], timedelta(days=30))
    approve(f, at=when)
    bind(f, at=f.times[f.find(b.SeatBound)[0]])


@forgery("approvals", "This was signed at")
def approved_long_after_it_was_signed(f: Forger) -> None:
    """A broker withheld the approval, and used it when its signer had forgotten it."""
    index, _ = f.find(b.GrantApproved)
    shift(f, index, LONG_AGO)
    approve(f)
    bind(f, at=f.times[f.find(b.SeatBound)[0]])


@forgery("approvals", "The policy had changed", "and 1 is in force")
def approved_after_the_policy_had_changed(f: Forger) -> None:
    approved, bound = f.find(b.GrantApproved)[0], f.find(b.SeatBound)[0]
    change_policy(f, approved, WAIVING, "admin", "researcher")
    approve(f, to=bound)
    bind(f, to=f.spare)


@forgery("approvals", "has ended: denied")
def approved_after_it_was_denied(f: Forger) -> None:
    approved, bound = f.find(b.GrantApproved)[0], f.find(b.SeatBound)[0]
    deny = f.world.sign(Decision, "admin", action="deny", grant=f.world.grant)
    deny = f.resign(deny, Decision, "admin", at=format_time(at(f, approved)))
    f.changes[approved] = b.GrantDenied(grant=f.world.grant, statement=deny)
    approve(f, to=bound)
    bind(f, to=f.spare)


@forgery("approvals", "nothing would be left")
def approved_by_two_who_leave_nothing(f: Forger) -> None:
    two = DEFAULT_POLICY_TEXT.replace("approvals = 1", "approvals = 2")
    two = two.replace('["role:approver"]', '["role:approver", "role:admin"]')
    change_policy(f, f.find(b.KeyEnrolled, 1)[0], two, "admin", "researcher")
    _, body = f.find(b.GrantRequested)
    asked = ("admin", "approver")
    terms = replace(body.terms, approvals=2, approvers=asked, policy_version=1)
    f.change(b.GrantRequested, terms=terms)
    f.approval = {"artifacts": ("dataset/digits",), "policy_version": 1}
    bound, _ = f.find(b.SeatBound)
    _, approved = f.find(b.GrantApproved)
    genesis = Checkpoint(ORIGIN, 1, f.world.state.tree.root(1)).brief
    second = f.resign(
        approved.approval, Approval, "admin", "broker",
        person="admin", artifacts=("weights/minilm",), policy_version=1, checkpoint=genesis,
    )  # fmt: skip
    f.changes[bound] = replace(approved, approval=second)
    bind(f, to=f.spare)


@forgery("seats", "This was signed at")
def seat_taken_long_after_it_was_signed_for(f: Forger) -> None:
    index, _ = f.find(b.SeatBound)
    bind(f, at=format_time(at(f, index) - TOLERANCE - timedelta(seconds=1)))


@forgery("seats", "has ended: expired")
def seat_taken_when_it_could_not_begin_any_more(f: Forger) -> None:
    bind(f, at=shift(f, f.find(b.SeatBound)[0], timedelta(days=1)))


@forgery("seats", "is signed by approver", "not signed with an enrolled key of researcher")
def clock_started_by_a_kernel_that_nobody_signed_for(f: Forger) -> None:
    """So that a grant can still begin when its time to begin is over."""
    index, body = f.find(b.SeatBound)
    other = SigningKey.generate().public
    first = f.resign(body.binding, Binding, "approver", kernel_key=other)
    f.changes[index] = replace(body, binding=first)
    bind(f, to=f.spare)


@forgery("seats", "is, or was, bound to")
def seat_taken_twice_by_one_kernel(f: Forger) -> None:
    bind(f, to=f.spare, at=format_time(at(f, f.spare)))


@forgery("seats", "bound later than this one was signed for")
def seat_taken_back_by_a_kernel_that_was_signed_for_before(f: Forger) -> None:
    """The old kernel's binding was withheld until the new one had the seat."""
    index, body = f.find(b.SeatBound)
    newer = f.resign(
        body.binding, Binding, "researcher",
        kernel_key=SigningKey.generate().public, at=format_time(at(f, f.spare)),
    )  # fmt: skip
    f.changes[index] = replace(body, binding=newer)
    bind(f, to=f.spare, at=format_time(at(f, index)))


@forgery("seats", "no kernel's", "somebody else's")
def seat_taken_with_a_persons_key(f: Forger) -> None:
    bind(f, to=f.spare, kernel_key=f.world.keys["approver"].public, at=format_time(at(f, f.spare)))


@forgery("seats", "needed no approval under policy version 1")
def seat_without_approval_under_a_policy_that_demands_one(f: Forger) -> None:
    place = unapproved(f, WAIVING)
    change_policy(f, place, DEFAULT_POLICY_TEXT, "admin", "researcher", replaces=1)


@forgery("releases", "while the policy only observed")
def keys_released_of_what_was_asked_while_observing(f: Forger) -> None:
    unapproved(f, OBSERVING)
    change_policy(f, f.spare, DEFAULT_POLICY_TEXT, "admin", "researcher", replaces=1)


@forgery("requests", "are weaker than the policy's", "not those that the policy sets")
def longer_than_the_rules_of_a_policy_that_observes(f: Forger) -> None:
    unapproved(f, OBSERVING)
    index, _ = f.find(b.GrantRequested)
    body: Any = f.changes[index]
    request = f.resign(body.request, Request, "researcher", seconds=5 * 3600)
    terms = replace(body.terms, seconds=5 * 3600)
    f.changes[index] = replace(body, request=request, terms=terms)


@forgery("releases", "action id that was used", "action id was used before")
def keys_released_twice_under_one_action(f: Forger) -> None:
    f.change(b.KeysReleased, 1, action=f.find(b.KeysReleased)[1].action)


@forgery("releases", "is not an id like action_")
def keys_released_under_an_action_that_is_none(f: Forger) -> None:
    f.change(b.KeysReleased, action="action_1")


@forgery("releases", "releases no keys", "has no such data keys")
def no_keys_released(f: Forger) -> None:
    f.change(b.KeysReleased, key_ids=())


@forgery("releases", "sorted and distinct")
def output_released_of_one_version_twice(f: Forger) -> None:
    index, body = f.find(b.KeysReleased)
    source = b.OutputSource(
        artifact=body.artifact,
        version=body.version,
        seal_id=body.seal_id,
        grant=body.grant,
        approvals=body.approvals,
    )
    f.changes[index] = b.OutputReleased(
        action=body.action,
        request_sha256=body.request_sha256,
        kernel=body.kernel,
        ciphertext_sha256="0" * 64,
        sources=(source, source),
    )


@forgery("inputs", "did not let researcher seal dataset/digits", "does not let researcher seal")
def input_sealed_by_one_whom_the_policy_did_not_let(f: Forger) -> None:
    nobody = DEFAULT_POLICY_TEXT.replace(
        'sealers = ["role:researcher", ', 'sealers = ["person:no", '
    )
    nobody = nobody.replace('"role:approver", "role:admin"]   #', '"person:none"]   #')
    change_policy(f, f.find(b.KeyEnrolled, 1)[0], nobody, "admin", "researcher")
    _, body = f.find(b.GrantRequested)
    f.change(b.GrantRequested, terms=replace(body.terms, policy_version=1))
    f.approval = {"policy_version": 1}


def seal_again(f: Forger, place: int, key: SigningKey, **fields: Any) -> b.ArtifactSealed:
    """Another version of the first input, with one more label, in the place of an entry."""
    _, first = f.find(b.ArtifactSealed)
    manifest = msgspec.json.decode(first.manifest.payload, type=Manifest)
    seal_id = new_id("seal")
    manifest = replace(manifest, seal_id=seal_id, labels=("internal", "phi"))
    body = replace(
        first,
        seal_id=seal_id,
        url=f"memory://x/dataset/digits/{seal_id}",
        manifest=sign_manifest(manifest, key),
        **fields,
    )
    f.changes[place] = body
    return body


@forgery("releases", "labels that nobody was asked about: phi")
def keys_released_of_a_label_that_nobody_was_asked_about(f: Forger) -> None:
    """A new version carries it, and is opened under what was approved before."""
    body = seal_again(f, f.spare, f.world.keys["researcher"], version=2)
    f.change(b.KeysReleased, version=2, seal_id=body.seal_id)


@forgery("inputs", "lacks a seat of the kernel", "signed by one enrolled key")
def label_shown_by_a_version_that_nobody_sealed(f: Forger) -> None:
    """So that it looks as if it had been known when it was asked for."""
    keys_released_of_a_label_that_nobody_was_asked_about(f)
    seal_again(f, f.find(b.KeyEnrolled, 1)[0], SigningKey.generate())


def invite(f: Forger, **changes: Any) -> None:
    index, body = f.find(b.PersonInvited)
    by = f.resign(body.by, Invitation, "admin", "researcher", **changes)
    f.changes[index] = replace(body, by=by, **changes)


@forgery("people", "cannot be given now")
def invited_for_longer_than_thirty_days(f: Forger) -> None:
    invite(f, expires="2036-11-22T09:00:00.000Z")


@forgery("people", "gives one role or more")
def invited_without_a_role(f: Forger) -> None:
    invite(f, roles=())


@forgery("people", "token that was given out", "given out already")
def invited_with_a_token_that_another_has(f: Forger) -> None:
    _, first = f.find(b.PersonInvited)
    index, body = f.find(b.PersonInvited, 1)
    by = f.resign(body.by, Invitation, "admin", "researcher", token_sha256=first.token_sha256)
    f.changes[f.find(b.KeyEnrolled)[0]] = replace(body, by=by, token_sha256=first.token_sha256)
    f.changes[index] = NOTHING


@pytest.mark.parametrize("name", FORGED)
def test_the_check_that_is_named_fails_for_what_the_fold_refuses(walked: Walked, name: str) -> None:
    check, reason, folding, forge = FORGED[name]
    forger = Forger(walked)
    forge(forger)
    report = verify(walked, forger.bundle())
    assert first_failed(report) == check, [one for one in report.checks if not one.ok]
    assert reason in next(one.detail for one in report.checks if not one.ok)
    with pytest.raises(LedgerError) as caught:
        fold(forger.ledger()[0], signatures=True)
    assert folding in str(caught.value)


def test_what_is_not_forged_both_let_pass(walked: Walked) -> None:
    fold(Forger(walked).ledger()[0], signatures=True)
    assert verify(walked, Forger(walked).bundle()).ok
