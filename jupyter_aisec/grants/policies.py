"""The first entry, and changes of the policy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime

from jupyter_aisec.errors import ConflictError, IdentityError, MalformedError, RefusedError
from jupyter_aisec.grants.names import check_person
from jupyter_aisec.grants.persons import count_admins
from jupyter_aisec.grants.policy import Policy
from jupyter_aisec.grants.signatures import read_signed
from jupyter_aisec.grants.signed import Signed
from jupyter_aisec.grants.state import State
from jupyter_aisec.grants.statements import PolicyChange
from jupyter_aisec.ledger.bodies import Founder, Genesis, PolicyApplied
from jupyter_aisec.people.canonical import canonical
from jupyter_aisec.people.directory import Directory
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.people.keys import PublicKey

__all__ = [
    "check_genesis",
    "check_policy",
    "founded",
    "make_genesis",
    "policy_sha256",
    "propose_policy",
]


def policy_sha256(policy: Policy) -> str:
    """SHA-256 of a policy's canonical JSON, in hex: what admins sign."""
    return hashlib.sha256(canonical(policy.to_dict())).hexdigest()


def make_genesis(
    *,
    origin: str,
    log_key: str,
    broker_key: PublicKey,
    model_key: PublicKey,
    seal_key: bytes,
    people: Iterable[Founder],
    policy: Policy,
) -> Genesis:
    """The first entry of a ledger; raises an AisecError where these may not begin one."""
    body = Genesis(
        origin=origin,
        log_key=log_key,
        broker_key=broker_key,
        model_key=model_key,
        seal_key=seal_key,
        people=tuple(people),
        policy=policy.to_dict(),
    )
    founded(body)
    return body


def check_genesis(state: State, body: Genesis, at: datetime) -> tuple[Directory, Policy]:
    """The first people and the first policy."""
    return founded(body)


def founded(body: Genesis) -> tuple[Directory, Policy]:
    """The people and policy that a genesis entry begins with; raises where it may not be one."""
    if not body.origin.strip() or any(char.isspace() or char == "+" for char in body.origin):
        raise MalformedError(
            f"{body.origin[:80]!r} cannot be a ledger's origin.",
            next="Use a name such as aisec.example.org/lab, without spaces or +.",
            code="origin-invalid",
        )
    body.broker_key.raw()
    body.model_key.load()
    directory = Directory()
    for founder in body.people:
        check_person(founder.name)
        directory = directory.add(founder.name, founder.roles, 0)
        directory = directory.enrol(founder.name, founder.key, 0)
    if not directory.holders("admin", 1):
        raise RefusedError(
            "A ledger needs an admin from its first entry on.",
            next="Give one of the first people the role admin.",
            code="last-admin",
        )
    if directory.owner(body.broker_key.key_id) is not None:
        raise RefusedError(
            "The broker's key is a person's.", next="Make a key for each.", code="key-of-machine"
        )
    policy = Policy.from_dict(body.policy)
    if policy.waives:
        # Nobody signs a genesis entry, and this takes the signatures of two.
        raise RefusedError(
            "A first policy cannot open anything without an approval.",
            next="Start with one that demands approvals; two admins can then change it.",
            code="waiver-needs-two-admins",
        )
    return directory, policy


def propose_policy(
    state: State, policy: Policy, envelope: Envelope, now: datetime
) -> PolicyApplied:
    """The entry for a policy that admins signed for."""
    body = PolicyApplied(policy=policy.to_dict(), by=envelope)
    check_policy(state, body, state.time(now)).verify()
    return body


def check_policy(state: State, body: PolicyApplied, at: datetime) -> Signed[PolicyChange]:
    """That as many admins signed as the policy in force demands; two where it waives approval."""
    signed = read_signed(state, body.by, PolicyChange, alone=False)
    policy = Policy.from_dict(body.policy)
    if signed.statement.policy_sha256 != policy_sha256(policy):
        raise MalformedError("The admins signed another policy.", code="policy-differs")
    if signed.statement.replaces != state.policy_version:
        raise ConflictError(
            f"This replaces policy version {signed.statement.replaces}, and version "
            f"{state.policy_version} is in force.",
            next="Look at the policy in force, `aisec policy explain`, and sign again.",
            code="policy-changed",
        )
    admins = count_admins(state, signed.people)
    if policy.waives and admins < 2:
        raise RefusedError(
            "A policy that opens anything without an approval takes the signatures of two admins.",
            next="Let another admin sign it too.",
            code="waiver-needs-two-admins",
        )
    if admins < state.policy.admins_for_policy:
        raise IdentityError(
            f"A change of policy takes the signatures of {state.policy.admins_for_policy} "
            f"admins, and {admins} signed.",
            next="Let another admin sign the same change.",
            code="admins-too-few",
        )
    return signed
