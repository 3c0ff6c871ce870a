"""``decide``: what a policy says about a request. Pure, and always with reasons.

Every rule that covers any of the artifacts asked for speaks, and the strictest wins in
each respect: a deny beats everything, the shortest time, the most approvals, the highest
isolation level, and only those people whom every such rule names.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from jupyter_aisec.errors import RefusedError
from jupyter_aisec.grants.names import split_reference
from jupyter_aisec.grants.policy import ISOLATION, Policy, Rule, describe, names_person
from jupyter_aisec.grants.statements import Request
from jupyter_aisec.ledger.bodies import Terms
from jupyter_aisec.people.directory import Role
from jupyter_aisec.times import format_duration, format_time, parse_time

__all__ = ["Facts", "Refusal", "decide"]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger says, as far as a decision needs it."""

    people: Mapping[str, tuple[Role, ...]]  # everybody who could sign now, and their roles
    labels: Mapping[str, frozenset[str]]  # of each artifact asked for, by name
    policy_version: int
    unreviewed: tuple[str, ...] = ()  # break-glass grants of the requester that wait for a review


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """The policy says no: the fault's code, what, and what to do next."""

    code: str
    what: str
    next: str
    reasons: tuple[str, ...] = ()

    def error(self) -> RefusedError:
        """The same, to be raised."""
        return RefusedError(self.what, next=self.next, code=self.code)


def decide(policy: Policy, request: Request, facts: Facts, at: datetime) -> Terms | Refusal:
    """What ``policy`` says about ``request`` when it is made at ``at``.

    In mode ``observe`` nothing is refused and nobody is waited for; the reasons say what
    the rules would have said. Where there are rules for it, their shortest time holds all the
    same: a grant is no standing access, also while its policy is tried out.
    """
    decision = _enforce(policy, request, facts, at)
    if policy.mode == "enforce":
        return decision
    if isinstance(decision, Refusal):
        said = (f"The rules would have refused it: {decision.what}", *decision.reasons)
    else:
        length = format_duration(timedelta(seconds=decision.seconds))
        would = (
            f"The rules would have asked for {decision.approvals} approvals, at most {length}, "
            f"isolation {decision.isolation} or better."
        )
        said = (would, *decision.reasons)
    return Terms(
        approvals=0,
        approvers=(),
        seconds=min((request.seconds, *_caps(policy, request, facts))),
        isolation="none",
        pending_until=format_time(at + timedelta(seconds=policy.pending_for)),
        begin_within=policy.begin_within,
        policy_version=facts.policy_version,
        reasons=("The policy only observes: nothing is refused.", *said),
    )


def _caps(policy: Policy, request: Request, facts: Facts) -> list[int]:
    """The longest time, in seconds, of each rule that covers any of it and denies nothing."""
    names = {split_reference(reference)[0] for reference in request.artifacts}
    return [
        rule.longest
        for rule in policy.rule
        if not rule.deny and any(rule.covers(name, facts.labels[name]) for name in names)
    ]


class _Case(NamedTuple):
    """A request with everything that a decision about it goes by."""

    policy: Policy
    request: Request
    facts: Facts
    at: datetime
    rules: tuple[Rule, ...]  # all that cover any of the artifacts

    @property
    def approvals(self) -> int:
        """How many distinct approvers the strictest rule demands."""
        return max(rule.approvals for rule in self.rules)

    @property
    def approvers(self) -> tuple[str, ...]:
        """Whose approval counts: named by every rule that asks for one, never the requester.

        A rule that asks for no approval has no say in who gives it: it never weakens another.
        """
        asking = [rule for rule in self.rules if rule.approvals]
        requester = self.policy.human(self.request.person)
        return tuple(
            sorted(
                name
                for name, roles in self.facts.people.items()
                if asking
                and self.policy.human(name) != requester
                and all(names_person(rule.approvers, name, roles) for rule in asking)
            )
        )


def _enforce(policy: Policy, request: Request, facts: Facts, at: datetime) -> Terms | Refusal:
    rules: dict[str, Rule] = {}
    for reference in request.artifacts:
        name, _ = split_reference(reference)
        covering = [rule for rule in policy.rule if rule.covers(name, facts.labels[name])]
        if not covering:
            return Refusal(
                code="no-rule",
                what=f"No rule of the policy covers {name}, so nobody may open it.",
                next="Ask an admin for a rule: `aisec policy explain` shows those there are.",
            )
        rules.update((rule.name, rule) for rule in covering)
    case = _Case(policy, request, facts, at, tuple(rules.values()))
    reasons = tuple(describe(rule) for rule in case.rules)
    for refused in (_denied, _not_allowed, _too_late, _glass_holds, _too_few_approvers):
        if refusal := refused(case):
            return msgspec.structs.replace(refusal, reasons=reasons)
    terms = _terms(case, reasons)
    return _broken_glass(case, terms) if case.request.break_glass else terms


def _denied(case: _Case) -> Refusal | None:
    denying = next((rule for rule in case.rules if rule.deny), None)
    if denying is None:
        return None
    return Refusal(
        code="denied-by-policy",
        what=f"Rule {denying.name!r} denies this to everybody.",
        next="Ask for less, or ask an admin to change the policy: `aisec policy explain` shows it.",
    )


def _not_allowed(case: _Case) -> Refusal | None:
    person = case.request.person
    roles = case.facts.people.get(person, ())
    for rule in case.rules:
        if not names_person(rule.requesters, person, roles):
            return Refusal(
                code="requester-not-allowed",
                what=f"Rule {rule.name!r} does not let {person} ask.",
                next="Ask whoever may, or for fewer artifacts: `aisec policy explain` shows what "
                "each rule says.",
            )
    return None


def _too_late(case: _Case) -> Refusal | None:
    latest = case.at + timedelta(seconds=case.policy.begin_within)
    if case.request.start is None or parse_time(case.request.start) <= latest:
        return None
    return Refusal(
        code="start-too-late",
        what=f"A start at {case.request.start} is too far ahead.",
        next=f"Ask for a start before {format_time(latest)}.",
    )


def _glass_holds(case: _Case) -> Refusal | None:
    """Why the glass may not be broken. Every rule must let it, as every rule lets people ask."""
    if not case.request.break_glass:
        return None
    if case.request.start is not None:
        return Refusal(
            code="break-glass-scheduled",
            what="Breaking the glass is for now, and this asks for a start.",
            next=f"Ask for approval instead: {_asking(case.request)}.",
        )
    holding = next((rule for rule in case.rules if not rule.break_glass), None)
    if holding is not None:
        return Refusal(
            code="break-glass-not-allowed",
            what=f"Rule {holding.name!r} does not let anybody break the glass.",
            next=f"Ask for approval instead: {_asking(case.request)}.",
        )
    if not case.approvals:
        return Refusal(
            code="break-glass-needless",
            what="Nothing of this needs an approval, so there is no glass to break.",
            next=f"Ask for it as ever: {_asking(case.request)}.",
        )
    if case.facts.unreviewed:
        owed = case.facts.unreviewed[0]
        return Refusal(
            code="review-owed",
            what=f"{owed} was begun by breaking the glass, and its review is still owed.",
            next=f"`aisec grant show {owed}` says who can review it. Until then, ask for approval: "
            f"{_asking(case.request)}.",
        )
    return None


def _asking(request: Request) -> str:
    """The command that asks for the same with the glass whole."""
    length = format_duration(timedelta(seconds=request.seconds))
    return f"`aisec grant request {' '.join(request.artifacts)} --for {length} --reason TEXT`"


def _too_few_approvers(case: _Case) -> Refusal | None:
    able = len({case.policy.human(name) for name in case.approvers})
    if able >= case.approvals:
        return None
    return Refusal(
        code="approvers-too-few",
        what=f"{case.approvals} other {'person' if case.approvals == 1 else 'people'} would have "
        f"to {'review it' if case.request.break_glass else 'approve'}, and {able or 'nobody'} of "
        "those whom every rule names could.",
        next="Ask for the artifacts in separate requests, or ask an admin to add approvers.",
    )


def _broken_glass(case: _Case, terms: Terms) -> Terms:
    """The terms with no approval, the shorter time, and the reviews that are owed for it.

    It must begin within that time too: what can wait longer can be asked for.
    """
    most = min(rule.break_glass or 0 for rule in case.rules)
    length = format_duration(timedelta(seconds=most))
    reviews = f"{terms.approvals} review{'s' if terms.approvals > 1 else ''}"
    said = (
        f"Break-glass: no approval is asked for, at most {length}, and {reviews} by "
        f"{' or '.join(terms.approvers)} must follow."
    )
    return msgspec.structs.replace(
        terms,
        approvals=0,
        reviews=terms.approvals,
        seconds=min(terms.seconds, most),
        begin_within=min(terms.begin_within, most),
        reasons=(said, *terms.reasons),
    )


def _terms(case: _Case, reasons: tuple[str, ...]) -> Terms:
    request, policy = case.request, case.policy
    seconds = min(request.seconds, *(rule.longest for rule in case.rules))
    pending_until = case.at + timedelta(seconds=policy.pending_for)
    if request.start is not None:
        # The window lies fixed: once it is over, an approval would come to nothing.
        pending_until = min(pending_until, parse_time(request.start) + timedelta(seconds=seconds))
    if seconds < request.seconds:
        length = format_duration(timedelta(seconds=seconds))
        reasons = (*reasons, f"The shortest cap wins: {length} instead of what was asked.")
    return Terms(
        approvals=case.approvals,
        approvers=case.approvers,
        seconds=seconds,
        isolation=max((rule.isolation for rule in case.rules), key=ISOLATION.index),
        pending_until=format_time(pending_until),
        begin_within=policy.begin_within,
        policy_version=case.facts.policy_version,
        reasons=reasons,
    )
