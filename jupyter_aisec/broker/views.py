"""What the broker answers, as pydantic models: OpenAPI is generated from them."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any, Literal, Self

import msgspec
from pydantic import BaseModel, ConfigDict

from jupyter_aisec.broker.config import Config
from jupyter_aisec.broker.schemas import EnvelopeModel
from jupyter_aisec.grants.catalog import ArtifactVersion, Dropped
from jupyter_aisec.grants.grant import Grant, GrantState
from jupyter_aisec.grants.persons import admins_needed
from jupyter_aisec.grants.state import State
from jupyter_aisec.ledger.bodies import EndedWhy, OutputSource, Role, RunRecorded
from jupyter_aisec.ledger.entry import Entry
from jupyter_aisec.people.directory import Person
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.people.keys import PublicKey
from jupyter_aisec.times import format_time

__all__ = [
    "ArtifactView",
    "DroppedView",
    "EntryView",
    "FindingView",
    "LeaseView",
    "ListedView",
    "NotedView",
    "OutputReleaseView",
    "OutputSourceView",
    "PersonView",
    "PolicyView",
    "ReleaseView",
    "RunView",
    "SealedView",
    "SessionView",
    "StoreView",
    "TrustView",
    "WhoView",
    "envelope_model",
]


class View(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class KeyModel(View):
    """A public key: SubjectPublicKeyInfo in DER, base64."""

    kind: Literal["ed25519", "p256"]
    spki: str


class SessionView(View):
    """The bearer token speaks for the person until it expires."""

    token: str
    expires: str
    person: str


class WhoView(View):
    """Whom the session speaks for, and how many break-glass grants wait for their review."""

    person: str
    roles: list[Role]
    reviews_waiting: int


class EnrolledKeyView(View):
    key: KeyModel
    enrolled: int
    revoked: int | None


class PersonView(View):
    name: str
    roles: list[Role]
    keys: list[EnrolledKeyView]
    removed: int | None

    @classmethod
    def of(cls, person: Person) -> PersonView:
        keys = [
            EnrolledKeyView(key=key_model(one.key), enrolled=one.enrolled, revoked=one.revoked)
            for one in person.keys
        ]
        return cls(name=person.name, roles=list(person.roles), keys=keys, removed=person.removed)


class DroppedView(View):
    """Labels that a version lost: in which entry, and who signed, whoever began it first."""

    labels: list[str]
    entry: int
    at: str
    by: list[str]

    @classmethod
    def of(cls, dropped: Dropped) -> DroppedView:
        return cls(
            labels=list(dropped.labels),
            entry=dropped.index,
            at=dropped.at,
            by=list(dropped.people),
        )


class ListedView(View):
    """One version in a list, and the URL where its sealed files are.

    ``labels`` are those that count: its manifest's without those ``dropped`` since.
    """

    artifact: str
    version: int
    seal_id: str
    url: str
    labels: list[str]
    dropped: list[DroppedView]
    by: str
    at: str

    @classmethod
    def of(cls, version: ArtifactVersion) -> Self:
        return cls(**cls._fields_of(version))

    @classmethod
    def _fields_of(cls, version: ArtifactVersion) -> dict[str, Any]:
        return {
            "artifact": version.artifact,
            "version": version.version,
            "seal_id": version.seal_id,
            "url": version.url,
            "labels": sorted(version.labels),
            "dropped": [DroppedView.of(one) for one in version.dropped],
            "by": version.by,
            "at": version.at,
        }


class ArtifactView(ListedView):
    """One version with its manifest."""

    manifest: EnvelopeModel

    @classmethod
    def _fields_of(cls, version: ArtifactVersion) -> dict[str, Any]:
        return {**super()._fields_of(version), "manifest": envelope_model(version.manifest)}


class SealedView(View):
    artifact: str
    version: int


class StoreView(View):
    """Below this URL new versions are written: ``<url>/<artifact>/<seal id>``."""

    url: str


class LeaseView(View):
    """Until when a kernel may open without asking again, and when to warn its person."""

    state: GrantState
    ended_why: EndedWhy | None
    until: str | None
    ends_at: str | None
    warn: list[str]
    now: str

    @classmethod
    def of(cls, grant: Grant, now: datetime, config: Config) -> LeaseView:
        ends_at = grant.ends_at if grant.state(now) == "active" else None
        return cls(
            state=grant.state(now),
            ended_why=grant.ended_why(now),
            until=format_time(min(now + config.lease, ends_at)) if ends_at else None,
            ends_at=_time(grant.ends_at),
            warn=[format_time(when) for when in grant.warnings] if ends_at else [],
            now=format_time(now),
        )


class ReleaseView(View):
    """Data keys, each encrypted to the bound kernel, and the broker's signature over them."""

    keys: dict[str, str]
    seal_id: str
    entry: int
    signature: EnvelopeModel
    checkpoint: str


class OutputSourceView(View):
    """An artifact version that an output was made from, and the grant it was opened under."""

    artifact: str
    version: int
    seal_id: str
    grant: str

    @classmethod
    def of(cls, source: OutputSource) -> OutputSourceView:
        return cls(
            artifact=source.artifact,
            version=source.version,
            seal_id=source.seal_id,
            grant=source.grant,
        )


class OutputReleaseView(View):
    """An output's content key, encrypted to the bound kernel; the broker signs for it."""

    key: str
    sources: list[OutputSourceView]
    entry: int
    signature: EnvelopeModel
    checkpoint: str


class EndedView(View):
    recorded: bool


class NotedView(View):
    """The broker has heard it; how much of it the ledger keeps is limited."""

    noted: Literal[True] = True


class RunView(View):
    run: str
    grant: str | None
    kernel: str
    seal_ids: list[str]
    differences: int
    statement_sha256: str
    entry: int
    at: str

    @classmethod
    def of(cls, body: RunRecorded, entry: Entry) -> RunView:
        return cls(
            run=body.run,
            grant=body.grant,
            kernel=body.kernel,
            seal_ids=list(body.seal_ids),
            differences=body.differences,
            statement_sha256=body.statement_sha256,
            entry=entry.index,
            at=entry.at,
        )


class RecordedView(View):
    """A recorded run, and the bundle that verifies offline."""

    run: str
    bundle: dict[str, Any]


class PolicyView(View):
    """The policy in force, and how many admins must sign for people and others' keys now."""

    version: int
    policy: dict[str, Any]
    admins_for_people: int
    admins_for_keys: int

    @classmethod
    def of(cls, state: State) -> PolicyView:
        asked = (state.directory, state.policy, state.size)
        return cls(
            version=state.policy_version,
            policy=state.policy.to_dict(),
            admins_for_people=admins_needed(*asked),
            admins_for_keys=admins_needed(*asked, least=2),
        )


class EntryView(View):
    """A ledger entry with its body and salt (base64)."""

    index: int
    at: str
    type: str
    salt: str
    body: str

    @classmethod
    def of(cls, entry: Entry) -> EntryView:
        return cls(
            index=entry.index,
            at=entry.at,
            type=entry.type,
            salt=_b64(entry.salt),
            body=_b64(entry.body),
        )


class TrustView(View):
    format: str
    origin: str
    log_key: str
    genesis_sha256: str
    seal_key: str
    broker_key: KeyModel


class FindingView(View):
    """A place where the stored tables are not what was logged."""

    table: str
    row: str
    column: str
    what: str


class AuditView(View):
    size: int
    checkpoint: str
    findings: list[FindingView]


class HealthView(View):
    status: Literal["ok"]


def envelope_model(envelope: Envelope) -> EnvelopeModel:
    """The envelope as it is in JSON."""
    return EnvelopeModel.model_validate_json(msgspec.json.encode(envelope))


def key_model(key: PublicKey) -> KeyModel:
    return KeyModel(kind=key.kind, spki=_b64(key.spki))


def _time(when: datetime | None) -> str | None:
    return None if when is None else format_time(when)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()
