"""What the broker answers, as structs. Unknown fields are ignored: a newer broker may say more."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

import msgspec

from jupyter_aisec.errors import BrokerFaultError
from jupyter_aisec.grants.view import ApprovalView, Explained, GrantView, ReviewView
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.people.keys import PublicKey

__all__ = [
    "ApprovalView",
    "ArtifactView",
    "AuditView",
    "DroppedView",
    "EntryView",
    "Explained",
    "FindingView",
    "GrantView",
    "KeyView",
    "Lease",
    "ListedView",
    "OutputSourceView",
    "PersonView",
    "PolicyView",
    "ReviewView",
    "RunView",
    "SealedView",
    "Who",
    "as_list",
    "as_view",
]

T = TypeVar("T")


class DroppedView(msgspec.Struct, frozen=True, kw_only=True):
    """Labels that a version lost: in which ledger entry, and who signed, its beginner first."""

    labels: tuple[str, ...]
    entry: int
    at: str
    by: tuple[str, ...]

    def __str__(self) -> str:
        first, *others = self.by
        return f"{', '.join(self.labels)} in entry {self.entry} by {first} with " + ", ".join(
            others
        )


class ListedView(msgspec.Struct, frozen=True, kw_only=True):
    """One version of an artifact and where its sealed files lie.

    ``labels`` are those that count: its manifest's without those ``dropped`` since.
    """

    artifact: str
    version: int
    seal_id: str
    url: str
    labels: tuple[str, ...] = ()
    dropped: tuple[DroppedView, ...] = ()
    by: str = ""


class ArtifactView(ListedView, frozen=True, kw_only=True):
    """One version with its manifest."""

    manifest: Envelope


class OutputSourceView(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact version that an output was made from, and the grant it was opened under."""

    artifact: str
    version: int
    seal_id: str
    grant: str


class SealedView(msgspec.Struct, frozen=True, kw_only=True):
    """A version that was just registered."""

    artifact: str
    version: int


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """The renewed right to open until ``until``; ``now`` is the broker's clock."""

    state: str
    until: str | None = None
    ends_at: str | None = None
    ended_why: str | None = None
    warn: tuple[str, ...] = ()  # when to warn the person, the first moment first
    now: str


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A person's signing key; ``revoked`` is the ledger entry that revoked it."""

    key: PublicKey
    enrolled: int
    revoked: int | None = None


class PersonView(msgspec.Struct, frozen=True, kw_only=True):
    """A person; ``removed`` is the ledger entry that removed them."""

    name: str
    roles: tuple[str, ...]
    keys: tuple[KeyView, ...] = ()
    removed: int | None = None


class PolicyView(msgspec.Struct, frozen=True, kw_only=True):
    """The policy in force, and how many admins must sign for people and others' keys now."""

    version: int
    policy: dict[str, Any]
    admins_for_people: int
    admins_for_keys: int


class FindingView(msgspec.Struct, frozen=True, kw_only=True):
    """A place where the broker's tables are not what was logged."""

    table: str
    row: str
    column: str
    what: str


class AuditView(msgspec.Struct, frozen=True, kw_only=True):
    """What a broker found when it checked all of its tables."""

    size: int
    checkpoint: str
    findings: tuple[FindingView, ...]


class RunView(msgspec.Struct, frozen=True, kw_only=True):
    """What the ledger says of a recorded run."""

    run: str
    grant: str | None = None
    kernel: str
    seal_ids: tuple[str, ...]
    differences: int
    statement_sha256: str
    entry: int
    at: str


class EntryView(msgspec.Struct, frozen=True, kw_only=True):
    """A ledger entry with its body."""

    index: int
    at: str
    type: str
    salt: bytes
    body: bytes


class Who(msgspec.Struct, frozen=True, kw_only=True):
    """Who the broker takes the caller for, and how many reviews wait for them."""

    person: str
    roles: tuple[str, ...] = ()
    reviews_waiting: int = 0


def as_view(answer: Any, type_: type[T]) -> T:
    """``answer`` (parsed JSON) as ``type_``; raises BrokerFaultError where it is not one."""
    try:
        return msgspec.convert(answer, type=type_)
    except msgspec.ValidationError as error:
        raise BrokerFaultError(
            f"The broker's answer is not a {type_.__name__}: {error}.",
            next="Bring the broker and this client to the same version (`aisec doctor`).",
        ) from error


def as_list(pages: Iterable[Any], type_: type[T]) -> tuple[T, ...]:
    """What all the pages of a list hold, as :func:`as_view`."""
    return tuple(one for page in pages for one in as_view(page, tuple[type_, ...]))  # type: ignore[valid-type]
