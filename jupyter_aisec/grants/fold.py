"""The fold: from the entries of a ledger to what a broker knows, and nothing else.

:func:`apply` is the only way into a :class:`~.state.State`. It holds each entry against the same
rules that had to be met before it was appended, so a row that was forged, or written by a broker
that did not ask its rules, is refused and grants nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any

import msgspec

from jupyter_aisec.errors import AisecError, LedgerError
from jupyter_aisec.grants import (
    alerts,
    approvals,
    artifacts,
    bindings,
    decisions,
    declassify,
    enrolments,
    output_releases,
    persons,
    policies,
    releases,
    requests,
    reviews,
)
from jupyter_aisec.grants.catalog import ArtifactVersion, Dropped
from jupyter_aisec.grants.grant import Approved, Bound, Ended, Grant, Reviewed
from jupyter_aisec.grants.policy import Policy
from jupyter_aisec.grants.signed import Signed, payload_sha256
from jupyter_aisec.grants.state import Invited, Kernel, Recorded, Session, State
from jupyter_aisec.grants.statements import Approval, Binding, Decision, Request, Review
from jupyter_aisec.ledger import bodies
from jupyter_aisec.ledger.bodies import Body
from jupyter_aisec.ledger.entry import Entry
from jupyter_aisec.people.directory import Directory
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.times import format_time, parse_time

__all__ = ["apply", "fold"]


def fold(entries: Iterable[Entry], *, signatures: bool = False) -> State:
    """The state after ``entries``; raises LedgerError naming the first that is not legal."""
    state = State()
    for entry in entries:
        apply(state, entry, signatures=signatures)
    return state


def apply(state: State, entry: Entry, *, signatures: bool = False) -> None:
    """Appends ``entry``; raises LedgerError naming it, and changes nothing, if it is illegal.

    With ``signatures``, every signature in it is checked too (``aisec audit verify``);
    without, those that keys are released on are still checked before each release.
    """
    try:
        body = entry.content()
        at = parse_time(entry.at)
        _check_place(state, entry, at)
        check, record = _RULES[type(body)]
        found = check(state, body, at)
        if signatures and isinstance(found, Signed):
            state.verify_once(found)
        leaf_hash = entry.leaf_hash
        record(state, body, found, at)
    except (AisecError, OverflowError) as error:
        raise LedgerError(
            f"Entry {entry.index} ({entry.type[:40]}) is not legal: {error}",
            next="`aisec audit verify` checks every entry.",
            code="entry-illegal",
        ) from error
    _remember(state, body)
    state.tree.append(leaf_hash)
    state.last_at = at


def _check_place(state: State, entry: Entry, at: datetime) -> None:
    if entry.index != state.size:
        raise LedgerError(f"It was expected at place {state.size}.", code="entry-out-of-place")
    if at < state.last_at:
        raise LedgerError("It is older than the entry before it.", code="entry-out-of-order")
    if (state.size == 0) != (entry.type == "genesis"):
        raise LedgerError(
            "The first entry, and only that, is the genesis.", code="genesis-out-of-place"
        )


def _remember(state: State, body: Body) -> None:
    """Notes the statements in ``body`` as recorded: none of them can be recorded again."""
    for name in body.__struct_fields__:
        value = getattr(body, name)
        if isinstance(value, Envelope):
            state.statements[payload_sha256(value)] = state.size


# What each type of entry changes. All checks are done by then: none of these may fail.


def _genesis_made(
    state: State, body: bodies.Genesis, found: tuple[Directory, Policy], at: datetime
) -> None:
    state.genesis = body
    state.directory, policy = found
    state.policies.append(policy)


def _person_invited(state: State, body: bodies.PersonInvited, found: object, at: datetime) -> None:
    state.directory = state.directory.add(body.person, body.roles, state.size)
    state.invitations[body.token_sha256] = Invited(
        person=body.person, expires=parse_time(body.expires)
    )


def _person_removed(state: State, body: bodies.PersonRemoved, found: object, at: datetime) -> None:
    state.directory = state.directory.remove(body.person, state.size)


def _key_enrolled(state: State, body: bodies.KeyEnrolled, found: object, at: datetime) -> None:
    state.directory = state.directory.enrol(body.person, body.key, state.size)
    state.invitations.pop(body.token_sha256 or "", None)


def _key_revoked(state: State, body: bodies.KeyRevoked, found: object, at: datetime) -> None:
    state.directory = state.directory.revoke(body.person, body.key_id, state.size)


def _session_opened(
    state: State, body: bodies.SessionOpened, found: Signed[Any], at: datetime
) -> None:
    state.sessions[body.token_sha256] = Session(
        person=body.person, key_id=found.keys[0].key_id, expires=parse_time(body.expires)
    )


def _policy_applied(
    state: State, body: bodies.PolicyApplied, found: Signed[Any], at: datetime
) -> None:
    state.policies.append(Policy.from_dict(body.policy))
    state.policy_version += 1


def _artifact_sealed(
    state: State, body: bodies.ArtifactSealed, found: Signed[Any], at: datetime
) -> None:
    facts = found.statement
    state.catalog.add(
        ArtifactVersion(
            index=state.size,
            at=format_time(at),
            artifact=body.artifact,
            version=body.version,
            seal_id=body.seal_id,
            url=body.url,
            manifest=body.manifest,
            key_ids=facts.key_ids,
            labels=frozenset(facts.labels),
            parents=facts.parents,
            by=body.by,
            wrapped_sha256=body.wrapped_sha256,
            size=facts.size,
        )
    )


def _artifact_declassified(
    state: State, body: bodies.ArtifactDeclassified, found: Signed[Any], at: datetime
) -> None:
    dropped = Dropped(index=state.size, at=format_time(at), labels=body.drops, people=found.people)
    state.catalog.declassify(body.seal_id, dropped)


def _grant_requested(
    state: State, body: bodies.GrantRequested, found: Signed[Request], at: datetime
) -> None:
    state.grants[body.grant] = Grant(
        id=body.grant,
        index=state.size,
        requested_at=at,
        signed=found,
        terms=body.terms,
        labels=requests.labels_asked(state, found.statement),
    )
    state.usage.note_request(found.statement.person, at)


def _grant_approved(
    state: State, body: bodies.GrantApproved, found: Signed[Approval], at: datetime
) -> None:
    grant = state.grants[body.grant]
    approved = Approved(index=state.size, at=at, signed=found)
    _change(state, grant, approvals=(*grant.approvals, approved))


def _grant_reviewed(
    state: State, body: bodies.GrantReviewed, found: Signed[Review], at: datetime
) -> None:
    grant = state.grants[body.grant]
    reviewed = Reviewed(index=state.size, at=at, signed=found)
    _change(state, grant, reviews=(*grant.reviews, reviewed))


def _grant_ended(state: State, body: Any, found: Signed[Decision], at: datetime) -> None:
    ended = Ended(index=state.size, at=at, why=decisions.WHY[found.statement.action], signed=found)
    _change(state, state.grants[body.grant], ended=ended)


def _seat_bound(state: State, body: bodies.SeatBound, found: Signed[Binding], at: datetime) -> None:
    grant = state.grants[body.grant]
    bound = Bound(index=state.size, at=at, signed=found)
    _change(state, grant, bindings=(*grant.bindings, bound))
    state.kernels[bound.kernel] = Kernel(
        key=found.statement.kernel_key, person=grant.person, bound_by=found.keys[0].key_id
    )
    state.flow.bound(bound.kernel, grant.id, grant.person, found.statement.seat)


def _keys_released(state: State, body: bodies.KeysReleased, found: object, at: datetime) -> None:
    _released(state, body, [body.seal_id], at)


def _output_released(
    state: State, body: bodies.OutputReleased, found: object, at: datetime
) -> None:
    _released(state, body, [source.seal_id for source in body.sources], at)


def _released(
    state: State,
    body: bodies.KeysReleased | bodies.OutputReleased,
    seal_ids: Sequence[str],
    at: datetime,
) -> None:
    """The kernel has opened these from now on: their labels flow, and its person's limits count."""
    state.actions[body.action] = Recorded(index=state.size, body=body)
    state.flow.released(body.kernel, seal_ids)
    versions = (version for one in seal_ids if (version := state.catalog.sealed(one)))
    state.usage.note_opening(state.kernels[body.kernel].person, versions, at)


def _ending_confirmed(
    state: State, body: bodies.EndingConfirmed, found: object, at: datetime
) -> None:
    grant = state.grants[body.grant]
    confirmed = tuple(
        msgspec.structs.replace(one, confirmed=body.how) if one.kernel == body.kernel else one
        for one in grant.bindings
    )
    _change(state, grant, bindings=confirmed)
    state.flow.confirmed(body.kernel, body.grant)


def _run_recorded(state: State, body: bodies.RunRecorded, found: object, at: datetime) -> None:
    state.runs[body.run] = body


def _action_refused(state: State, body: bodies.ActionRefused, found: object, at: datetime) -> None:
    """It stays in the ledger, and changes nothing."""


def _alert_raised(state: State, body: bodies.AlertRaised, found: object, at: datetime) -> None:
    state.alerts[body.person, body.limit] = at


def _change(state: State, grant: Grant, **changes: Any) -> None:
    state.grants[grant.id] = msgspec.structs.replace(grant, **changes)


# For each type of entry: the rule that was asked before it was appended, and what it changes.
_Check = Callable[[State, Any, datetime], Any]
_Record = Callable[[State, Any, Any, datetime], None]
_RULES: dict[type[Body], tuple[_Check, _Record]] = {
    bodies.Genesis: (policies.check_genesis, _genesis_made),
    bodies.PersonInvited: (persons.check_invited, _person_invited),
    bodies.PersonRemoved: (persons.check_removed, _person_removed),
    bodies.KeyEnrolled: (enrolments.check_enrolled, _key_enrolled),
    bodies.KeyRevoked: (enrolments.check_revoked, _key_revoked),
    bodies.SessionOpened: (enrolments.check_session, _session_opened),
    bodies.PolicyApplied: (policies.check_policy, _policy_applied),
    bodies.ArtifactSealed: (artifacts.check_sealed, _artifact_sealed),
    bodies.ArtifactDeclassified: (declassify.check_declassified, _artifact_declassified),
    bodies.GrantRequested: (requests.check_requested, _grant_requested),
    bodies.GrantApproved: (approvals.check_recorded, _grant_approved),
    bodies.GrantReviewed: (reviews.check_reviewed, _grant_reviewed),
    bodies.GrantDenied: (decisions.check_decided, _grant_ended),
    bodies.GrantWithdrawn: (decisions.check_decided, _grant_ended),
    bodies.GrantReturned: (decisions.check_decided, _grant_ended),
    bodies.GrantRevoked: (decisions.check_decided, _grant_ended),
    bodies.SeatBound: (bindings.check_bound, _seat_bound),
    bodies.KeysReleased: (releases.check_released, _keys_released),
    bodies.OutputReleased: (output_releases.check_output_released, _output_released),
    bodies.EndingConfirmed: (bindings.check_ending, _ending_confirmed),
    bodies.RunRecorded: (artifacts.check_run, _run_recorded),
    bodies.ActionRefused: (decisions.check_refused, _action_refused),
    bodies.AlertRaised: (alerts.check_alert, _alert_raised),
}
