"""People's keys, and the sessions they open with them."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from jupyter_aisec.errors import ConflictError, IdentityError, MalformedError, RefusedError
from jupyter_aisec.grants.names import check_digest
from jupyter_aisec.grants.persons import admins_needed
from jupyter_aisec.grants.signatures import read_signed, read_statement, signing_keys
from jupyter_aisec.grants.signed import Signed, without_signature
from jupyter_aisec.grants.state import State
from jupyter_aisec.grants.statements import Enrolment, KeyRevocation, Login
from jupyter_aisec.ledger.bodies import KeyEnrolled, KeyRevoked, SessionOpened
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.times import format_time, parse_time

__all__ = [
    "check_enrolled",
    "check_revoked",
    "check_session",
    "propose_enrolment",
    "propose_login",
    "propose_revocation",
]

LOGIN_SKEW = timedelta(minutes=5)  # between the signer's clock and ours
LONGEST_SESSION = timedelta(days=7)


def propose_enrolment(
    state: State, envelope: Envelope, now: datetime, token: str | None = None
) -> KeyEnrolled:
    """The entry for a person's new key.

    ``token`` is the one-time token of the invitation, for a first key; later keys are
    signed for by an enrolled key of the same person, or by admins: as many as an invitation
    takes, and two at least where there are two.
    """
    enrolment = read_statement(state, envelope, Enrolment)
    digest = None if token is None else hashlib.sha256(token.encode()).hexdigest()
    if enrolment.token_sha256 != digest:
        raise IdentityError(
            "The token is not the one that the enrolment names.",
            next="Use the token as it was given: `aisec login --token TOKEN`.",
            code="token-wrong",
        )
    body = KeyEnrolled(
        person=enrolment.person,
        key=enrolment.key,
        by=envelope,
        token_sha256=enrolment.token_sha256,
    )
    check_enrolled(state, body, state.time(now)).verify()
    return body


def check_enrolled(state: State, body: KeyEnrolled, at: datetime) -> Signed[Enrolment]:
    """That the key signed for itself, and that somebody who may vouched for it."""
    enrolment = read_statement(state, body.by, Enrolment)
    if (enrolment.person, enrolment.key, enrolment.token_sha256) != (
        body.person,
        body.key,
        body.token_sha256,
    ):
        raise MalformedError("The entry and the enrolment differ.", code="enrolment-differs")
    new = enrolment.key
    state.directory.enrol(enrolment.person, new, state.size)
    taken = {state.genesis.broker_key.key_id, *state.kernels}
    if new.key_id in taken:
        raise IdentityError(
            "This key is a machine's.", next="Make a new key.", code="key-of-machine"
        )
    if new.key_id not in {signature.keyid for signature in body.by.signatures}:
        raise IdentityError(
            "The new key did not sign its own enrolment.",
            next="Sign it with the new key too.",
            code="possession-unproved",
        )
    signers = signing_keys(state, without_signature(body.by, new.key_id))
    _check_vouched(state, enrolment, tuple(signers), at)
    return Signed(
        statement=enrolment,
        envelope=body.by,
        people=tuple(signers),
        keys=(new, *signers.values()),
    )


def _check_vouched(
    state: State, enrolment: Enrolment, signers: tuple[str, ...], at: datetime
) -> None:
    """By the invitation's token, by an older key of the same person, or by admins."""
    if enrolment.token_sha256 is not None:
        invited = state.invitations.get(enrolment.token_sha256)
        if invited is None or invited.person != enrolment.person or at >= invited.expires:
            raise IdentityError(
                "This token is unknown, used, over, or somebody else's.",
                next="Ask an admin for a new one, `aisec person add NAME --role ROLE`, and use it: "
                "`aisec login --token TOKEN`.",
                code="token-invalid",
            )
        return
    if enrolment.person in signers:
        return
    human = state.policy.human
    admins = {
        human(name) for name in signers if state.directory.has_role(name, "admin", state.size)
    }
    # Never fewer than two where there are two: this gives a key that signs as somebody else.
    needed = admins_needed(state.directory, state.policy, state.size, least=2)
    if len(admins) < needed:
        raise IdentityError(
            f"Nobody who may vouched for this key of {enrolment.person}.",
            next=f"Sign it with an enrolled key too, or let {needed} admins sign it.",
            code="enrolment-unvouched",
        )


def propose_revocation(state: State, envelope: Envelope, now: datetime) -> KeyRevoked:
    """The entry for a key that signs no more."""
    revocation = read_signed(state, envelope, KeyRevocation).statement
    owner = state.directory.owner(revocation.key_id) or revocation.person
    body = KeyRevoked(person=owner, key_id=revocation.key_id, by=envelope)
    check_revoked(state, body, state.time(now)).verify()
    return body


def check_revoked(state: State, body: KeyRevoked, at: datetime) -> Signed[KeyRevocation]:
    """That the key may be revoked: by its owner or an admin, and not the last admin's last.

    One admin is enough, because a stolen key cannot wait: it only takes away, and the owner
    goes on counting as one of the admins there are.
    """
    signed = read_signed(state, body.by, KeyRevocation, at=at)
    by = signed.statement.person
    if signed.statement.key_id != body.key_id:
        raise MalformedError("The entry and the revocation differ.", code="revocation-differs")
    state.directory.revoke(body.person, body.key_id, state.size)
    if by != body.person and not state.directory.has_role(by, "admin", state.size):
        raise IdentityError(
            f"{by} may not revoke a key of {body.person}.",
            next="Ask them, or an admin.",
            code="not-admin",
        )
    left = [
        one.key.key_id
        for name in state.directory.holders("admin", state.size)
        for one in state.directory.person(name).keys
        if one.valid_at(state.size)
    ]
    if left == [body.key_id]:
        raise RefusedError(
            "This is the last key of the last admin.",
            next="Add another admin first: `aisec person add NAME --role admin`.",
            code="last-admin",
        )
    return signed


def propose_login(
    state: State, envelope: Envelope, now: datetime, token_sha256: str, lifetime: timedelta
) -> SessionOpened:
    """The entry for a session whose bearer token has that digest."""
    login = read_signed(state, envelope, Login).statement
    at = state.time(now)
    if abs(at - parse_time(login.at)) > LOGIN_SKEW:
        raise IdentityError(
            f"This log-in was signed at {login.at}, and it is {format_time(at)} here.",
            next="Set the clock and sign in again: `aisec login`.",
            code="login-stale",
        )
    body = SessionOpened(
        person=login.person,
        token_sha256=token_sha256,
        expires=format_time(at + lifetime),
        by=envelope,
    )
    check_session(state, body, at).verify()
    return body


def check_session(state: State, body: SessionOpened, at: datetime) -> Signed[Login]:
    """That the session is the signer's own, bounded, and under a token that is new."""
    signed = read_signed(state, body.by, Login)
    if signed.statement.person != body.person:
        raise MalformedError("The entry and the log-in differ.", code="login-differs")
    check_digest(body.token_sha256, "The token's digest")
    if body.token_sha256 in state.sessions:
        raise ConflictError("This token is in use.", next="Make a new one.", code="token-used")
    if not at < parse_time(body.expires) <= at + LONGEST_SESSION:
        raise MalformedError(f"A session cannot last until {body.expires}.", code="expiry-invalid")
    return signed
