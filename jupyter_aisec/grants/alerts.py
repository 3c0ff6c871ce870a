"""Limits held against a person at a moment, and the alert that one was reached.

Whoever is at a limit is refused, unless the policy only observes; the same functions are asked
before an entry is appended and whenever the ledger is folded. An alert is an entry of its own:
under a policy that observes nothing is refused, and many refusals are one alert. It is raised
once for a person and a limit, and again when an hour has passed.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import get_args

from msgspec import UNSET

from jupyter_aisec.errors import ConflictError, MalformedError
from jupyter_aisec.grants.catalog import ArtifactVersion
from jupyter_aisec.grants.limits import (
    HOUR,
    LimitName,
    LimitReachedError,
    Reached,
    opening_reached,
    overused,
    request_reached,
    used,
    used_of,
)
from jupyter_aisec.grants.state import State
from jupyter_aisec.ledger.bodies import AlertRaised

__all__ = [
    "at_limit",
    "check_alert",
    "count_limits",
    "overstepped",
    "propose_alert",
    "require_room_to_ask",
    "require_room_to_open",
    "usage_of",
]

_COUNTED = 2**53 - 1  # what an entry can say: more is said as that


def at_limit(state: State, person: str, at: datetime) -> Reached | None:
    """The limit that one more request of ``person`` at ``at`` meets, whatever the mode."""
    limits = state.policy.limits
    if limits is UNSET:
        return None
    return request_reached(limits, state.usage, state.policy.accounts(person), at)


def require_room_to_ask(state: State, person: str, at: datetime) -> None:
    """Raises LimitReachedError where a limit leaves ``person`` no room for a request at ``at``."""
    _require(state, person, at_limit(state, person, at))


def require_room_to_open(
    state: State, kernel: str, versions: Iterable[ArtifactVersion], at: datetime
) -> None:
    """Raises LimitReachedError where a limit leaves no room for opening these at ``at``."""
    limits = state.policy.limits
    if limits is UNSET:
        return
    person = state.kernels[kernel].person
    accounts = state.policy.accounts(person)
    _require(state, person, opening_reached(limits, state.usage, accounts, versions, at))


def _require(state: State, person: str, reached: Reached | None) -> None:
    if reached is not None and state.policy.mode == "enforce":
        raise LimitReachedError(person, reached)


def usage_of(state: State, person: str, at: datetime) -> list[tuple[LimitName, int, int]]:
    """Each limit there is, what ``person`` used of it in the hour before ``at``, and the most."""
    names: tuple[LimitName, ...] = get_args(LimitName)
    limits = state.policy.limits
    accounts = state.policy.accounts(person)
    return [
        (name, sum(amount for _, amount in used(name, state.usage, accounts, at)), most)
        for name in names
        if limits is not UNSET and (most := limits.most(name)) is not None
    ]


def count_limits(state: State, person: str, at: datetime) -> list[str]:
    """The same in words."""
    return [
        f"Within the hour {person} {used_of(name, count, most)}."
        for name, count, most in usage_of(state, person, at)
    ]


def overstepped(state: State, person: str, at: datetime) -> tuple[Reached, ...]:
    """The limits that ``person`` is beyond, as only a policy that observes lets anybody be."""
    limits = state.policy.limits
    if limits is UNSET or state.policy.mode == "enforce":
        return ()
    return overused(limits, state.usage, state.policy.accounts(person), at)


def propose_alert(
    state: State, person: str, reached: Reached, action: str, subject: str, now: datetime
) -> AlertRaised:
    """The entry that says who reached which limit, doing what.

    Raises ConflictError (``alert-raised``) where one said so within the hour, MalformedError
    (``alert-differs``) where there is room again.
    """
    usage = {name: count for name, count, _ in usage_of(state, person, state.time(now))}
    body = AlertRaised(
        person=person,
        limit=reached.limit,
        most=reached.most,
        used=min(usage.get(reached.limit, 0), _COUNTED),
        asked=min(reached.asked, _COUNTED),
        action=action[:80],
        subject=subject[:200],
        what=reached.what(person),
    )
    check_alert(state, body, state.time(now))
    return body


def check_alert(state: State, body: AlertRaised, at: datetime) -> None:
    """That the limit is reached as the entry says, and that no alert said so within the hour."""
    state.directory.person(body.person)
    usage = {name: (count, most) for name, count, most in usage_of(state, body.person, at)}
    count, most = usage.get(body.limit, (0, 0))
    if (min(count, _COUNTED), most) != (body.used, body.most) or count + body.asked <= most:
        raise MalformedError("The limit is not reached as the alert says.", code="alert-differs")
    last = (state.alerts.get((one, body.limit)) for one in state.policy.accounts(body.person))
    if any(when is not None and at - when < HOUR for when in last):
        raise ConflictError(
            "That this limit is reached was said within the hour.", code="alert-raised"
        )
