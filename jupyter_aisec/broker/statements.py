"""Appending what a person signed: the same few steps for every kind of statement."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from jupyter_aisec.broker.identity import SignedIn
from jupyter_aisec.broker.service import Broker
from jupyter_aisec.errors import ConflictError, IdentityError, MalformedError
from jupyter_aisec.grants.signed import payload_sha256
from jupyter_aisec.grants.state import State
from jupyter_aisec.ledger.bodies import Body
from jupyter_aisec.people.dsse import Envelope

__all__ = ["Propose", "append_statement", "is_recorded", "require_about"]

Propose = Callable[[State, Envelope, datetime], Body]


class _Names(msgspec.Struct, frozen=True):
    """The fields of any statement that say whose it is and, for most, about which grant."""

    person: str
    grant: str | None = None


def append_statement(
    broker: Broker,
    who: SignedIn,
    envelope: Envelope,
    propose: Propose,
    *,
    action: str,
    subject: str,
) -> None:
    """Appends the statement if the rules allow it; keeps it in the ledger if they refuse.

    The very same statement sent again by the same person is not an error: the reply may
    have been lost, and there is nothing more to do. Raises IdentityError for a statement by
    somebody else than the token speaks for.
    """
    with broker.noting_refusals(who.person, action, subject):
        _require_own(broker, envelope, who)
        try:
            broker.ledger.append(lambda state, now: propose(state, envelope, now))
        except ConflictError as error:
            if error.code != "statement-recorded" or not is_recorded(broker, envelope):
                raise


def require_about(envelope: Envelope, grant_id: str) -> None:
    """Raises MalformedError unless the statement is about the grant that the path names."""
    if _read(envelope).grant != grant_id:
        raise MalformedError("The path and the statement name two grants.", code="grant-differs")


def _require_own(broker: Broker, envelope: Envelope, who: SignedIn) -> None:
    person = _read(envelope).person
    with broker.ledger.reading() as (state, _):
        owners = {state.directory.owner(one.keyid) for one in envelope.signatures}
    if who.person not in {person, *owners}:
        raise IdentityError(
            f"The token is {who.person}'s, and the statement is signed as {person[:80]!r}.",
            next="Log in as yourself: `aisec login`.",
            code="token-of-another",
        )


def is_recorded(broker: Broker, envelope: Envelope) -> bool:
    """Whether the recorded envelope is this one: the same payload under the same signature.

    The recorded one may carry more signatures (the broker's own).
    """
    with broker.ledger.reading() as (state, _):
        entry = broker.ledger.entries[state.statements[payload_sha256(envelope)]]
    body = entry.content()
    recorded = next(
        value
        for name in body.__struct_fields__
        if isinstance(value := getattr(body, name), Envelope) and value.payload == envelope.payload
    )
    return bool(envelope.signatures) and set(envelope.signatures) <= set(recorded.signatures)


def _read(envelope: Envelope) -> _Names:
    try:
        return msgspec.json.decode(envelope.payload, type=_Names)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise MalformedError("The statement cannot be read.", code="statement-malformed") from None
