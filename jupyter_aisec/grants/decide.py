"""``decide``: what a policy says about a request. Pure, and always with reasons.

Every rule that covers any of the artifacts asked for speaks, and the strictest wins in
each respect: a deny beats everything, the shortest time, the most approvals, the highest
isolation level, and only those people whom every such rule names.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

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


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """The policy says no: the fault's code, what, and what to do next."""

    code: str
    what: str
    next: str
    reasons: tuple[str, ...] = ()


def decide(policy: Policy, request: Request, facts: Facts, at: datetime) -> Terms | Refusal:
    """What ``policy`` says about ``request`` when it is made at ``at``.

    In mode ``observe`` nothing is refused and nobody is waited for; the reasons say what
    the rules would have said.
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
        seconds=request.seconds,
        isolation="none",
        pending_until=format_time(at + timedelta(seconds=policy.pending_for)),
        begin_within=policy.begin_within,
        policy_version=facts.policy_version,
        reasons=("The policy only observes: nothing is refused.", *said),
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
    reasons = tuple(describe(rule) for rule in rules.values())
    return _refused(policy, request, facts, at, rules, reasons) or _terms(
        policy, request, facts, at, rules, reasons
    )


def _refused(
    policy: Policy,
    request: Request,
    facts: Facts,
    at: datetime,
    rules: Mapping[str, Rule],
    reasons: tuple[str, ...],
) -> Refusal | None:
    denying = next((rule for rule in rules.values() if rule.deny), None)
    if denying is not None:
        return Refusal(
            code="denied-by-policy",
            what=f"Rule {denying.name!r} denies this to everybody.",
            next="Ask for less, or ask an admin to change the policy.",
            reasons=reasons,
        )
    roles = facts.people.get(request.person, ())
    for rule in rules.values():
        if not names_person(rule.requesters, request.person, roles):
            return Refusal(
                code="requester-not-allowed",
                what=f"Rule {rule.name!r} does not let {request.person} ask.",
                next="Ask an admin: the rule names who may, or ask for fewer artifacts.",
                reasons=reasons,
            )
    if request.start is not None:
        latest = at + timedelta(seconds=policy.begin_within)
        if parse_time(request.start) > latest:
            return Refusal(
                code="start-too-late",
                what=f"A start at {request.start} is too far ahead.",
                next=f"Ask for a start before {format_time(latest)}.",
                reasons=reasons,
            )
    approvals = max(rule.approvals for rule in rules.values())
    able = _approvers(policy, request, facts, rules)
    humans = {policy.human(name) for name in able}
    if len(humans) < approvals:
        return Refusal(
            code="approvers-too-few",
            what=f"{approvals} other {'person' if approvals == 1 else 'people'} would have to "
            f"approve, and {len(humans) or 'nobody'} of those whom every rule names could.",
            next="Ask for the artifacts in separate requests, or ask an admin to add approvers.",
            reasons=reasons,
        )
    return None


def _approvers(
    policy: Policy, request: Request, facts: Facts, rules: Mapping[str, Rule]
) -> tuple[str, ...]:
    """Everybody whose approval counts: named by every rule that asks for one, never the requester.

    A rule that asks for no approval has no say in who gives it: it never weakens another.
    """
    asking = [rule for rule in rules.values() if rule.approvals]
    requester = policy.human(request.person)
    return tuple(
        sorted(
            name
            for name, roles in facts.people.items()
            if asking
            and policy.human(name) != requester
            and all(names_person(rule.approvers, name, roles) for rule in asking)
        )
    )


def _terms(
    policy: Policy,
    request: Request,
    facts: Facts,
    at: datetime,
    rules: Mapping[str, Rule],
    reasons: tuple[str, ...],
) -> Terms:
    seconds = min(request.seconds, *(rule.longest for rule in rules.values()))
    pending_until = at + timedelta(seconds=policy.pending_for)
    if request.start is not None:
        # The window lies fixed: once it is over, an approval would come to nothing.
        pending_until = min(pending_until, parse_time(request.start) + timedelta(seconds=seconds))
    if seconds < request.seconds:
        length = format_duration(timedelta(seconds=seconds))
        reasons = (*reasons, f"The shortest cap wins: {length} instead of what was asked.")
    return Terms(
        approvals=max(rule.approvals for rule in rules.values()),
        approvers=_approvers(policy, request, facts, rules),
        seconds=seconds,
        isolation=max((rule.isolation for rule in rules.values()), key=ISOLATION.index),
        pending_until=format_time(pending_until),
        begin_within=policy.begin_within,
        policy_version=facts.policy_version,
        reasons=reasons,
    )
