"""A second, smaller account of the rules, against which random histories are held.

It knows nothing of entries, signatures and folds: a grant is a handful of numbers, and every
rule is one line. Times are in seconds since the start of the world.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

PENDING, BEGIN, LONGEST, GLASS, NEEDED = 100, 80, 60, 30, 2
ARTIFACTS = ("dataset/digits", "weights/minilm")
RESULT, LABELS = "results/y", ("phi", "secret")  # the researcher's, with its labels
EVERYBODY = ("researcher", "approver", "second", "admin")
APPROVERS = ("approver", "second")
ADMINS = ("second", "admin")
NEVER = 10**9

Action = Literal["deny", "withdraw", "return", "revoke"]
ACTIONS: dict[Action, str] = {
    "deny": "denied",
    "withdraw": "withdrawn",
    "return": "returned",
    "revoke": "revoked",
}


@dataclass
class Model:
    """One grant. Its ``way`` is how it came to need what it needs."""

    person: str
    asked: int
    start: int | None
    wanted: tuple[int, tuple[str, ...]]  # how long, and what
    way: Literal["approved", "observed", "glass"]
    version: int  # of the policy under which it was asked for
    approved: list[tuple[str, int]] = field(default_factory=list)
    reviewed: set[str] = field(default_factory=set)
    kernels: list[tuple[int, str]] = field(default_factory=list)
    confirmed: set[str] = field(default_factory=set)
    bound: int = -NEVER  # when its last binding was signed for
    why: str | None = None

    def __post_init__(self) -> None:
        length, artifacts = self.wanted
        self.artifacts = set(artifacts)
        self.seconds = min(length, GLASS if self.way == "glass" else LONGEST)
        self.within = min(BEGIN, GLASS) if self.way == "glass" else BEGIN
        self.needed = NEEDED if self.way == "approved" else 0
        self.approvers = () if self.way == "observed" else APPROVERS

    # When it begins and ends, and what it is at a moment.

    @property
    def open(self) -> bool:
        """Whether it has all the approvals it needs."""
        return len(self.approved) >= self.needed

    def begins(self) -> int | None:
        if not self.open:
            return None
        return self.start if self.start is not None else (self.kernels or [(None, "")])[0][0]

    def lapses(self) -> int:
        window = self.start + min(self.wanted[0], LONGEST) if self.start is not None else NEVER
        return min(self.asked + PENDING, window)

    def ends(self) -> tuple[int, str]:
        if not self.open:
            return self.lapses(), "lapsed"
        begins = self.begins()
        if begins is None:
            ready = self.approved[-1][1] if self.approved else self.asked
            return ready + self.within, "expired"
        return begins + self.seconds, "expired"

    def status(self, t: int) -> tuple[str, str | None]:
        if self.why:
            return "ended", self.why
        end, why = self.ends()
        if t >= end:
            return "ended", why
        if not self.open:
            return "pending", None
        begins = self.begins()
        return ("active", None) if begins is not None and t >= begins else ("scheduled", None)

    # Who may approve, review and end it.

    def may_approve(
        self, person: str, artifacts: Iterable[str], length: int, version: int, t: int
    ) -> bool:
        return (
            person in self.approvers
            and person not in [name for name, _ in self.approved]
            and self.status(t)[0] == "pending"
            and self.version == version
            and set(artifacts) <= set(self.wanted[1])
            and length <= self.wanted[0]
            and bool(set(artifacts) & self.artifacts)
        )

    def approve(self, person: str, artifacts: Iterable[str], length: int, t: int) -> None:
        self.approved.append((person, t))
        self.artifacts &= set(artifacts)
        self.seconds = min(self.seconds, length)

    def awaited(self) -> set[str]:
        """Whose review it takes still: a duty that no end and no other policy lifts."""
        return set(APPROVERS) - self.reviewed if self.way == "glass" else set()

    def may_end(self, action: Action, person: str, own: bool, t: int) -> bool:
        """``own``: whether ``person``, or a second account of theirs, asked for it."""
        when = {
            "deny": ("pending", "scheduled"),
            "withdraw": ("pending",),
            "return": ("scheduled", "active"),
            "revoke": ("scheduled", "active"),
        }[action]
        if action in ("withdraw", "return"):
            who = person == self.person
        else:
            who = not own and person in (*self.approvers, *ADMINS)
        decided = action == "deny" and person in [name for name, _ in self.approved]
        return who and not decided and self.status(t)[0] in when

    # What a kernel may do.

    def may_bind(self, version: int, t: int) -> bool:
        """What nobody approved is good under the policy that asked nobody, and no other."""
        state = self.status(t)[0]
        begun = state == "active" or (state == "scheduled" and self.start is None)
        return begun and (self.needed > 0 or self.version == version)

    def may_open(self, kernel: str, observes: bool, t: int) -> bool:
        """What was asked for while a policy observed opens nothing once one decides."""
        return (
            self.status(t)[0] == "active"
            and (observes or self.way != "observed")
            and kernel == self.kernels[-1][1]
            and kernel not in self.confirmed
        )


def may_ask(start: int | None) -> bool:
    """Whether a policy that decides lets the researcher ask, for a start in so many seconds."""
    return start is None or start <= BEGIN


def may_break(start: int | None, own: Iterable[Model]) -> bool:
    """Whether one that decides lets the glass be broken by whose grants are ``own``."""
    return start is None and not any(model.awaited() for model in own)


def may_drop(labels: set[str], drops: set[str], first: str, others: set[str]) -> bool:
    """Whether these people may drop that from a version of the researcher's, whatever the mode."""
    named = {"approver"} if "phi" in labels else set(APPROVERS)
    return (
        bool(drops)
        and drops <= labels
        and first in ("researcher", *ADMINS)
        and others <= named - {first}
        and len(others) >= (2 if "secret" in labels else 1)
    )
