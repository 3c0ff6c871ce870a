"""Who signed a statement: held against the keys that may sign now, and what is recorded."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TypeVar

from jupyter_aisec.errors import ConflictError, IdentityError, MalformedError, RefusedError
from jupyter_aisec.grants.signed import Signed, payload_sha256
from jupyter_aisec.grants.state import State
from jupyter_aisec.grants.statements import Statement
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.people.keys import PublicKey
from jupyter_aisec.times import format_time, parse_time

__all__ = ["TOLERANCE", "check_fresh", "read_signed", "read_statement", "signing_keys"]

S = TypeVar("S", bound=Statement)

TOLERANCE = timedelta(minutes=10)  # between the signer's clock and the ledger's


def read_signed(
    state: State,
    envelope: Envelope,
    type_: type[S],
    *,
    alone: bool = True,
    at: datetime | None = None,
) -> Signed[S]:
    """The statement in ``envelope``, signed by the person it names; ``alone``, or with others.

    ``at`` is the ledger's time, for a statement that is to be sent as soon as it is signed.
    None is for those that several people sign one after the other, which takes days.

    Raises IdentityError if that person's valid key is not among the signers or anything else
    is, ConflictError for a statement that is recorded already, RefusedError for one that was
    signed long ago or is ahead of time, MalformedError or SignatureError for one that is not
    of its form or meant for another ledger.
    """
    statement = read_statement(state, envelope, type_)
    state.directory.person(statement.person)
    if statement.person not in {state.directory.owner(one.keyid) for one in envelope.signatures}:
        raise IdentityError(
            f"This is not signed with an enrolled key of {statement.person}, whom it names.",
            next="Use the home you first logged in from, `export AISEC_HOME=FOLDER`, or log in as "
            "yourself: `aisec login`.",
            code="signer-unknown",
        )
    signers = signing_keys(state, envelope)
    if alone and len(signers) > 1:
        raise IdentityError(
            f"This is signed by {' and '.join(sorted(signers))}, and one person was expected.",
            next="Sign it with one key.",
            code="signers-many",
        )
    if at is not None:
        check_fresh(statement, at)
    people = sorted(signers, key=lambda name: (name != statement.person, name))
    return Signed(
        statement=statement,
        envelope=envelope,
        people=tuple(people),
        keys=tuple(signers[name] for name in people),
    )


def check_fresh(statement: Statement, at: datetime) -> None:
    """Raises RefusedError unless it was signed within :data:`TOLERANCE` of ``at``."""
    if abs(at - parse_time(statement.at)) > TOLERANCE:
        raise RefusedError(
            f"This was signed at {statement.at}, and it is {format_time(at)} here.",
            next="Set the clock and do it again: what is signed holds for ten minutes.",
            code="statement-stale",
        )


def read_statement(state: State, envelope: Envelope, type_: type[S]) -> S:
    """The statement alone; for one whose signer is not enrolled yet."""
    name = re.sub(r"(?<!^)(?=[A-Z])", " ", type_.__name__).lower()  # "key revocation"
    statement = envelope.read(type_, type_.payload_type, f"The {name}")
    parse_time(statement.at)
    if statement.origin != state.genesis.origin:
        raise MalformedError(
            f"This {name} is meant for {statement.origin[:80]!r}, "
            f"not for {state.genesis.origin!r}.",
            next="Sign in to this broker: `aisec login`.",
            code="origin-wrong",
        )
    recorded = state.statements.get(payload_sha256(envelope))
    if recorded is not None:
        raise ConflictError(
            f"This very {name} is recorded already, as entry {recorded}.",
            next="It took effect then: there is nothing to repeat.",
            code="statement-recorded",
        )
    return statement


def signing_keys(state: State, envelope: Envelope) -> dict[str, PublicKey]:
    """The persons whose keys the envelope names, with that key: one signature of each.

    Raises IdentityError for a key that is nobody's or may not sign now, and for a second
    signature of a person: a signature that nobody checks would still be recorded, and found
    wrong later by whoever checks it. The signatures themselves are not checked here.
    """
    found: dict[str, PublicKey] = {}
    for signature in envelope.signatures:
        name = state.directory.owner(signature.keyid)
        if name is None or name in found:
            raise _surplus(signature.keyid)
        found[name] = state.valid_key(name, signature.keyid)
    return found


def _surplus(key_id: str) -> IdentityError:
    """What to say about a signature that does not belong to what was signed."""
    return IdentityError(
        f"A signature, by the key {key_id[:19]}…, is one too many, or by nobody who is enrolled.",
        next="Sign it again, once, with an enrolled key: `aisec key list` shows them.",
        code="signature-surplus",
    )
