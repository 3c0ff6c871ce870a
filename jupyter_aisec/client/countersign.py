"""Statements that one signature is not enough for: they go from hand to hand as a file.

Whoever begins signs first and writes the file; whoever opens it sees what is signed and by
whom, adds a signature, and the last one needed sends it. Nothing in the file is secret, and
nothing has effect before it is in the ledger. How many must sign is the broker's rule: it is
asked here only to know whether to send.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import msgspec

from jupyter_aisec.client import declassify
from jupyter_aisec.errors import ConflictError, MalformedError, SignatureError
from jupyter_aisec.grants.names import check_person
from jupyter_aisec.grants.policies import policy_sha256
from jupyter_aisec.grants.policy import parse_policy
from jupyter_aisec.grants.statements import (
    Declassification,
    Enrolment,
    Invitation,
    PolicyChange,
    Removal,
    Statement,
)
from jupyter_aisec.ledger.bodies import Role
from jupyter_aisec.people.canonical import canonical, parse_canonical
from jupyter_aisec.people.dsse import Envelope, sign_again, verify
from jupyter_aisec.people.keys import PublicKey
from jupyter_aisec.times import format_time

if TYPE_CHECKING:
    from jupyter_aisec.client.person import PersonClient

__all__ = [
    "Alone",
    "Unsent",
    "countersign",
    "labels_left",
    "left_alone",
    "may_sign",
    "missing",
    "new_token",
    "prepare_declassification",
    "prepare_enrolment",
    "prepare_invitation",
    "prepare_policy",
    "prepare_removal",
    "read_unsent",
    "send",
    "signers",
]

FORMAT: Final = "jupyter-aisec/unsent/v1"
INVITATION = timedelta(days=3)
_TYPES = {
    one.payload_type: one
    for one in (Declassification, Enrolment, Invitation, PolicyChange, Removal)
}


class Unsent(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A signed statement that nobody sent yet, and the policy (TOML) that a change is about."""

    format: str = FORMAT
    envelope: Envelope
    policy: str | None = None

    @property
    def statement(self) -> Statement:
        """What is signed; raises MalformedError where it is not of this form."""
        type_ = _TYPES.get(self.envelope.payload_type)
        if type_ is None:
            raise _malformed(f"it holds {self.envelope.payload_type[:80]!r}")
        return self.envelope.read(type_, type_.payload_type, "The statement")

    def to_bytes(self) -> bytes:
        return canonical(self)


def read_unsent(data: bytes) -> Unsent:
    """The content of a file to countersign; raises MalformedError."""
    try:
        unsent = parse_canonical(data, Unsent, "it")
    except MalformedError as error:
        raise _malformed(error.what.removesuffix(".")) from error
    statement = unsent.statement
    if unsent.format != FORMAT:
        raise _malformed(f"its format is {unsent.format[:80]!r}")
    if isinstance(statement, PolicyChange) != (unsent.policy is not None):
        raise _malformed("a policy, and nothing else, comes with a change of policy")
    if isinstance(statement, PolicyChange) and statement.policy_sha256 != policy_sha256(
        parse_policy(unsent.policy or "")
    ):
        raise _malformed("its policy is not the one that was signed")
    return unsent


# -- beginning


def prepare_invitation(
    client: PersonClient, name: str, roles: Sequence[Role], *, lasts: timedelta = INVITATION
) -> tuple[Unsent, str]:
    """An invitation, and the one-time token with which the person enrols their first key.

    The token is worth nothing until the invitation is in the ledger. Raises MalformedError for
    a name that the broker would refuse, before others are asked to sign it.
    """
    check_person(name)
    token = new_token(name)
    statement = client.statement(
        Invitation,
        invites=name,
        roles=tuple(sorted(set(roles))),
        token_sha256=hashlib.sha256(token.encode()).hexdigest(),
        expires=format_time(datetime.now(UTC) + lasts),
    )
    return Unsent(envelope=client.sign(statement)), token


def prepare_removal(client: PersonClient, name: str) -> Unsent:
    """The removal of a person; raises MalformedError for what cannot be one's name."""
    check_person(name)
    return Unsent(envelope=client.sign(client.statement(Removal, removes=name)))


def prepare_policy(client: PersonClient, text: str) -> Unsent:
    """A change to the policy that the TOML ``text`` says; raises MalformedError."""
    statement = client.statement(
        PolicyChange,
        policy_sha256=policy_sha256(parse_policy(text)),
        replaces=client.policy().version,
    )
    return Unsent(envelope=client.sign(statement), policy=text)


def prepare_declassification(
    client: PersonClient, name: str, version: int | None, drops: Sequence[str], reason: str
) -> tuple[Unsent, Declassification]:
    """Labels of an artifact version to be dropped; raises as :func:`~.declassify.declassification`.

    Without a ``version`` it is the newest.
    """
    statement = declassify.declassification(client, name, version, drops, reason)
    return Unsent(envelope=client.sign(statement)), statement


def may_sign(client: PersonClient, said: Declassification) -> tuple[str, ...]:
    """Those whose signature a declassification takes, or some of them."""
    view = client.artifact(said.artifact, said.version)
    return declassify.demand(client, said, view).approvers


def prepare_enrolment(client: PersonClient, person: str) -> Unsent:
    """This home's key as a further key of ``person``: signed by itself, to be vouched for."""
    statement = client.statement(Enrolment, person=person, key=client.home.key().public)
    return Unsent(envelope=client.sign(statement))


# -- going on


def signers(client: PersonClient, unsent: Unsent) -> tuple[str, ...]:
    """Who signed already, by name; a key that enrols itself is left aside.

    Raises SignatureError for a signature that is nobody's or does not verify, and
    MalformedError for a statement that is meant for another broker.
    """
    statement = unsent.statement
    if statement.origin != client.trust.origin:
        raise _malformed(f"it is meant for {statement.origin[:80]!r}")
    owners: dict[str, tuple[str, PublicKey]] = {
        one.key.key_id: (person.name, one.key)
        for person in client.people()
        for one in person.keys
        if one.revoked is None and person.removed is None
    }
    if isinstance(statement, Enrolment):
        owners.setdefault(statement.key.key_id, ("", statement.key))
    names: dict[str, None] = {}
    for signature in unsent.envelope.signatures:
        if signature.keyid not in owners:
            raise SignatureError(
                f"It is signed with the key {signature.keyid[:19]}…, which is nobody's.",
                next="Do not sign it. Ask whoever gave you the file.",
                code="signer-unknown",
            )
        name, key = owners[signature.keyid]
        verify(unsent.envelope, key)
        names.setdefault(name)
    names.pop("", None)
    return tuple(names)


def countersign(client: PersonClient, unsent: Unsent) -> Unsent:
    """The same with this home's signature; raises ConflictError if it is there already.

    A declassification is not signed by whoever the policy does not name for it.
    """
    key = client.home.key()
    if any(one.keyid == key.public.key_id for one in unsent.envelope.signatures):
        raise ConflictError(
            "You signed this already.",
            next="Give the file to another admin, or to whoever has an enrolled key: "
            f"`aisec {_group(unsent)} countersign FILE`.",
            code="signed-already",
        )
    signed = msgspec.structs.replace(unsent, envelope=sign_again(unsent.envelope, key))
    missing(client, signed)
    return signed


def labels_left(client: PersonClient, unsent: Unsent) -> tuple[str, ...] | None:
    """The labels left after a declassification; None for every other statement.

    Raises ConflictError or LedgerError where it is not of what the broker shows.
    """
    said = unsent.statement
    if not isinstance(said, Declassification):
        return None
    return declassify.labels_left(declassify.find_declassified(client, said), said)


def _group(unsent: Unsent) -> str:
    """The noun of the command line under which such a file is signed."""
    groups = {Enrolment.payload_type: "key", PolicyChange.payload_type: "policy"}
    return groups.get(unsent.envelope.payload_type, "person")


def missing(client: PersonClient, unsent: Unsent) -> int:
    """How many more must sign before the broker takes it."""
    names = signers(client, unsent)
    statement = unsent.statement
    view = client.policy()
    if isinstance(statement, PolicyChange):
        waives = parse_policy(unsent.policy or "").waives
        needed = max(int(view.policy["admins_for_policy"]), 2 if waives else 1)
    elif isinstance(statement, Declassification):
        shown = declassify.find_declassified(client, statement)
        others = (name for name in names if name != statement.person)
        return declassify.demand(client, statement, shown).missing(others)
    elif isinstance(statement, Enrolment):
        needed = 1 if statement.person in names or not names else view.admins_for_keys
    elif isinstance(statement, Removal) and not _is_anothers_admin(client, statement):
        needed = 1
    else:
        needed = view.admins_for_people
    return max(0, needed - len(names))


def send(client: PersonClient, unsent: Unsent) -> Any:
    """Put it to the broker, which decides; returns its answer."""
    statement = unsent.statement
    body: dict[str, Any] = {"envelope": unsent.envelope}
    if isinstance(statement, PolicyChange):
        return client.http.post("/v1/policy", {**body, "policy": unsent.policy})
    if isinstance(statement, Declassification):
        return client.http.post("/v1/artifacts/declassifications", body)
    if isinstance(statement, Enrolment):
        return client.http.post("/v1/people/enrol", body)
    if isinstance(statement, Removal):
        return client.http.post(f"/v1/people/{statement.removes}/remove", body)
    return client.http.post("/v1/people", body)


def _is_anothers_admin(client: PersonClient, removal: Removal) -> bool:
    """Whether an admin is removed who ever had a key, and not by their own signature."""
    return removal.person != removal.removes and any(
        one.name == removal.removes and "admin" in one.roles and one.keys for one in client.people()
    )


class Alone(msgspec.Struct, frozen=True, kw_only=True):
    """The only admin that a removal would leave, and how many a change of policy takes."""

    admin: str
    admins_for_policy: int


def left_alone(client: PersonClient, name: str) -> Alone | None:
    """Who would be the only admin if ``name`` went, where there is another one now.

    Counted are human beings who ever enrolled a key, as the broker counts them.
    """
    policy = client.policy().policy
    humans = {account: group[0] for group in policy.get("same_person", ()) for account in group}
    admins = [
        one.name
        for one in client.people()
        if "admin" in one.roles and one.keys and one.removed is None
    ]
    left = {humans.get(one, one): one for one in admins if one != name}
    if name not in admins or len(left) != 1 or humans.get(name, name) in left:
        return None
    return Alone(
        admin=next(iter(left.values())), admins_for_policy=int(policy["admins_for_policy"])
    )


def new_token(person: str) -> str:
    """A fresh one-time token; it begins with the person's name, so that log-in needs no other."""
    return f"{person}.{secrets.token_urlsafe(24)}"


def _malformed(what: str) -> MalformedError:
    return MalformedError(
        f"This is not a file to countersign: {what}.",
        next="Ask whoever gave it to you for another.",
        code="unsent-malformed",
    )
