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
OPENABLE = (*ARTIFACTS, RESULT)

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
    labels: frozenset[str]  # of the result, if that was asked for
    approved: list[tuple[str, int]] = field(default_factory=list)
    reviewed: set[str] = field(default_factory=set)
    kernels: list[tuple[int, str]] = field(default_factory=list)
    confirmed: set[str] = field(default_factory=set)
    bound: int = -NEVER  # when its last binding was signed for
    why: str | None = None

    def __post_init__(self) -> None:
        length, artifacts = self.wanted
        self.artifacts = set(artifacts)
        needed, named, longest = strictest(artifacts, self.labels)
        self.longest = min(length, longest, GLASS if self.way == "glass" else NEVER)
        self.seconds = self.longest  # less, where an approver narrows it
        self.within = min(BEGIN, GLASS) if self.way == "glass" else BEGIN
        self.needed = needed if self.way == "approved" else 0
        self.approvers = () if self.way == "observed" else named

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
        window = NEVER if self.start is None else self.start + self.longest
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

    def covers(self, artifact: str, labels: set[str]) -> bool:
        """Whether it lets a version be opened that carries these labels now."""
        return artifact in self.artifacts and labels <= self.labels

    def may_open(self, kernel: str, observes: bool, t: int) -> bool:
        """What was asked for while a policy observed opens nothing once one decides."""
        return (
            self.status(t)[0] == "active"
            and (observes or self.way != "observed")
            and kernel == self.kernels[-1][1]
            and kernel not in self.confirmed
        )


def strictest(artifacts: Iterable[str], labels: Iterable[str]) -> tuple[int, tuple[str, ...], int]:
    """How many approvals these take, of whom, and how long they may be open."""
    plain = any(one in ARTIFACTS for one in artifacts)
    needed = NEEDED if plain or "secret" in labels else 1
    return needed, ("approver",) if "phi" in labels else APPROVERS, LONGEST if plain else NEVER


def may_ask(artifacts: Iterable[str], labels: Iterable[str], start: int | None) -> bool:
    """Whether a policy that decides lets anybody ask, for a start in so many seconds."""
    needed, named, _ = strictest(artifacts, labels)
    return len(named) >= needed and (start is None or start <= BEGIN)


def may_break(artifacts: Iterable[str], start: int | None, own: Iterable[Model]) -> bool:
    """Whether one that decides lets the glass be broken by whose grants are ``own``."""
    owed = any(model.awaited() for model in own)
    return start is None and RESULT not in artifacts and not owed


def may_drop(labels: set[str], drops: set[str], first: str, others: set[str]) -> bool:
    """Whether these people may drop that from a version of the result, whatever the mode."""
    needed, named, _ = strictest((RESULT,), labels)
    return (
        bool(drops)
        and drops <= labels
        and first in ("researcher", *ADMINS)
        and others <= {*named} - {first}
        and len(others) >= needed
    )


class Session:
    """The kernels of one person's notebook: those that nobody confirmed gone count as one."""

    def __init__(self) -> None:
        self.there: list[str] = []
        self.opened: dict[str, set[str]] = {}

    def bind(self, kernel: str) -> None:
        self.there.append(kernel)
        shared = set().union(*(self.opened.get(one, set()) for one in self.there))
        self.opened.update({one: set(shared) for one in self.there})

    def open(self, kernel: str, what: str) -> None:
        for one in {kernel, *(self.there if kernel in self.there else ())}:
            self.opened[one].add(what)

    def confirm(self, kernel: str) -> None:
        self.there.remove(kernel)
