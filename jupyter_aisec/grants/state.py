"""What a broker knows, as its ledger says it; :mod:`~.fold` is what fills it.

Every rule asks this, and no rule changes it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from jupyter_aisec.errors import IdentityError, LedgerError, NotFoundError
from jupyter_aisec.grants.catalog import Catalog
from jupyter_aisec.grants.flow import Flow
from jupyter_aisec.grants.grant import Grant
from jupyter_aisec.grants.limits import LimitName, Usage
from jupyter_aisec.grants.policy import Policy
from jupyter_aisec.grants.signed import Signed
from jupyter_aisec.ledger import bodies
from jupyter_aisec.ledger.merkle import Tree
from jupyter_aisec.people.directory import Directory
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.people.keys import PublicKey
from jupyter_aisec.times import format_time, parse_time

__all__ = ["Invited", "Kernel", "Recorded", "Session", "State", "unknown_grant"]


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
    """A kernel that took a seat, once or more.

    ``bound_by`` is the person's key that signed for the last seat it took.
    """

    key: PublicKey
    person: str
    bound_by: str

    def require_valid(self, state: State) -> None:
        """Raises IdentityError if that key was revoked since, or the person removed.

        A key that was stolen takes every kernel it bound with it. The grant may be over.
        """
        state.valid_key(self.person, self.bound_by)


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
        self.flow: Flow[str] = Flow()  # of seal ids
        self.actions: dict[str, Recorded] = {}
        self.sessions: dict[str, Session] = {}  # by the token's SHA-256
        self.invitations: dict[str, Invited] = {}  # open ones, by the token's SHA-256
        self.runs: dict[str, bodies.RunRecorded] = {}
        self.statements: dict[str, int] = {}  # payload's SHA-256 -> entry: none counts twice
        self.usage = Usage()  # what each account did within the last hour
        self.alerts: dict[tuple[str, LimitName], datetime] = {}  # the last, by account and limit
        self.policies: list[Policy] = []  # each that was in force: the version is the place
        self.policy_version = 0
        self._genesis: bodies.Genesis | None = None
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

    @genesis.setter
    def genesis(self, genesis: bodies.Genesis) -> None:
        self._genesis = genesis

    @property
    def policy(self) -> Policy:
        """The policy in force; raises LedgerError while there is none."""
        if not self.policies:
            raise _empty()
        return self.policies[-1]

    def labels(self, kernel: str) -> frozenset[str]:
        """The labels that what the kernel seals must carry."""
        found = map(self.catalog.sealed, self.flow.counted(kernel))
        return frozenset(label for version in found if version for label in version.labels)

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

    def valid_key(self, name: str, key_id: str) -> PublicKey:
        """That person's key, if it may sign what is appended next; raises IdentityError."""
        person = self.directory.person(name)
        if not person.present_at(self.size):
            raise IdentityError(
                f"{name} was removed.",
                next="An admin can add you under a new name: `aisec person add NAME --role ROLE`.",
                code="person-removed",
            )
        key = next((one for one in person.keys if one.key.key_id == key_id), None)
        if key is None or not key.valid_at(self.size):
            raise IdentityError(
                f"{name} may not sign with the key {key_id[:19]}…: it is not enrolled, or revoked.",
                next="Make a new key in a new home: "
                f"`export AISEC_HOME=FOLDER; aisec key enroll --as {name} --out FILE`. "
                "Two admins sign it, `aisec key countersign FILE`, and you log in: `aisec login`.",
                code="key-not-valid",
            )
        return key.key

    def verify_once(self, signed: Signed[Any]) -> None:
        """Check the signatures of what is recorded, unless that was done before."""
        if signed.envelope not in self._verified:
            signed.verify()
            self._verified.add(signed.envelope)


def _empty() -> LedgerError:
    return LedgerError(
        "This ledger is empty.",
        next="`aisec broker start` on an empty home makes the genesis entry.",
        code="ledger-empty",
    )


def unknown_grant(grant_id: str) -> NotFoundError:
    """That there is no such grant: for one of others, too, so that nobody learns of it."""
    return NotFoundError(
        f"There is no grant {grant_id[:80]!r}.",
        next="`aisec grant list` shows yours.",
        code="grant-unknown",
    )
