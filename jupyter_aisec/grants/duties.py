"""What is still owed after somebody broke the glass: whose review, and for which grants."""

from __future__ import annotations

from collections.abc import Iterable

from jupyter_aisec.grants.grant import Grant
from jupyter_aisec.grants.state import State

__all__ = ["reviews_waiting", "unreviewed", "who_reviews"]


def unreviewed(state: State, person: str) -> tuple[Grant, ...]:
    """The break-glass grants of the human behind ``person`` whose review is still owed.

    Also those that have ended, or were never begun: the duty comes with breaking the glass.
    """
    human = state.policy.human
    return tuple(
        grant
        for grant in state.grants.values()
        if grant.reviews_owed and human(grant.person) == human(person)
    )


def who_reviews(state: State, grant: Grant) -> tuple[str, ...]:
    """Whose review is still awaited; nobody's once there are as many as it takes.

    Those who would have been asked to approve, who are still here and not heard from. Where
    people left and these are too few, admins stand in: or else the duty could never be done,
    and its requester never break glass again.
    """
    if not grant.reviews_owed:
        return ()
    human = state.policy.human
    heard = {human(grant.person), *(human(one.person) for one in grant.reviews)}

    def left(names: Iterable[str]) -> list[str]:
        return [
            name
            for name in names
            if human(name) not in heard and state.directory.person(name).present_at(state.size)
        ]

    able = left(grant.terms.approvers)
    if len({human(name) for name in able}) < grant.reviews_owed:
        able += left(state.directory.holders("admin", state.size))
    return tuple(dict.fromkeys(able))


def reviews_waiting(state: State, person: str) -> int:
    """How many break-glass grants wait for the review of ``person``."""
    return sum(person in who_reviews(state, grant) for grant in state.grants.values())
