"""The state of a broker: the fold of its ledger, and nothing else.

:meth:`State.apply` is the only way in. It holds each entry against the same rules that had
to be met before it was appended, so a row that was forged, or written by a broker that did
not ask its rules, is refused and grants nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import msgspec

from jupyter_aisec.errors import AisecError, IdentityError, LedgerError, NotFoundError
from jupyter_aisec.grants import (
    approvals,
    artifacts,
    bindings,
    decisions,
    enrolments,
    output_releases,
    persons,
    policies,
    releases,
    requests,
)
from jupyter_aisec.grants.catalog import ArtifactVersion, Catalog
from jupyter_aisec.grants.grant import Approved, Bound, Ended, Grant
from jupyter_aisec.grants.policy import Policy
from jupyter_aisec.grants.signed import Signed, payload_sha256, valid_key
from jupyter_aisec.grants.statements import Approval, Binding, Decision, Request
from jupyter_aisec.ledger import bodies
from jupyter_aisec.ledger.bodies import Body
from jupyter_aisec.ledger.entry import Entry
from jupyter_aisec.ledger.merkle import Tree
from jupyter_aisec.people.directory import Directory
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.people.keys import PublicKey
from jupyter_aisec.times import format_time, parse_time

__all__ = ["Invited", "Kernel", "Recorded", "Session", "State", "fold", "unknown_grant"]


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A log-in; ``key_id`` is the key that signed it."""

    person: str
    key_id: str
    expires: datetime


class Invited(msgspec.Struct, frozen=True, kw_only=True):
    """An invitation that may be used once, to enrol that person's first key."""

    person: str
    expires: datetime


class Kernel(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel that took a seat, once or more, and the seal ids of what it has opened.

    ``bound_by`` is the person's key that signed for the last seat it took.
    """

    key: PublicKey
    person: str
    bound_by: str
    opened: tuple[str, ...] = ()

    def require_valid(self, state: State) -> None:
        """Raises IdentityError if that key was revoked since, or the person removed.

        A key that was stolen takes every kernel it bound with it. The grant may be over.
        """
        valid_key(state, self.person, self.bound_by)


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """A release under its action id, and the entry that holds it."""

    index: int
    body: bodies.KeysReleased | bodies.OutputReleased


class State:
    """Everything a broker knows, as of :attr:`size` entries."""

    def __init__(self) -> None:
        self.tree = Tree()
        self.last_at = datetime.min.replace(tzinfo=UTC)
        self.directory = Directory()
        self.catalog = Catalog()
        self.grants: dict[str, Grant] = {}
        self.kernels: dict[str, Kernel] = {}
        self.actions: dict[str, Recorded] = {}
        self.sessions: dict[str, Session] = {}  # by the token's SHA-256
        self.invitations: dict[str, Invited] = {}  # open ones, by the token's SHA-256
        self.runs: dict[str, bodies.RunRecorded] = {}
        self.statements: dict[str, int] = {}  # payload's SHA-256 -> entry: none counts twice
        self.policy_version = 0
        self._genesis: bodies.Genesis | None = None
        self._policy: Policy | None = None
        self._verified: set[Envelope] = set()

    @property
    def size(self) -> int:
        """How many entries have been applied: the index of the next one."""
        return self.tree.size

    @property
    def genesis(self) -> bodies.Genesis:
        """The first entry; raises LedgerError while there is none."""
        if self._genesis is None:
            raise _empty()
        return self._genesis

    @property
    def policy(self) -> Policy:
        """The policy in force; raises LedgerError while there is none."""
        if self._policy is None:
            raise _empty()
        return self._policy

    def time(self, now: datetime) -> datetime:
        """``now``, but never before the last entry, in whole milliseconds as entries have it.

        A clock that is set back re-opens nothing. An entry must be given this time.
        """
        return max(parse_time(format_time(now)), self.last_at)

    def grant(self, grant_id: str) -> Grant:
        """The grant of that id; raises NotFoundError."""
        if grant_id not in self.grants:
            raise unknown_grant(grant_id)
        return self.grants[grant_id]

    def session(self, token_sha256: str, now: datetime) -> Session:
        """The log-in of that token, if it still holds; raises IdentityError."""
        session = self.sessions.get(token_sha256)
        if session is None or self.time(now) >= session.expires or not self._may_sign(session):
            raise IdentityError(
                "This session is unknown, over, or its key was revoked.",
                next="Sign in again: `unset AISEC_TOKEN; aisec login`.",
                code="session-invalid",
            )
        return session

    def _may_sign(self, session: Session) -> bool:
        person = self.directory.person(session.person)
        return person.present_at(self.size) and any(
            one.key.key_id == session.key_id and one.valid_at(self.size) for one in person.keys
        )

    def verify_once(self, signed: Signed[Any]) -> None:
        """Check the signatures of what is recorded, unless that was done before."""
        if signed.envelope not in self._verified:
            signed.verify()
            self._verified.add(signed.envelope)

    def apply(self, entry: Entry, *, signatures: bool = False) -> None:
        """Append ``entry``; raises LedgerError naming it, and changes nothing, if it is illegal.

        With ``signatures``, every signature in it is checked too (``aisec audit verify``);
        without, those that keys are released on are still checked before each release.
        """
        try:
            body = entry.content()
            at = parse_time(entry.at)
            self._check_place(entry, at)
            check, record = _RULES[type(body)]
            found = check(self, body, at)
            if signatures and isinstance(found, Signed):
                self.verify_once(found)
            leaf_hash = entry.leaf_hash
            record(self, body, found, at)
        except (AisecError, OverflowError) as error:
            raise LedgerError(
                f"Entry {entry.index} ({entry.type[:40]}) is not legal: {error}",
                next="`aisec audit verify` checks every entry.",
                code="entry-illegal",
            ) from error
        self._remember(body)
        self.tree.append(leaf_hash)
        self.last_at = at

    def _check_place(self, entry: Entry, at: datetime) -> None:
        if entry.index != self.size:
            raise LedgerError(f"It was expected at place {self.size}.", code="entry-out-of-place")
        if at < self.last_at:
            raise LedgerError("It is older than the entry before it.", code="entry-out-of-order")
        if (self.size == 0) != (entry.type == "genesis"):
            raise LedgerError(
                "The first entry, and only that, is the genesis.", code="genesis-out-of-place"
            )

    def _remember(self, body: Body) -> None:
        """Notes the statements in ``body`` as recorded: none of them can be recorded again."""
        for name in body.__struct_fields__:
            value = getattr(body, name)
            if isinstance(value, Envelope):
                self.statements[payload_sha256(value)] = self.size

    # What each type of entry changes. All checks are done by then: none of these may fail.

    def _genesis_made(
        self, body: bodies.Genesis, found: tuple[Directory, Policy], at: datetime
    ) -> None:
        self._genesis = body
        self.directory, self._policy = found

    def _person_invited(self, body: bodies.PersonInvited, found: object, at: datetime) -> None:
        self.directory = self.directory.add(body.person, body.roles, self.size)
        self.invitations[body.token_sha256] = Invited(
            person=body.person, expires=parse_time(body.expires)
        )

    def _person_removed(self, body: bodies.PersonRemoved, found: object, at: datetime) -> None:
        self.directory = self.directory.remove(body.person, self.size)

    def _key_enrolled(self, body: bodies.KeyEnrolled, found: object, at: datetime) -> None:
        self.directory = self.directory.enrol(body.person, body.key, self.size)
        self.invitations.pop(body.token_sha256 or "", None)

    def _key_revoked(self, body: bodies.KeyRevoked, found: object, at: datetime) -> None:
        self.directory = self.directory.revoke(body.person, body.key_id, self.size)

    def _session_opened(self, body: bodies.SessionOpened, found: Signed[Any], at: datetime) -> None:
        self.sessions[body.token_sha256] = Session(
            person=body.person, key_id=found.keys[0].key_id, expires=parse_time(body.expires)
        )

    def _policy_applied(self, body: bodies.PolicyApplied, found: Signed[Any], at: datetime) -> None:
        self._policy = Policy.from_dict(body.policy)
        self.policy_version += 1

    def _artifact_sealed(
        self, body: bodies.ArtifactSealed, found: Signed[Any], at: datetime
    ) -> None:
        facts = found.statement
        self.catalog.add(
            ArtifactVersion(
                index=self.size,
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
            )
        )

    def _grant_requested(
        self, body: bodies.GrantRequested, found: Signed[Request], at: datetime
    ) -> None:
        self.grants[body.grant] = Grant(
            id=body.grant,
            index=self.size,
            requested_at=at,
            signed=found,
            terms=body.terms,
            labels=requests.labels_asked(self, found.statement),
        )

    def _grant_approved(
        self, body: bodies.GrantApproved, found: Signed[Approval], at: datetime
    ) -> None:
        grant = self.grants[body.grant]
        approved = Approved(index=self.size, at=at, signed=found)
        self._change(grant, approvals=(*grant.approvals, approved))

    def _grant_ended(self, body: Any, found: Signed[Decision], at: datetime) -> None:
        ended = Ended(
            index=self.size, at=at, why=decisions.WHY[found.statement.action], signed=found
        )
        self._change(self.grants[body.grant], ended=ended)

    def _seat_bound(self, body: bodies.SeatBound, found: Signed[Binding], at: datetime) -> None:
        grant = self.grants[body.grant]
        bound = Bound(index=self.size, at=at, signed=found)
        self._change(grant, bindings=(*grant.bindings, bound))
        known = self.kernels.get(bound.kernel)
        self.kernels[bound.kernel] = Kernel(
            key=found.statement.kernel_key,
            person=grant.person,
            bound_by=found.keys[0].key_id,
            opened=known.opened if known else (),
        )

    def _keys_released(self, body: bodies.KeysReleased, found: object, at: datetime) -> None:
        self._released(body, [body.seal_id])

    def _output_released(self, body: bodies.OutputReleased, found: object, at: datetime) -> None:
        self._released(body, [source.seal_id for source in body.sources])

    def _released(
        self, body: bodies.KeysReleased | bodies.OutputReleased, seal_ids: Iterable[str]
    ) -> None:
        """The kernel has opened these from now on: their labels flow."""
        self.actions[body.action] = Recorded(index=self.size, body=body)
        kernel = self.kernels[body.kernel]
        opened = tuple(dict.fromkeys((*kernel.opened, *seal_ids)))
        self.kernels[body.kernel] = msgspec.structs.replace(kernel, opened=opened)

    def _ending_confirmed(self, body: bodies.EndingConfirmed, found: object, at: datetime) -> None:
        grant = self.grants[body.grant]
        confirmed = tuple(
            msgspec.structs.replace(one, confirmed=body.how) if one.kernel == body.kernel else one
            for one in grant.bindings
        )
        self._change(grant, bindings=confirmed)

    def _run_recorded(self, body: bodies.RunRecorded, found: object, at: datetime) -> None:
        self.runs[body.run] = body

    def _action_refused(self, body: bodies.ActionRefused, found: object, at: datetime) -> None:
        """It stays in the ledger, and changes nothing."""

    def _change(self, grant: Grant, **changes: Any) -> None:
        self.grants[grant.id] = msgspec.structs.replace(grant, **changes)


def _empty() -> LedgerError:
    return LedgerError(
        "This ledger is empty.",
        next="`aisec broker start` on an empty home makes the genesis entry.",
        code="ledger-empty",
    )


def fold(entries: Iterable[Entry], *, signatures: bool = False) -> State:
    """The state after ``entries``; raises LedgerError naming the first that is not legal."""
    state = State()
    for entry in entries:
        state.apply(entry, signatures=signatures)
    return state


# For each type of entry: the rule that was asked before it was appended, and what it changes.
_Check = Callable[[State, Any, datetime], Any]
_Record = Callable[[State, Any, Any, datetime], None]
_RULES: dict[type[Body], tuple[_Check, _Record]] = {
    bodies.Genesis: (policies.check_genesis, State._genesis_made),
    bodies.PersonInvited: (persons.check_invited, State._person_invited),
    bodies.PersonRemoved: (persons.check_removed, State._person_removed),
    bodies.KeyEnrolled: (enrolments.check_enrolled, State._key_enrolled),
    bodies.KeyRevoked: (enrolments.check_revoked, State._key_revoked),
    bodies.SessionOpened: (enrolments.check_session, State._session_opened),
    bodies.PolicyApplied: (policies.check_policy, State._policy_applied),
    bodies.ArtifactSealed: (artifacts.check_sealed, State._artifact_sealed),
    bodies.GrantRequested: (requests.check_requested, State._grant_requested),
    bodies.GrantApproved: (approvals.check_recorded, State._grant_approved),
    bodies.GrantDenied: (decisions.check_decided, State._grant_ended),
    bodies.GrantWithdrawn: (decisions.check_decided, State._grant_ended),
    bodies.GrantReturned: (decisions.check_decided, State._grant_ended),
    bodies.GrantRevoked: (decisions.check_decided, State._grant_ended),
    bodies.SeatBound: (bindings.check_bound, State._seat_bound),
    bodies.KeysReleased: (releases.check_released, State._keys_released),
    bodies.OutputReleased: (output_releases.check_output_released, State._output_released),
    bodies.EndingConfirmed: (bindings.check_ending, State._ending_confirmed),
    bodies.RunRecorded: (artifacts.check_run, State._run_recorded),
    bodies.ActionRefused: (decisions.check_refused, State._action_refused),
}


def unknown_grant(grant_id: str) -> NotFoundError:
    """That there is no such grant: for one of others, too, so that nobody learns of it."""
    return NotFoundError(
        f"There is no grant {grant_id[:80]!r}.",
        next="`aisec grant list` shows yours.",
        code="grant-unknown",
    )
