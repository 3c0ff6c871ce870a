"""Asking for a grant."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from jupyter_aisec.errors import ConflictError, MalformedError, RefusedError
from jupyter_aisec.grants.alerts import count_limits, require_room_to_ask
from jupyter_aisec.grants.decide import Facts, Refusal, decide
from jupyter_aisec.grants.duties import unreviewed
from jupyter_aisec.grants.limits import LimitReachedError
from jupyter_aisec.grants.names import check_id, check_references, check_seat, split_reference
from jupyter_aisec.grants.policy import LONGEST
from jupyter_aisec.grants.signatures import read_signed
from jupyter_aisec.grants.signed import Signed
from jupyter_aisec.grants.state import State
from jupyter_aisec.grants.statements import Request
from jupyter_aisec.ledger.bodies import GrantRequested, Terms
from jupyter_aisec.people.directory import Role
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.times import parse_time

__all__ = [
    "check_form",
    "check_requested",
    "explain_request",
    "facts_of",
    "labels_asked",
    "propose_request",
    "who_can_sign",
]

MAX_TEXT = 4_000  # characters of a reason or comment


def propose_request(state: State, envelope: Envelope, now: datetime) -> GrantRequested:
    """The entry for a signed request, with the terms that policy sets.

    Raises RefusedError with the rule that refuses it, or another error of the family.
    """
    at = state.time(now)
    signed = read_signed(state, envelope, Request, at=at)
    terms = _decided(state, signed.statement, at)
    signed.verify()
    return GrantRequested(grant=signed.statement.grant, request=envelope, terms=terms)


def explain_request(state: State, request: Request, now: datetime) -> Terms | Refusal:
    """What policy would say about a request, signed or not: a dry run.

    The reasons count what the limits leave. Raises MalformedError, NotFoundError or
    ConflictError for one that cannot be made at all.
    """
    at = state.time(now)
    found = _decide(state, request, at)
    if isinstance(found, Refusal):
        return found
    try:
        require_room_to_ask(state, request.person, at)
    except LimitReachedError as error:
        return Refusal(code=error.code, what=error.what, next=error.next, reasons=found.reasons)
    counted = count_limits(state, request.person, at)
    return msgspec.structs.replace(found, reasons=(*found.reasons, *counted))


def _decided(state: State, request: Request, at: datetime) -> Terms:
    """The terms; raises RefusedError where the rules or a limit refuse it."""
    terms = _decide(state, request, at)
    if isinstance(terms, Refusal):
        raise terms.error()
    require_room_to_ask(state, request.person, at)
    return terms


def _decide(state: State, request: Request, at: datetime) -> Terms | Refusal:
    check_form(request, at)
    if request.grant in state.grants:
        raise ConflictError(
            f"There is a grant {request.grant} already.",
            next="Each request makes an id of its own.",
            code="grant-exists",
        )
    facts = facts_of(state, request)
    _check_extension(state, request)
    return decide(state.policy, request, facts, at)


def check_requested(state: State, body: GrantRequested, at: datetime) -> Signed[Request]:
    """That the request may be recorded at ``at``, on exactly these terms."""
    signed = read_signed(state, body.request, Request, at=at)
    if signed.statement.grant != body.grant:
        raise MalformedError("The entry and the request name two grants.", code="grant-differs")
    terms = _decided(state, signed.statement, at)
    # The reasons are text for people, and may be worded otherwise by the next version.
    if msgspec.structs.replace(terms, reasons=()) != msgspec.structs.replace(
        body.terms, reasons=()
    ):
        raise MalformedError("The terms are not those that the policy sets.", code="terms-differ")
    return signed


def facts_of(state: State, request: Request) -> Facts:
    """What the ledger says about those who could decide, and about what is asked for."""
    return Facts(
        people=who_can_sign(state),
        labels=labels_asked(state, request),
        policy_version=state.policy_version,
        unreviewed=tuple(grant.id for grant in unreviewed(state, request.person))
        if request.break_glass
        else (),
    )


def who_can_sign(state: State) -> dict[str, tuple[Role, ...]]:
    """Everybody who could sign what is appended next, and their roles."""
    return {
        person.name: person.roles
        for person in state.directory.people
        if person.present_at(state.size) and any(key.valid_at(state.size) for key in person.keys)
    }


def labels_asked(state: State, request: Request) -> dict[str, frozenset[str]]:
    """The labels of each artifact asked for, by name; raises NotFoundError for an unknown one."""
    labels: dict[str, frozenset[str]] = {}
    for reference in request.artifacts:
        name, version = split_reference(reference)
        found = state.catalog.find(name, version)
        carried = state.catalog.labels(name) if version is None else found.labels
        labels[name] = labels.get(name, frozenset()) | carried
    return labels


def check_form(request: Request, at: datetime) -> None:
    """Raises MalformedError for what cannot be asked at ``at`` whatever the policy."""
    check_id(request.grant, "grant")
    check_seat(request.seat)
    check_references(request.artifacts)
    if not 1 <= request.seconds <= LONGEST:
        raise MalformedError(
            f"{request.seconds} seconds cannot be asked for.",
            next="Ask for a time such as `--for 2h`.",
            code="time-invalid",
        )
    if not (request.reason.strip() and len(request.reason) <= MAX_TEXT):
        raise MalformedError(
            f"A request needs a reason, of at most {MAX_TEXT} characters.",
            next="Say what for, with `--reason TEXT`: those who approve decide by it.",
            code="reason-missing",
        )
    if request.start is None:
        return
    start = parse_time(request.start)
    if start < at:
        raise MalformedError(
            f"The start at {request.start} has passed.",
            next="Ask for a later start, or for none: then the clock starts with the kernel.",
            code="start-passed",
        )
    if start > at + timedelta(seconds=LONGEST):
        raise MalformedError(
            f"The start at {request.start} is years ahead.",
            next="Ask when it is nearer.",
            code="start-too-late",
        )


def _check_extension(state: State, request: Request) -> None:
    """An extension points at a grant of the same person and asks for nothing more than it."""
    if request.extends is None:
        return
    old = state.grant(request.extends)
    if old.person != request.person:
        raise RefusedError(
            f"{old.id} is a grant of {old.person}, so {request.person} cannot extend it.",
            next="Ask for one of your own: "
            f"`aisec grant request {' '.join(old.artifacts)} --for 1h --reason TEXT`.",
            code="extends-other-person",
        )
    if more := sorted(set(request.artifacts) - set(old.request.artifacts)):
        raise RefusedError(
            f"{old.id} was not asked for {', '.join(more)}, so it cannot be extended to it.",
            next="Ask for it in a request of its own.",
            code="extends-more",
        )
