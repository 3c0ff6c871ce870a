"""Approving a request: by whom, over exactly what, and never more than was asked."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from jupyter_aisec.errors import ConflictError, MalformedError, RefusedError
from jupyter_aisec.grants.grant import Grant
from jupyter_aisec.grants.names import check_references, narrow, split_reference
from jupyter_aisec.grants.policy import Policy
from jupyter_aisec.grants.requests import MAX_TEXT
from jupyter_aisec.grants.seen import check_seen
from jupyter_aisec.grants.signatures import read_signed
from jupyter_aisec.grants.signed import Signed, without_signature
from jupyter_aisec.grants.state import State
from jupyter_aisec.grants.statements import Approval
from jupyter_aisec.ledger.bodies import GrantApproved
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.times import format_duration

__all__ = [
    "asked",
    "check_approved",
    "check_given",
    "check_recorded",
    "ended_error",
    "propose_approval",
]


def propose_approval(state: State, envelope: Envelope, now: datetime) -> GrantApproved:
    """The entry for a signed approval; the broker adds its countersignature before it appends.

    Everything is checked here, before the write: also that nobody approves for themselves.
    """
    signed = read_signed(state, envelope, Approval)
    body = GrantApproved(grant=signed.statement.grant, approval=envelope)
    check_approved(state, body, state.time(now)).verify()
    return body


def check_recorded(state: State, body: GrantApproved, at: datetime) -> Signed[Approval]:
    """:func:`check_approved`, and that the broker's key signed too."""
    broker = state.genesis.broker_key
    given = without_signature(body.approval, broker.key_id)
    if given == body.approval:
        raise MalformedError(
            "The broker did not countersign this approval.", code="countersignature-missing"
        )
    signed = check_approved(state, GrantApproved(grant=body.grant, approval=given), at)
    return msgspec.structs.replace(signed, envelope=body.approval, keys=(*signed.keys, broker))


def check_approved(state: State, body: GrantApproved, at: datetime) -> Signed[Approval]:
    """That the approval counts at ``at``."""
    signed = read_signed(state, body.approval, Approval, at=at)
    approval = signed.statement
    if approval.grant != body.grant:
        raise MalformedError("The entry and the approval name two grants.", code="grant-differs")
    grant = state.grant(approval.grant)
    check_given(state.policy, grant, approval, at)
    _check_same(state, grant, approval)
    if len(approval.comment) > MAX_TEXT:
        raise MalformedError(
            f"A comment has at most {MAX_TEXT} characters.",
            next="Say it in fewer.",
            code="comment-too-long",
        )
    for reference in approval.artifacts:
        state.catalog.find(*split_reference(reference))
    return signed


def check_given(policy: Policy, grant: Grant, approval: Approval, at: datetime) -> None:
    """That the approval fits its grant as it stands at ``at``: what these alone can tell."""
    _check_person(policy, grant, approval.person)
    _check_open(grant, at)
    _check_not_wider(grant, approval)


def _check_person(policy: Policy, grant: Grant, person: str) -> None:
    human = policy.human
    if human(person) == human(grant.person):
        raise RefusedError(
            f"{person} cannot approve a request by {grant.person}: that takes another person.",
            next=asked(grant, "approve"),
            code="self-approval",
        )
    if human(person) in {human(one.person) for one in grant.approvals}:
        raise ConflictError(
            f"{person} has approved {grant.id} already, and counts once.",
            next=f"`aisec grant show {grant.id}` shows who is still asked.",
            code="decided-already",
        )
    if person not in grant.terms.approvers:
        raise RefusedError(
            f"{person} is not among those asked to approve {grant.id}.",
            next=asked(grant, "approve"),
            code="approver-not-asked",
        )


def asked(grant: Grant, verb: str) -> str:
    """Who can do it instead, and how."""
    people = ", ".join(grant.terms.approvers) or "nobody"
    return f"It was put to {people}, who can: `aisec grant {verb} {grant.id}`."


def _check_open(grant: Grant, at: datetime) -> None:
    state = grant.state(at)
    if state == "ended":
        raise ended_error(grant, at)
    if grant.break_glass:
        raise ConflictError(
            f"{grant.id} was begun by breaking the glass: it is not approved, but reviewed.",
            next=f"Say what you think of it, `aisec grant review {grant.id}`; to end it: "
            f"`aisec grant revoke {grant.id}`.",
            code="approved-already",
        )
    if state != "pending":
        raise ConflictError(
            f"{grant.id} has all the approvals it needs; it is {state}.",
            next=f"There is nothing left to approve; to end it: `aisec grant revoke {grant.id}`.",
            code="approved-already",
        )


def ended_error(grant: Grant, at: datetime) -> RefusedError:
    """What to say about anything that is done to a grant after its end."""
    return RefusedError(
        f"{grant.id} has ended: {grant.ended_why(at)}.",
        next=f"{grant.person} can ask again: `aisec grant extend {grant.id} "
        f"--for {format_duration(timedelta(seconds=grant.request.seconds))} --reason TEXT`.",
        code="grant-ended",
    )


def _check_same(state: State, grant: Grant, approval: Approval) -> None:
    """That the approver saw this request, under this policy, in this ledger."""
    if approval.request_sha256 != grant.signed.sha256:
        raise ConflictError(
            "The approval is for another request than the one recorded.",
            next=f"Look at it again, `aisec grant show {grant.id}`, then sign that: "
            f"`aisec grant approve {grant.id}`.",
            code="request-changed",
        )
    if not approval.policy_version == grant.terms.policy_version == state.policy_version:
        raise ConflictError(
            f"The request was made under policy version {grant.terms.policy_version}, the "
            f"approval names {approval.policy_version}, and {state.policy_version} is in force.",
            next="If the policy changed, the request must be made again.",
            code="policy-changed",
        )
    check_seen(state, approval.checkpoint)


def _check_not_wider(grant: Grant, approval: Approval) -> None:
    check_references(approval.artifacts)
    request = grant.request
    common = narrow(request.artifacts, approval.artifacts)
    if set(approval.artifacts) != common or not 1 <= approval.seconds <= request.seconds:
        raise RefusedError(
            "An approval may narrow what was asked, never widen it.",
            next=f"Asked was for {', '.join(request.artifacts)}, for "
            f"{format_duration(timedelta(seconds=request.seconds))}. Approve that, "
            f"`aisec grant approve {grant.id}`, or some of it.",
            code="approval-widens",
        )
    if not narrow(grant.artifacts, approval.artifacts):
        raise RefusedError(
            "Together with the other approvals, nothing would be left.",
            next="Deny it, or approve something that the others approved.",
            code="approval-empties",
        )
