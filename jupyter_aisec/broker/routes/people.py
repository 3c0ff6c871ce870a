"""People: sessions, invitations, keys, and who is who."""

from __future__ import annotations

import hashlib
import secrets
from typing import Annotated

from fastapi import APIRouter, Path

from jupyter_aisec.broker.identity import BrokerDep, SignedInDep
from jupyter_aisec.broker.schemas import EnrolIn, StatementIn
from jupyter_aisec.broker.service import Broker
from jupyter_aisec.broker.statements import append_statement, is_recorded
from jupyter_aisec.broker.views import PersonView, SessionView, WhoView
from jupyter_aisec.errors import ConflictError, MalformedError
from jupyter_aisec.grants.duties import reviews_waiting
from jupyter_aisec.grants.enrolments import (
    propose_enrolment,
    propose_login,
    propose_revocation,
)
from jupyter_aisec.grants.persons import propose_invitation, propose_removal
from jupyter_aisec.grants.statements import Enrolment, Invitation, KeyRevocation, Removal
from jupyter_aisec.people.dsse import Envelope

router = APIRouter(prefix="/v1", tags=["people"])

Name = Annotated[str, Path(pattern="^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$")]


@router.post("/sessions", summary="Log in with an enrolled key")
def log_in(broker: BrokerDep, body: StatementIn) -> SessionView:
    return _open_session(broker, body.envelope.envelope())


@router.post("/people/enrol", summary="Enrol a key: the first by token, others by an older key")
def enrol(broker: BrokerDep, body: EnrolIn) -> PersonView:
    """No session comes with it: the new key opens one by POST /v1/sessions."""
    envelope = body.envelope.envelope()
    token = body.token.get_secret_value() if body.token else None
    name = envelope.read(Enrolment, Enrolment.payload_type, "The enrolment").person
    try:
        broker.ledger.append(lambda state, now: propose_enrolment(state, envelope, now, token))
    except ConflictError as error:
        if error.code != "statement-recorded" or not is_recorded(broker, envelope):
            raise
    return _person(broker, name)


@router.get("/whoami")
def whoami(broker: BrokerDep, who: SignedInDep) -> WhoView:
    with broker.ledger.reading() as (state, _):
        waiting = reviews_waiting(state, who.person)
    return WhoView(person=who.person, roles=list(who.roles), reviews_waiting=waiting)


@router.get("/people")
def people(broker: BrokerDep, who: SignedInDep) -> list[PersonView]:
    with broker.ledger.reading() as (state, _):
        return [PersonView.of(person) for person in state.directory.people]


@router.post("/people", summary="Invite a person; admins sign")
def invite(broker: BrokerDep, who: SignedInDep, body: StatementIn) -> PersonView:
    envelope = body.envelope.envelope()
    name = envelope.read(Invitation, Invitation.payload_type, "The invitation").invites
    append_statement(broker, who, envelope, propose_invitation, action="invite", subject=name)
    return _person(broker, name)


@router.post("/people/keys/revoke", summary="Revoke a key of one's own, or as an admin")
def revoke_key(broker: BrokerDep, who: SignedInDep, body: StatementIn) -> PersonView:
    envelope = body.envelope.envelope()
    key_id = envelope.read(KeyRevocation, KeyRevocation.payload_type, "The revocation").key_id
    append_statement(broker, who, envelope, propose_revocation, action="key-revoke", subject=key_id)
    with broker.ledger.reading() as (state, _):
        owner = state.directory.owner(key_id)
    return _person(broker, owner or who.person)


@router.post("/people/{name}/remove", summary="Remove a person")
def remove(broker: BrokerDep, who: SignedInDep, name: Name, body: StatementIn) -> PersonView:
    envelope = body.envelope.envelope()
    if envelope.read(Removal, Removal.payload_type, "The removal").removes != name:
        raise MalformedError("The path and the removal name two people.", code="person-differs")
    append_statement(broker, who, envelope, propose_removal, action="remove", subject=name)
    return _person(broker, name)


def _open_session(broker: Broker, envelope: Envelope) -> SessionView:
    token = secrets.token_urlsafe(32)
    digest = hashlib.sha256(token.encode()).hexdigest()
    opened = broker.ledger.append(
        lambda state, now: propose_login(state, envelope, now, digest, broker.config.session)
    ).body
    return SessionView(token=token, expires=opened.expires, person=opened.person)


def _person(broker: Broker, name: str) -> PersonView:
    with broker.ledger.reading() as (state, _):
        return PersonView.of(state.directory.person(name))
