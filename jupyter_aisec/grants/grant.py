"""A grant: the fold of its entries, and what follows from them at a given moment.

Nothing here changes by itself and no sweeper runs: a grant is expired when it is *read*
after its end. All moments are aware datetimes in UTC; a window holds its first moment and
not its last.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from jupyter_aisec.grants.names import narrow, split_reference
from jupyter_aisec.grants.signed import Signed
from jupyter_aisec.grants.statements import Approval, Binding, Decision, Request, Review
from jupyter_aisec.ledger.bodies import EndedHow, EndedWhy, Terms
from jupyter_aisec.times import parse_time

__all__ = ["Approved", "Bound", "Ended", "Grant", "GrantState", "Reviewed"]

GrantState = Literal["pending", "scheduled", "active", "ended"]

_WARN_SHARE = 0.1
_WARN_AHEAD = timedelta(minutes=2)


class Approved(msgspec.Struct, frozen=True, kw_only=True):
    """One approval, and the entry that holds it."""

    index: int
    at: datetime
    signed: Signed[Approval]

    @property
    def person(self) -> str:
        return self.signed.statement.person


class Reviewed(msgspec.Struct, frozen=True, kw_only=True):
    """One review of a break-glass grant, and the entry that holds it."""

    index: int
    at: datetime
    signed: Signed[Review]

    @property
    def person(self) -> str:
        return self.signed.statement.person


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """One kernel that took the seat, and the entry that says so."""

    index: int
    at: datetime
    signed: Signed[Binding]
    confirmed: EndedHow | None = None  # its ending, if it is over

    @property
    def kernel(self) -> str:
        """The id of the kernel's signing key."""
        return self.signed.statement.kernel_key.key_id


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """A decision that ended the grant: expiry and lapse need none."""

    index: int
    at: datetime
    why: EndedWhy
    signed: Signed[Decision]


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """One grant. ``labels`` are those of each artifact when it was asked for."""

    id: str
    index: int
    requested_at: datetime
    signed: Signed[Request]
    terms: Terms
    labels: dict[str, frozenset[str]]
    approvals: tuple[Approved, ...] = ()
    reviews: tuple[Reviewed, ...] = ()
    bindings: tuple[Bound, ...] = ()
    ended: Ended | None = None

    @property
    def request(self) -> Request:
        return self.signed.statement

    @property
    def person(self) -> str:
        """Who asked."""
        return self.request.person

    @property
    def artifacts(self) -> tuple[str, ...]:
        """What is left of the artifacts asked for after every approver's narrowing."""
        left: Iterable[str] = self.request.artifacts
        for approved in self.approvals:
            left = narrow(left, approved.signed.statement.artifacts)
        return tuple(sorted(left))

    @property
    def length(self) -> timedelta:
        """How long it holds once begun: the shortest of all caps."""
        caps = [self.terms.seconds, *(one.signed.statement.seconds for one in self.approvals)]
        return timedelta(seconds=min(caps))

    @property
    def reviews_needed(self) -> int:
        """How many reviews it takes: some for a break-glass grant, none for any other."""
        return self.terms.reviews or 0

    @property
    def break_glass(self) -> bool:
        """Whether it was given at once, to be reviewed after, instead of being approved."""
        return self.reviews_needed > 0

    @property
    def reviews_owed(self) -> int:
        """How many reviews are still missing: a duty that no end of the grant lifts."""
        return max(0, self.reviews_needed - len(self.reviews))

    @property
    def pending_until(self) -> datetime:
        return parse_time(self.terms.pending_until)

    @property
    def approved_at(self) -> datetime | None:
        """When the last approval that was needed came; None while one is missing."""
        if len(self.approvals) < self.terms.approvals:
            return None
        return self.approvals[-1].at if self.approvals else self.requested_at

    @property
    def begin_until(self) -> datetime | None:
        """When an approved grant that has not begun expires; None where that cannot happen."""
        if self.approved_at is None or self.starts_at is not None:
            return None
        return self.deadline[0]

    @property
    def starts_at(self) -> datetime | None:
        """When the clock starts: the scheduled start, or else the first binding."""
        if self.approved_at is None:
            return None
        if self.request.start is not None:
            return parse_time(self.request.start)
        return self.bindings[0].at if self.bindings else None

    @property
    def ends_at(self) -> datetime | None:
        """When it expires, if nothing ends it before; None while the clock has not started."""
        return None if self.starts_at is None else self.starts_at + self.length

    @property
    def warnings(self) -> tuple[datetime, ...]:
        """When to warn of that end: a tenth of the length ahead, and two minutes ahead."""
        ends = self.ends_at
        ahead = {self.length * _WARN_SHARE, _WARN_AHEAD}
        return () if ends is None else tuple(sorted(ends - before for before in ahead))

    @property
    def seat(self) -> Bound | None:
        """The kernel that holds the seat: the last one bound, unless it is over."""
        last = self.bindings[-1] if self.bindings else None
        return None if last is None or last.confirmed else last

    @property
    def deadline(self) -> tuple[datetime, EndedWhy]:
        """When it ends if nothing more happens, and what that is called."""
        approved, starts = self.approved_at, self.starts_at
        if approved is None:
            return self.pending_until, "lapsed"
        if starts is None:
            return approved + timedelta(seconds=self.terms.begin_within), "expired"
        return starts + self.length, "expired"

    def end(self, now: datetime) -> tuple[datetime, EndedWhy] | None:
        """When and why it ended; None if it has not by ``now``."""
        if self.ended is not None:
            return self.ended.at, self.ended.why
        return self.deadline if now >= self.deadline[0] else None

    def ended_at(self, now: datetime) -> datetime | None:
        """When it ended; None if it has not by ``now``."""
        end = self.end(now)
        return None if end is None else end[0]

    def ended_why(self, now: datetime) -> EndedWhy | None:
        """Why it ended; None if it has not by ``now``."""
        end = self.end(now)
        return None if end is None else end[1]

    def state(self, now: datetime) -> GrantState:
        """The state at ``now``. A decision to end holds whatever the clock says."""
        if self.ended_why(now) is not None:
            return "ended"
        if self.approved_at is None:
            return "pending"
        return "scheduled" if self.starts_at is None or now < self.starts_at else "active"

    def ending(self, now: datetime) -> tuple[str, ...]:
        """After the end: the kernels whose keys and buffers nobody has confirmed gone."""
        if self.state(now) != "ended":
            return ()
        return tuple(dict.fromkeys(one.kernel for one in self.bindings if not one.confirmed))

    def allows(self, artifact: str, version: int) -> bool:
        """Whether that version is among the artifacts left."""
        return any(
            name == artifact and pinned in (None, version)
            for name, pinned in map(split_reference, self.artifacts)
        )

    def statements(self) -> tuple[Signed[Request] | Signed[Approval] | Signed[Binding], ...]:
        """Everything people signed that a release rests on."""
        return (
            self.signed,
            *(one.signed for one in self.approvals),
            *(one.signed for one in self.bindings),
        )
