"""Reviewing a break-glass grant: by whom, of exactly which request, and each person once.

A review is a duty, not a decision: it may come while the grant is active and after its end,
and it ends nothing. Whoever finds that the glass should not have been broken revokes as ever.
"""

from __future__ import annotations

from datetime import datetime

from jupyter_aisec.errors import ConflictError, MalformedError, RefusedError
from jupyter_aisec.grants.duties import who_reviews
from jupyter_aisec.grants.grant import Grant
from jupyter_aisec.grants.requests import MAX_TEXT
from jupyter_aisec.grants.signatures import read_signed
from jupyter_aisec.grants.signed import Signed
from jupyter_aisec.grants.state import State
from jupyter_aisec.grants.statements import Review
from jupyter_aisec.ledger.bodies import GrantReviewed
from jupyter_aisec.people.dsse import Envelope

__all__ = ["check_reviewed", "propose_review"]


def propose_review(state: State, envelope: Envelope, now: datetime) -> GrantReviewed:
    """The entry for a signed review; raises whatever error says that it does not count."""
    review = read_signed(state, envelope, Review).statement
    body = GrantReviewed(grant=review.grant, statement=envelope)
    check_reviewed(state, body, state.time(now)).verify()
    return body


def check_reviewed(state: State, body: GrantReviewed, at: datetime) -> Signed[Review]:
    """That the review counts at ``at``."""
    signed = read_signed(state, body.statement, Review, at=at)
    review = signed.statement
    if review.grant != body.grant:
        raise MalformedError("The entry and the review name two grants.", code="grant-differs")
    if len(review.comment) > MAX_TEXT:
        raise MalformedError(
            f"A comment has at most {MAX_TEXT} characters.",
            next="Say it in fewer.",
            code="comment-too-long",
        )
    grant = state.grant(review.grant)
    if not grant.break_glass:
        raise RefusedError(
            f"Nobody broke the glass for {grant.id}: there is nothing to review.",
            next=f"`aisec grant show {grant.id}` shows who approved it.",
            code="not-break-glass",
        )
    _check_person(state, grant, review.person)
    if review.request_sha256 != grant.signed.sha256:
        raise ConflictError(
            "The review is of another request than the one recorded.",
            next=f"Look at it again, `aisec grant show {grant.id}`, then sign that: "
            f"`aisec grant review {grant.id}`.",
            code="request-changed",
        )
    return signed


def _check_person(state: State, grant: Grant, person: str) -> None:
    human = state.policy.human
    able = who_reviews(state, grant)
    if human(person) == human(grant.person):
        raise RefusedError(
            f"{person} cannot review what {grant.person} asked for: that takes another person.",
            next=_awaited(grant, able),
            code="self-review",
        )
    if human(person) in {human(one.person) for one in grant.reviews}:
        raise ConflictError(
            f"{person} has reviewed {grant.id} already, and counts once.",
            next=f"`aisec grant show {grant.id}` shows what was said, and who is still awaited.",
            code="reviewed-already",
        )
    if person not in (*grant.terms.approvers, *able):
        raise RefusedError(
            f"{person} is not among those who review {grant.id}.",
            next=_awaited(grant, able),
            code="reviewer-not-asked",
        )


def _awaited(grant: Grant, able: tuple[str, ...]) -> str:
    """Who can do it instead, and how."""
    if not able:
        return f"It has its reviews: `aisec grant show {grant.id}`."
    return f"It waits for {', '.join(able)}, who can: `aisec grant review {grant.id}`."
