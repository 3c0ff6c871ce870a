"""Who is asking: a bearer token of a log-in in the ledger, or a kernel's signature."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Annotated

import msgspec
from fastapi import Depends, Header, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from jupyter_aisec.broker.kernel_requests import (
    KernelRequest,
    is_signed,
    verify_kernel_request,
)
from jupyter_aisec.broker.service import Broker
from jupyter_aisec.errors import IdentityError, RefusedError
from jupyter_aisec.grants.state import State
from jupyter_aisec.people.directory import Role

__all__ = [
    "BrokerDep",
    "KernelDep",
    "SenderDep",
    "SignedIn",
    "SignedInDep",
    "require_role",
    "sees_grant",
    "signed_in",
]


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """Whom a valid token speaks for; ``session`` is the token's SHA-256, in hex."""

    person: str
    roles: tuple[Role, ...]
    session: str


_ACTION = "^action_[0-7][0-9A-HJKMNP-TV-Z]{25}$"
_bearer = HTTPBearer(
    scheme_name="session", description="The token of POST /v1/sessions.", auto_error=False
)


def _broker(request: Request) -> Broker:
    broker = request.app.state.broker
    assert isinstance(broker, Broker)  # noqa: S101 - make_app put it there
    return broker


BrokerDep = Annotated[Broker, Depends(_broker)]
BearerDep = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


def _signed_in(broker: BrokerDep, bearer: BearerDep) -> SignedIn:
    if bearer is None:
        raise IdentityError(
            "This needs a session.", next="Log in: `aisec login`.", code="session-missing"
        )
    session = hashlib.sha256(bearer.credentials.encode()).hexdigest()
    with broker.ledger.reading() as (state, now):
        return signed_in(state, session, now)


def signed_in(state: State, session: str, now: datetime) -> SignedIn:
    """Whom the session speaks for at ``now``; raises IdentityError where it is over."""
    person = state.session(session, now).person
    return SignedIn(person=person, roles=state.directory.person(person).roles, session=session)


SignedInDep = Annotated[SignedIn, Depends(_signed_in)]


async def _raw_body(request: Request) -> bytes:
    return await request.body()


RawBody = Annotated[bytes, Depends(_raw_body)]


def _kernel(
    request: Request,
    body: RawBody,
    broker: BrokerDep,
    aisec_action: Annotated[str, Header(pattern=_ACTION)],  # for OpenAPI, and its early answer
) -> KernelRequest:
    with broker.ledger.reading() as (state, _):
        keys = {key_id: kernel.key for key_id, kernel in state.kernels.items()}
    return verify_kernel_request(request, body, keys.get)


KernelDep = Annotated[KernelRequest, Depends(_kernel)]


def _sender(
    request: Request,
    body: RawBody,
    broker: BrokerDep,
    bearer: BearerDep,
    aisec_action: Annotated[str | None, Header(pattern=_ACTION)] = None,
) -> str:
    """The key id of the kernel that signed the request, or the person of the session."""
    if is_signed(request):
        return _kernel(request, body, broker, aisec_action or "").kernel
    return _signed_in(broker, bearer).person


SenderDep = Annotated[str, Depends(_sender)]


def require_role(who: SignedIn, *roles: Role) -> None:
    """Raises RefusedError unless the person has one of the roles."""
    if not set(roles) & set(who.roles):
        raise RefusedError(
            f"This needs the role {' or '.join(roles)}.",
            next="Ask whoever has it: `aisec person list` shows who.",
            code="role-missing",
        )


def sees_grant(who: SignedIn, state: State, grant_id: str) -> bool:
    """Whether the grant is this person's own, or theirs to decide or to look after."""
    grant = state.grants.get(grant_id)
    return grant is not None and (
        who.person == grant.person
        or who.person in grant.terms.approvers
        or bool({"approver", "admin"} & set(who.roles))
    )
