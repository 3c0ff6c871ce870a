"""Grants: asking, deciding, taking the seat, keys, the lease, the end."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query
from msgspec import UNSET

from jupyter_aisec.broker.identity import (
    BrokerDep,
    KernelDep,
    SignedIn,
    SignedInDep,
    sees_grant,
)
from jupyter_aisec.broker.pages import LINKED, PageDep
from jupyter_aisec.broker.releases import release_keys
from jupyter_aisec.broker.schemas import EndedIn, ExplainIn, KeysIn, StatementIn
from jupyter_aisec.broker.service import Broker
from jupyter_aisec.broker.statements import Propose, append_statement, require_about
from jupyter_aisec.broker.structs import ExplainedOut, GrantOut
from jupyter_aisec.broker.views import EndedView, LeaseView, ReleaseView
from jupyter_aisec.errors import ConflictError, MalformedError
from jupyter_aisec.grants.approvals import propose_approval
from jupyter_aisec.grants.bindings import propose_binding, propose_ending
from jupyter_aisec.grants.decisions import propose_decision
from jupyter_aisec.grants.grant import Grant
from jupyter_aisec.grants.requests import explain_request, propose_request
from jupyter_aisec.grants.reviews import propose_review
from jupyter_aisec.grants.state import State, unknown_grant
from jupyter_aisec.grants.statements import Decision, Request
from jupyter_aisec.grants.view import explained, grant_view
from jupyter_aisec.grants.waived import check_waived_opening
from jupyter_aisec.ids import new_id
from jupyter_aisec.ledger.bodies import Body, GrantApproved
from jupyter_aisec.people.dsse import Envelope, sign_again
from jupyter_aisec.times import format_time

router = APIRouter(prefix="/v1/grants", tags=["grants"])

_ID = "^grant_[0-7][0-9A-HJKMNP-TV-Z]{25}$"
GrantId = Annotated[str, Path(pattern=_ID)]


@router.post("", summary="Ask for artifacts, for a time, with a reason")
def request(broker: BrokerDep, who: SignedInDep, body: StatementIn) -> GrantOut:
    envelope = body.envelope.envelope()
    grant_id = envelope.read(Request, Request.payload_type, "The request").grant
    append_statement(broker, who, envelope, propose_request, action="request", subject=grant_id)
    return _view(broker, who, grant_id)


@router.post("/explain", summary="What policy would say about a request; nothing is asked")
def explain(broker: BrokerDep, who: SignedInDep, body: ExplainIn) -> ExplainedOut:
    with broker.ledger.reading() as (state, now):
        request = Request(
            origin=state.genesis.origin,
            person=who.person,
            at=format_time(now),
            grant=new_id("grant"),
            artifacts=tuple(sorted(set(body.artifacts))),
            seconds=body.seconds,
            reason="A dry run",
            seat=new_id("session").replace("_", ":"),
            break_glass=body.break_glass or UNSET,
        )
        return explained(explain_request(state, request, now))


@router.get("", summary="The grants that you asked for, decide or look after", responses=LINKED)
def grants(
    broker: BrokerDep,
    who: SignedInDep,
    page: PageDep,
    state: Annotated[Literal["pending", "scheduled", "active", "ended"] | None, Query()] = None,
    after: Annotated[str | None, Query(pattern=_ID)] = None,
) -> list[GrantOut]:
    """In the order in which they were asked, the first first; ``after`` an id goes on."""
    with broker.ledger.reading() as (folded, now):
        first = _seen(folded, who, after).index + 1 if after else 0
        found = (
            grant
            for grant in folded.grants.values()
            if grant.index >= first
            and sees_grant(who, folded, grant.id)
            and state in (None, grant.state(now))
        )
        return [
            grant_view(folded, grant, now)
            for grant in page.of(found, lambda last: last.id, state=state)
        ]


@router.get("/{grant_id}")
def grant(broker: BrokerDep, who: SignedInDep, grant_id: GrantId) -> GrantOut:
    return _view(broker, who, grant_id)


@router.post("/{grant_id}/approve", summary="Approve what another person asked for")
def approve(broker: BrokerDep, who: SignedInDep, grant_id: GrantId, body: StatementIn) -> GrantOut:
    def propose(state: State, envelope: Envelope, now: datetime) -> Body:
        approved = propose_approval(state, envelope, now)
        return GrantApproved(
            grant=approved.grant, approval=sign_again(envelope, broker.keys.broker)
        )

    return _act(broker, who, grant_id, body, propose, "approve")


@router.post("/{grant_id}/review", summary="Review what another person broke the glass for")
def review(broker: BrokerDep, who: SignedInDep, grant_id: GrantId, body: StatementIn) -> GrantOut:
    return _act(broker, who, grant_id, body, propose_review, "review")


@router.post("/{grant_id}/bind", summary="A kernel takes the seat")
def bind(broker: BrokerDep, who: SignedInDep, grant_id: GrantId, body: StatementIn) -> GrantOut:
    return _act(broker, who, grant_id, body, propose_binding, "bind")


@router.post("/{grant_id}/keys", summary="Data keys, encrypted to the bound kernel that signs")
def keys(broker: BrokerDep, kernel: KernelDep, grant_id: GrantId, body: KeysIn) -> ReleaseView:
    return release_keys(broker, grant_id, body, kernel)


@router.post("/{grant_id}/lease", summary="How long a kernel may open before it asks again")
def lease(broker: BrokerDep, who: SignedInDep, grant_id: GrantId) -> LeaseView:
    with (
        broker.ledger.reading() as (state, now),
        broker.noting_refusals(who.person, "lease", grant_id),
    ):
        own = _own(state, who, grant_id)
        check_waived_opening(own, state.policies[own.terms.policy_version], state.policy)
        return LeaseView.of(own, now, broker.config)


@router.post("/{grant_id}/ended", summary="The keeper confirms that keys and buffers are gone")
def ended(broker: BrokerDep, who: SignedInDep, grant_id: GrantId, body: EndedIn) -> EndedView:
    with (
        broker.ledger.reading() as (state, _),
        broker.noting_refusals(who.person, "ended", grant_id),
    ):
        _own(state, who, grant_id)
    try:
        broker.ledger.append(
            lambda state, now: propose_ending(state, grant_id, body.kernel, body.how, now)
        )
    except ConflictError as error:
        if error.code != "ending-confirmed":
            raise
        return EndedView(recorded=False)
    return EndedView(recorded=True)


@router.post("/{grant_id}/{decision}", summary="End a grant or a request by a signed decision")
def decide(
    broker: BrokerDep,
    who: SignedInDep,
    grant_id: GrantId,
    decision: Literal["deny", "withdraw", "return", "revoke"],
    body: StatementIn,
) -> GrantOut:
    envelope = body.envelope.envelope()
    if envelope.read(Decision, Decision.payload_type, "The decision").action != decision:
        raise MalformedError("The path and the decision differ.", code="decision-differs")
    return _act(broker, who, grant_id, body, propose_decision, decision)


def _act(
    broker: Broker,
    who: SignedIn,
    grant_id: str,
    body: StatementIn,
    propose: Propose,
    action: str,
) -> GrantOut:
    envelope = body.envelope.envelope()
    require_about(envelope, grant_id)
    with broker.ledger.reading() as (state, _):
        state.grant(grant_id)
    append_statement(broker, who, envelope, propose, action=action, subject=grant_id)
    return _view(broker, who, grant_id)


def _view(broker: Broker, who: SignedIn, grant_id: str) -> GrantOut:
    with broker.ledger.reading() as (state, now):
        return grant_view(state, _seen(state, who, grant_id), now)


def _seen(state: State, who: SignedIn, grant_id: str) -> Grant:
    """The grant, if this person may see it; else there is none, in the same words."""
    if not sees_grant(who, state, grant_id):
        raise unknown_grant(grant_id)
    return state.grant(grant_id)


def _own(state: State, who: SignedIn, grant_id: str) -> Grant:
    """The grant, if this person asked for it; else there is none, in the same words."""
    found = state.grant(grant_id)
    if found.person != who.person:
        raise unknown_grant(grant_id)
    return found
