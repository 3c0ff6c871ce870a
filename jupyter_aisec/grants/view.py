"""A grant as it is shown: by the broker's HTTP, on the command line, in notebook and lab."""

from __future__ import annotations

from datetime import datetime

import msgspec

from jupyter_aisec.grants.decide import Refusal
from jupyter_aisec.grants.duties import who_reviews
from jupyter_aisec.grants.grant import Grant, GrantState
from jupyter_aisec.grants.state import State
from jupyter_aisec.ledger.bodies import EndedWhy, Isolation, Terms, Verdict
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.times import format_time

__all__ = [
    "ApprovalView",
    "Explained",
    "GrantView",
    "KernelView",
    "ReviewView",
    "explained",
    "grant_view",
    "who_is_asked",
]


class ApprovalView(msgspec.Struct, frozen=True, kw_only=True):
    person: str
    at: str
    seconds: int
    artifacts: tuple[str, ...]
    comment: str


class ReviewView(msgspec.Struct, frozen=True, kw_only=True):
    """What one person said about breaking the glass."""

    person: str
    at: str
    verdict: Verdict
    comment: str


class KernelView(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel that took the seat. ``confirmed`` says how its ending was confirmed, if it was."""

    kernel: str
    at: str
    isolation: Isolation
    vouched: bool
    confirmed: str | None


class GrantView(msgspec.Struct, frozen=True, kw_only=True):
    """Everything there is to show about a grant at ``now``. Times are RFC 3339 in UTC.

    ``seconds`` is how long it holds and ``artifacts`` what it covers, after every cap and
    narrowing; what was asked is in ``request``. ``warn`` is when to warn the person of the end,
    the first moment first; nobody else has a rule for it. ``ending`` lists the kernels of an ended
    grant whose keys and buffers nobody has confirmed gone. ``asked_labels`` are those of
    all that was asked for, then: approvers decide about them. ``labels`` are those that everything
    must carry that the kernel in the seat seals now. A grant under ``break_glass`` was approved by
    nobody: ``review_by`` are those whose review is still awaited, none once there are as many as
    ``reviews_needed``.
    """

    id: str
    state: GrantState
    ended_why: EndedWhy | None
    ended_at: str | None
    ended_by: str | None
    ended_reason: str
    person: str
    artifacts: tuple[str, ...]
    reason: str
    seat: str
    extends: str | None
    seconds: int
    requested_at: str
    pending_until: str
    begin_until: str | None
    approvals_needed: int
    approvers: tuple[str, ...]
    waiting_for: tuple[str, ...]
    approvals: tuple[ApprovalView, ...]
    starts_at: str | None
    ends_at: str | None
    warn: tuple[str, ...]
    policy_version: int
    isolation: Isolation
    kernels: tuple[KernelView, ...]
    ending: tuple[str, ...]
    labels: tuple[str, ...]
    asked_labels: tuple[str, ...]
    now: str
    request: Envelope
    terms: Terms
    break_glass: bool
    reviews_needed: int
    reviews: tuple[ReviewView, ...]
    review_by: tuple[str, ...]

    @property
    def holder(self) -> str | None:
        """The key id of the kernel that holds the seat, if the grant has not ended."""
        last = self.kernels[-1] if self.kernels and self.state != "ended" else None
        return None if last is None or last.confirmed else last.kernel


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """What policy would say about a request: the terms, or why not."""

    terms: Terms | None
    refusal: Refusal | None


def explained(found: Terms | Refusal) -> Explained:
    """``found`` as it is shown."""
    if isinstance(found, Refusal):
        return Explained(terms=None, refusal=found)
    return Explained(terms=found, refusal=None)


def grant_view(state: State, grant: Grant, now: datetime) -> GrantView:
    """``grant`` as it stands at ``now`` (never before the last entry)."""
    at = state.time(now)
    ended = grant.ended.signed.statement if grant.ended else None
    return GrantView(
        id=grant.id,
        state=grant.state(at),
        ended_why=grant.ended_why(at),
        ended_at=_text(grant.ended_at(at)),
        ended_by=ended.person if ended else None,
        ended_reason=ended.reason if ended else "",
        person=grant.person,
        artifacts=grant.artifacts,
        reason=grant.request.reason,
        seat=grant.request.seat,
        extends=grant.request.extends,
        seconds=int(grant.length.total_seconds()),
        requested_at=format_time(grant.requested_at),
        pending_until=grant.terms.pending_until,
        begin_until=_text(grant.begin_until),
        approvals_needed=grant.terms.approvals,
        approvers=grant.terms.approvers,
        waiting_for=who_is_asked(state, grant, at),
        approvals=tuple(
            ApprovalView(
                person=one.person,
                at=format_time(one.at),
                seconds=one.signed.statement.seconds,
                artifacts=one.signed.statement.artifacts,
                comment=one.signed.statement.comment,
            )
            for one in grant.approvals
        ),
        starts_at=_text(grant.starts_at),
        ends_at=_text(grant.ends_at),
        warn=tuple(map(format_time, grant.warnings)),
        policy_version=grant.terms.policy_version,
        isolation=grant.terms.isolation,
        kernels=tuple(
            KernelView(
                kernel=one.kernel,
                at=format_time(one.at),
                isolation=one.signed.statement.isolation,
                vouched=one.signed.statement.vouched,
                confirmed=one.confirmed,
            )
            for one in grant.bindings
        ),
        ending=grant.ending(at),
        asked_labels=tuple(sorted(frozenset().union(*grant.labels.values()))),
        labels=tuple(sorted(state.labels(grant.seat.kernel))) if grant.seat else (),
        now=format_time(at),
        request=grant.signed.envelope,
        terms=grant.terms,
        break_glass=grant.break_glass,
        reviews_needed=grant.reviews_needed,
        reviews=tuple(
            ReviewView(
                person=one.person,
                at=format_time(one.at),
                verdict=one.signed.statement.verdict,
                comment=one.signed.statement.comment,
            )
            for one in grant.reviews
        ),
        review_by=who_reviews(state, grant),
    )


def who_is_asked(state: State, grant: Grant, now: datetime) -> tuple[str, ...]:
    """Whose approval a pending grant still waits for: asked, still here, not heard from."""
    if grant.state(state.time(now)) != "pending":
        return ()
    human = state.policy.human
    heard = {human(one.person) for one in grant.approvals}
    return tuple(
        name
        for name in grant.terms.approvers
        if human(name) not in heard and state.directory.person(name).present_at(state.size)
    )


def _text(when: datetime | None) -> str | None:
    return None if when is None else format_time(when)
