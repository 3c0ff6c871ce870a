"""Ending a grant by decision (deny, withdraw, return, revoke), and attempts that were refused."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from jupyter_aisec.errors import ConflictError, MalformedError, RefusedError
from jupyter_aisec.grants.approvals import asked, ended_error
from jupyter_aisec.grants.grant import Grant, GrantState
from jupyter_aisec.grants.requests import MAX_TEXT
from jupyter_aisec.grants.signatures import read_signed
from jupyter_aisec.grants.signed import Signed
from jupyter_aisec.grants.state import State
from jupyter_aisec.grants.statements import Decision
from jupyter_aisec.ledger.bodies import (
    ActionRefused,
    EndedWhy,
    GrantDenied,
    GrantReturned,
    GrantRevoked,
    GrantWithdrawn,
)
from jupyter_aisec.people.dsse import Envelope

__all__ = ["WHY", "check_decided", "check_refused", "propose_decision", "propose_refusal"]

Action = Literal["deny", "withdraw", "return", "revoke"]
Decided = GrantDenied | GrantWithdrawn | GrantReturned | GrantRevoked

_BODIES: dict[Action, type[Decided]] = {
    "deny": GrantDenied,
    "withdraw": GrantWithdrawn,
    "return": GrantReturned,
    "revoke": GrantRevoked,
}
WHY: dict[Action, EndedWhy] = {
    "deny": "denied",
    "withdraw": "withdrawn",
    "return": "returned",
    "revoke": "revoked",
}
# In which states each may be done. A deny still beats approvals while nothing was begun.
_WHEN: dict[Action, tuple[GrantState, ...]] = {
    "deny": ("pending", "scheduled"),
    "withdraw": ("pending",),
    "return": ("scheduled", "active"),
    "revoke": ("scheduled", "active"),
}
_INSTEAD: dict[Action, Action] = {
    "deny": "revoke",
    "withdraw": "return",
    "return": "withdraw",
    "revoke": "deny",
}
_OWN: dict[Action, Action] = {"deny": "withdraw", "revoke": "return"}
_OTHERS: dict[Action, Action] = {own: others for others, own in _OWN.items()}


def propose_decision(state: State, envelope: Envelope, now: datetime) -> Decided:
    """The entry for a signed decision to end a grant."""
    decision = read_signed(state, envelope, Decision).statement
    body = _BODIES[decision.action](grant=decision.grant, statement=envelope)
    check_decided(state, body, state.time(now)).verify()
    return body


def check_decided(state: State, body: Decided, at: datetime) -> Signed[Decision]:
    """That this person may end this grant in this way at ``at``."""
    signed = read_signed(state, body.statement, Decision, at=at)
    decision = signed.statement
    if decision.grant != body.grant or type(body) is not _BODIES[decision.action]:
        raise MalformedError("The entry and the decision differ.", code="grant-differs")
    if len(decision.reason) > MAX_TEXT:
        raise MalformedError(
            f"A reason has at most {MAX_TEXT} characters.",
            next="Say it in fewer: `--reason TEXT`.",
            code="reason-too-long",
        )
    grant = state.grant(decision.grant)
    _check_person(state, grant, decision)
    now = grant.state(at)
    if now == "ended":
        raise ended_error(grant, at)
    if now not in _WHEN[decision.action]:
        raise RefusedError(
            f"{grant.id} is {now}: `{decision.action}` is not possible.",
            next=f"`aisec grant {_INSTEAD[decision.action]} {grant.id}` is.",
            code="state-wrong",
        )
    return signed


def _check_person(state: State, grant: Grant, decision: Decision) -> None:
    human = state.policy.human
    person, action = decision.person, decision.action
    if action in ("withdraw", "return"):
        if person != grant.person:
            raise RefusedError(
                f"Only {grant.person}, who asked, can {action} {grant.id}.",
                next=f"An approver can end it: `aisec grant {_OTHERS[action]} {grant.id}`.",
                code="not-the-requester",
            )
        return
    if human(person) == human(grant.person):
        raise RefusedError(
            f"{person} asked for {grant.id} and does not {action} it.",
            next=f"Take it back yourself: `aisec grant {_OWN[action]} {grant.id}`.",
            code="own-request",
        )
    if action == "deny" and human(person) in {human(one.person) for one in grant.approvals}:
        raise ConflictError(
            f"{person} has approved {grant.id} already: a decision stands.",
            next=f"Once it has all its approvals: `aisec grant revoke {grant.id}`.",
            code="decided-already",
        )
    if person not in grant.terms.approvers and not state.directory.has_role(
        person, "admin", state.size
    ):
        raise RefusedError(
            f"{person} is neither among those asked about {grant.id} nor an admin.",
            next=asked(grant, action),
            code="approver-not-asked",
        )


def propose_refusal(
    state: State, error: RefusedError, *, person: str, action: str, subject: str
) -> ActionRefused:
    """The entry that keeps a refused attempt: who tried what, on what, and why it was refused."""
    body = ActionRefused(
        person=person,
        action=action[:80],
        subject=subject[:200],
        code=error.code,
        what=error.what[:MAX_TEXT],
    )
    check_refused(state, body, state.last_at)
    return body


def check_refused(state: State, body: ActionRefused, at: datetime) -> None:
    """That the attempt was by a person there is: others leave no trace in the ledger."""
    state.directory.person(body.person)
