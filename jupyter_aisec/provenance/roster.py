"""Who was who, as far as the entries of one chain of custody show it.

The rules are those of the broker (``grants``), without what only a whole ledger can show:
that nothing was left out. A bundle carries every entry about an admin, so that how many had
to sign for a person can be counted (:func:`require_admins`). An entry left out, such as that
of a second admin, is noticed by whoever reads the whole ledger (``aisec audit verify``, a
monitor).
"""

from __future__ import annotations

from typing import Any

import msgspec

from jupyter_aisec.errors import ConflictError, IdentityError, LedgerError, MalformedError
from jupyter_aisec.grants.persons import admins_needed, check_invitation
from jupyter_aisec.grants.policies import founded, policy_sha256
from jupyter_aisec.grants.policy import Policy
from jupyter_aisec.grants.statements import (
    Enrolment,
    Invitation,
    KeyRevocation,
    PolicyChange,
    Removal,
    Statement,
)
from jupyter_aisec.ledger import bodies
from jupyter_aisec.ledger.entry import Entry
from jupyter_aisec.people.directory import Directory
from jupyter_aisec.people.dsse import Envelope, verify
from jupyter_aisec.people.keys import PublicKey
from jupyter_aisec.provenance.chain import Chain
from jupyter_aisec.times import parse_time

__all__ = ["Policies", "directory_of", "policies_of", "read_statement", "require_admins"]


class Policies(msgspec.Struct, frozen=True, kw_only=True):
    """Every policy there was: its version is its place in the tuple."""

    since: tuple[int, ...]  # the entry that each came with
    policies: tuple[Policy, ...]

    def at(self, index: int) -> tuple[int, Policy]:
        """Version and policy in force when entry ``index`` was appended."""
        version = sum(since < index for since in self.since) - 1
        return version, self.policies[version]


def read_statement(envelope: Envelope, type_: type[Any], origin: str) -> Any:
    """The statement in ``envelope``, meant for the ledger ``origin``; not who signed it."""
    name = type_.__name__.lower()
    statement: Statement = envelope.read(type_, type_.payload_type, f"The {name}")
    if statement.origin != origin:
        raise MalformedError(f"The {name} is meant for {statement.origin[:80]!r}, not {origin!r}.")
    return statement


def directory_of(chain: Chain) -> Directory:
    """The directory that the chain's entries make; raises an error of the family.

    Who signed for each is checked here; whether they were enough, by :func:`require_admins`.
    """
    _, genesis = chain.genesis
    directory, _ = founded(genesis)
    invitations: dict[str, bodies.PersonInvited] = {}
    for entry, body in chain.people():
        index = entry.index
        if isinstance(body, bodies.PersonInvited):
            invitation = read_statement(body.by, Invitation, genesis.origin)
            said = (invitation.invites, invitation.roles, invitation.token_sha256)
            _require_same(said, (body.person, body.roles, body.token_sha256), entry)
            _require_same(invitation.expires, body.expires, entry)
            check_invitation(body, parse_time(entry.at))
            if body.token_sha256 in invitations:
                raise ConflictError(
                    f"Entry {index} gives out a token that was given out.", code="token-used"
                )
            _require_admin(directory, directory.signers(body.by, index), index)
            directory = directory.add(body.person, body.roles, index)
            invitations[body.token_sha256] = body
        elif isinstance(body, bodies.KeyEnrolled):
            _check_enrolled(directory, invitations, entry, body, genesis.origin)
            directory = directory.enrol(body.person, body.key, index)
        elif isinstance(body, bodies.KeyRevoked):
            revocation = read_statement(body.by, KeyRevocation, genesis.origin)
            _require_same(revocation.key_id, body.key_id, entry)
            _require_oneself_or_admin(directory, body.by, body.person, index)
            directory = directory.revoke(body.person, body.key_id, index)
        else:
            removal = read_statement(body.by, Removal, genesis.origin)
            _require_same(removal.removes, body.person, entry)
            _require_oneself_or_admin(directory, body.by, body.person, index)
            directory = directory.remove(body.person, index)
    return directory


def policies_of(chain: Chain, directory: Directory) -> Policies:
    """Every policy, each signed by the admins that the one before it demands."""
    _, genesis = chain.genesis
    _, policy = founded(genesis)
    since, policies = [0], [policy]
    for entry, body in chain.all(bodies.PolicyApplied):
        change = read_statement(body.by, PolicyChange, genesis.origin)
        policy = Policy.from_dict(body.policy)
        said = (change.policy_sha256, change.replaces)
        _require_same(said, (policy_sha256(policy), len(policies) - 1), entry)
        names = directory.signers(body.by, entry.index)
        _require_admin(directory, names, entry.index)
        needed = max(policies[-1].admins_for_policy, 2 if policy.waives else 1)
        if len({policies[-1].human(name) for name in names}) < needed:
            raise IdentityError(
                f"The policy of entry {entry.index} is signed by too few admins.",
                code="admins-too-few",
            )
        since.append(entry.index)
        policies.append(policy)
    return Policies(since=tuple(since), policies=tuple(policies))


def require_admins(chain: Chain, directory: Directory, policies: Policies) -> None:
    """That as many admins signed for each person and key as the policy then demanded.

    Raises IdentityError. It is as good as the entries that are shown: see this file's head.
    """
    for entry, body in chain.people():
        index = entry.index
        if isinstance(body, bodies.KeyRevoked):
            continue  # one admin may
        least, by = 1, body.by
        if isinstance(body, bodies.KeyEnrolled):
            if body.token_sha256 is not None:
                continue  # vouched for by the invitation
            least, by = 2, _without(by, body.key)
        signers = directory.signers(by, index)
        if isinstance(body, bodies.KeyEnrolled) and body.person in signers:
            continue
        if isinstance(body, bodies.PersonRemoved):
            person = directory.person(body.person)
            counts = "admin" in person.roles and any(one.enrolled < index for one in person.keys)
            if signers == (body.person,) or not counts:
                continue
        _, policy = policies.at(index)
        admins = {
            policy.human(name) for name in signers if directory.has_role(name, "admin", index)
        }
        needed = admins_needed(directory, policy, index, least=least)
        if len(admins) < needed:
            raise IdentityError(
                f"Entry {index} ({entry.type}) took {needed} admins, and {len(admins)} signed.",
                code="admins-too-few",
            )


def _without(envelope: Envelope, key: PublicKey) -> Envelope:
    others = tuple(one for one in envelope.signatures if one.keyid != key.key_id)
    return msgspec.structs.replace(envelope, signatures=others)


def _check_enrolled(
    directory: Directory,
    invitations: dict[str, bodies.PersonInvited],
    entry: Entry,
    body: bodies.KeyEnrolled,
    origin: str,
) -> None:
    """That the key signed for itself, and that its person or an admin vouched for it.

    How many human beings among the admins it took is for :func:`require_admins`, which knows
    the policies: as many as for the broker (``grants.enrolments``).
    """
    enrolment = read_statement(body.by, Enrolment, origin)
    said = (enrolment.person, enrolment.key, enrolment.token_sha256)
    _require_same(said, (body.person, body.key, body.token_sha256), entry)
    verify(body.by, body.key)
    if body.token_sha256 is not None:
        invited = invitations.pop(body.token_sha256, None)  # a token works once
        if (
            invited is None
            or invited.person != body.person
            or parse_time(entry.at) >= parse_time(invited.expires)
        ):
            raise IdentityError(
                f"The key of entry {entry.index} was enrolled without an invitation.",
                code="token-invalid",
            )
        return
    signers = directory.signers(body.by, entry.index)
    if body.person not in signers and not any(
        directory.has_role(name, "admin", entry.index) for name in signers
    ):
        raise IdentityError(
            f"Nobody who may vouched for the key of entry {entry.index}.",
            code="enrolment-unvouched",
        )


def _require_oneself_or_admin(
    directory: Directory, envelope: Envelope, person: str, index: int
) -> None:
    """That nobody but that person, or none but admins, signed.

    One admin is enough to revoke a key, and to remove whoever is no admin; how many remove an
    admin is for :func:`require_admins`, as for the broker (``grants.persons``).
    """
    signers = directory.signers(envelope, index)
    if signers != (person,):
        _require_admin(directory, signers, index)


def _require_admin(directory: Directory, names: tuple[str, ...], index: int) -> None:
    for name in names:
        if not directory.has_role(name, "admin", index):
            raise IdentityError(f"{name} was not an admin at entry {index}.", code="not-admin")


def _require_same(signed: object, logged: object, entry: Entry) -> None:
    if signed != logged:
        raise LedgerError(
            f"Entry {entry.index} ({entry.type}) says something else than what was signed.",
            code="entry-differs",
        )
