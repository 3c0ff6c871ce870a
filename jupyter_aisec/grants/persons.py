"""People coming and going: who may approve is as much a rule as the policy itself.

One admin alone adds nobody: whoever could add a person could add one who approves, or one
who asks, and would then be both people of two-party control. :func:`admins_needed` says how
many must sign. Taking away is easier than giving, as far as it gives nobody more power.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from jupyter_aisec.errors import ConflictError, IdentityError, MalformedError, RefusedError
from jupyter_aisec.grants.names import check_digest, check_person
from jupyter_aisec.grants.policy import Policy
from jupyter_aisec.grants.signatures import read_signed
from jupyter_aisec.grants.signed import Signed
from jupyter_aisec.grants.state import State
from jupyter_aisec.grants.statements import Invitation, Removal
from jupyter_aisec.ledger.bodies import PersonInvited, PersonRemoved
from jupyter_aisec.people.directory import Directory
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.times import parse_time

__all__ = [
    "admins_needed",
    "check_invitation",
    "check_invited",
    "check_removed",
    "count_admins",
    "propose_invitation",
    "propose_removal",
]

LONGEST_INVITATION = timedelta(days=30)


def admins_needed(directory: Directory, policy: Policy, at_index: int, *, least: int = 1) -> int:
    """How many admins must sign, at entry ``at_index``, for a person or for somebody else's key.

    As many as the policy says (``admins_for_people``) and at least ``least``, but never more
    than there are: so a first admin adds the second alone. There *are* those human beings who
    have the role and ever enrolled a key. An invited admin whose token was lost hinders
    nobody; one whose keys were revoked still counts, or else a single admin, who may revoke
    the others' keys, would then be all there are.
    """
    there = {
        policy.human(name)
        for name in directory.holders("admin", at_index)
        if _has_enrolled(directory, name, at_index)
    }
    return max(1, min(max(policy.admins_for_people, least), len(there)))


def _has_enrolled(directory: Directory, name: str, at_index: int) -> bool:
    return any(one.enrolled < at_index for one in directory.person(name).keys)


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
    """That the invitation may be recorded: signed by as many admins as :func:`admins_needed`.

    Whatever the roles: an approver who may add a researcher could approve their own requests.
    """
    signed = read_signed(state, body.by, Invitation, alone=False)
    one = signed.statement
    if (one.invites, one.roles, one.token_sha256, one.expires) != (
        body.person,
        body.roles,
        body.token_sha256,
        body.expires,
    ):
        raise MalformedError("The entry and the invitation differ.", code="invitation-differs")
    check_invitation(body, at)
    if body.token_sha256 in state.invitations:
        raise ConflictError(
            "This token is given out already.", next="Make a new one.", code="token-used"
        )
    state.directory.add(body.person, body.roles, state.size)
    _require_admins(state, signed.people, _needed(state))
    return signed


def check_invitation(body: PersonInvited, at: datetime) -> None:
    """Raises MalformedError for an invitation that cannot be given at ``at``, whoever signs."""
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


def propose_removal(state: State, envelope: Envelope, now: datetime) -> PersonRemoved:
    """The entry for a person who leaves, or whom admins remove."""
    removal = read_signed(state, envelope, Removal, alone=False).statement
    body = PersonRemoved(person=removal.removes, by=envelope)
    check_removed(state, body, state.time(now)).verify()
    return body


def check_removed(state: State, body: PersonRemoved, at: datetime) -> Signed[Removal]:
    """That the person may be removed: by themselves, or by admins.

    One admin is enough for most: fewer people ask and fewer approve, and nobody may do more
    than before. But were one admin enough to remove another, one could become the only one,
    and then add people alone; so an admin is removed by as many as would add one. (In a hurry
    a single admin revokes keys, which makes no admin fewer.) An admin who leaves by their own
    signature may leave another one alone: that is their decision.
    """
    signed = read_signed(state, body.by, Removal, alone=False)
    if signed.statement.removes != body.person:
        raise MalformedError("The entry and the removal differ.", code="removal-differs")
    directory = state.directory
    directory.remove(body.person, state.size)
    admin = directory.has_role(body.person, "admin", state.size)
    if admin and not _others_who_sign(state, body.person):
        raise RefusedError(
            f"{body.person} is the last admin.",
            next="Add another admin first: `aisec person add NAME --role admin`.",
            code="last-admin",
        )
    if signed.people != (body.person,):
        counts = admin and _has_enrolled(directory, body.person, state.size)
        _require_admins(state, signed.people, _needed(state) if counts else 1)
    return signed


def _others_who_sign(state: State, person: str) -> list[str]:
    """The admins other than ``person`` with a key that may sign."""
    return [
        name
        for name in state.directory.holders("admin", state.size)
        if name != person
        and any(key.valid_at(state.size) for key in state.directory.person(name).keys)
    ]


def _needed(state: State) -> int:
    return admins_needed(state.directory, state.policy, state.size)


def _require_admins(state: State, people: tuple[str, ...], needed: int) -> None:
    """Raises IdentityError unless only admins signed, and ``needed`` of them."""
    signed = count_admins(state, people)
    if signed < needed:
        raise IdentityError(
            f"This takes the signatures of {needed} admins, and {signed} signed.",
            next="Let another admin sign the same statement: `aisec person countersign FILE`.",
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
