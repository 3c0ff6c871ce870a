"""People coming and going: who may approve is as much a rule as the policy itself."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from jupyter_aisec.errors import ConflictError, IdentityError, MalformedError, RefusedError
from jupyter_aisec.grants.names import check_digest, check_person
from jupyter_aisec.grants.signed import Signed, read_signed
from jupyter_aisec.grants.statements import Invitation, Removal
from jupyter_aisec.ledger.bodies import PersonInvited, PersonRemoved
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.times import parse_time

if TYPE_CHECKING:
    from jupyter_aisec.grants.state import State

__all__ = [
    "check_invited",
    "check_removed",
    "count_admins",
    "propose_invitation",
    "propose_removal",
]

LONGEST_INVITATION = timedelta(days=30)


def propose_invitation(state: State, envelope: Envelope, now: datetime) -> PersonInvited:
    """The entry for a person whom admins invite."""
    invitation = read_signed(state, envelope, Invitation, alone=False).statement
    body = PersonInvited(
        person=invitation.invites,
        roles=invitation.roles,
        token_sha256=invitation.token_sha256,
        expires=invitation.expires,
        by=envelope,
    )
    check_invited(state, body, state.time(now)).verify()
    return body


def check_invited(state: State, body: PersonInvited, at: datetime) -> Signed[Invitation]:
    """That the invitation may be recorded: signed by enough admins for the roles it gives."""
    signed = read_signed(state, body.by, Invitation, alone=False)
    one = signed.statement
    if (one.invites, one.roles, one.token_sha256, one.expires) != (
        body.person,
        body.roles,
        body.token_sha256,
        body.expires,
    ):
        raise MalformedError("The entry and the invitation differ.", code="invitation-differs")
    check_person(body.person)
    check_digest(body.token_sha256, "The token's digest")
    if not body.roles or list(body.roles) != sorted(set(body.roles)):
        raise MalformedError(
            "An invitation gives one role or more, sorted and distinct.",
            next="Roles are researcher, approver and admin.",
            code="roles-invalid",
        )
    if not at < parse_time(body.expires) <= at + LONGEST_INVITATION:
        raise MalformedError(
            f"An invitation that expires at {body.expires} cannot be given now.",
            next="Let it last between now and 30 days.",
            code="expiry-invalid",
        )
    if body.token_sha256 in state.invitations:
        raise ConflictError(
            "This token is given out already.", next="Make a new one.", code="token-used"
        )
    weighty = body.roles != ("researcher",)
    _require_admins(state, signed.people, state.policy.admins_for_people if weighty else 1)
    state.directory.add(body.person, body.roles, state.size)
    return signed


def propose_removal(state: State, envelope: Envelope, now: datetime) -> PersonRemoved:
    """The entry for a person who leaves, or whom admins remove."""
    removal = read_signed(state, envelope, Removal, alone=False).statement
    body = PersonRemoved(person=removal.removes, by=envelope)
    check_removed(state, body, state.time(now)).verify()
    return body


def check_removed(state: State, body: PersonRemoved, at: datetime) -> Signed[Removal]:
    """That the person may be removed: by themselves, or by admins as an invitation would need.

    Were one admin enough to remove another, one could become the only one, and then decide
    alone. In a hurry a single admin revokes keys, which makes nobody fewer.
    """
    signed = read_signed(state, body.by, Removal, alone=False)
    if signed.statement.removes != body.person:
        raise MalformedError("The entry and the removal differ.", code="removal-differs")
    state.directory.remove(body.person, state.size)
    person = state.directory.person(body.person)
    if state.directory.holders("admin", state.size) == (body.person,):
        raise RefusedError(
            f"{body.person} is the last admin.",
            next="Add another admin first: `aisec person add NAME --role admin`.",
            code="last-admin",
        )
    if signed.people != (body.person,):
        weighty = person.roles != ("researcher",)
        _require_admins(state, signed.people, state.policy.admins_for_people if weighty else 1)
    return signed


def _require_admins(state: State, people: tuple[str, ...], needed: int) -> None:
    """Raises IdentityError unless only admins signed, and ``needed`` of them.

    Where there are not as many admins yet, all there are must sign.
    """
    signed = count_admins(state, people)
    human = state.policy.human
    there = len({human(name) for name in state.directory.holders("admin", state.size)})
    if signed < min(needed, there):
        raise IdentityError(
            f"This takes the signatures of {min(needed, there)} admins, and {signed} signed.",
            next="Let another admin sign the same statement.",
            code="admins-too-few",
        )


def count_admins(state: State, people: tuple[str, ...]) -> int:
    """How many human beings signed; raises IdentityError unless all are admins."""
    for name in people:
        if not state.directory.has_role(name, "admin", state.size):
            raise IdentityError(
                f"{name} is not an admin.",
                next="Ask an admin: `aisec person list` shows who is one.",
                code="not-admin",
            )
    return len({state.policy.human(name) for name in people})
