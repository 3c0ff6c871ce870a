"""What each type of ledger entry says: one frozen struct per type.

The bodies carry what people and kernels signed as the envelopes they signed; the broker
adds only what it decided. ``ENTRY_TYPES`` maps the type's name to its body.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from jupyter_aisec.people.directory import Role as Role
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.people.keys import PublicKey

Isolation = Literal["none", "partial", "full"]  # the levels, from least to most
EndedHow = Literal["wiped", "killed", "exited"]  # what became of a kernel that held the seat
Verdict = Literal["justified", "unjustified"]  # what a review says about breaking the glass
EndedWhy = Literal["expired", "revoked", "returned", "denied", "withdrawn", "lapsed"]


class Body(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The base of all bodies."""


class Founder(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A first person, pinned by the genesis entry."""

    name: str
    roles: tuple[Role, ...]
    key: PublicKey


class Genesis(Body, frozen=True, kw_only=True):
    """The first entry: everything trust starts from."""

    origin: str  # the log's name, as in its signed ledger checkpoints
    log_key: str  # C2SP verifier key (Ed25519) of the ledger checkpoints
    broker_key: PublicKey  # Ed25519: releases, countersignatures, provenance
    model_key: PublicKey  # P-256: OpenSSF Model Signing
    seal_key: bytes  # HPKE public key (MLKEM768_X25519) to which new data keys are sent
    people: tuple[Founder, ...]
    policy: dict[str, Any]


class PersonInvited(Body, frozen=True, kw_only=True):
    """An admin added a person; whoever holds the one-time token enrols the first key."""

    person: str
    roles: tuple[Role, ...]
    token_sha256: str
    expires: str
    by: Envelope


class PersonRemoved(Body, frozen=True, kw_only=True):
    person: str
    by: Envelope


class KeyEnrolled(Body, frozen=True, kw_only=True):
    """A person's signing key. ``token_sha256`` names the invitation used, if any."""

    person: str
    key: PublicKey
    by: Envelope
    token_sha256: str | None = None


class KeyRevoked(Body, frozen=True, kw_only=True):
    person: str
    key_id: str
    by: Envelope


class SessionOpened(Body, frozen=True, kw_only=True):
    """A log-in: the bearer token with this digest speaks for the person until ``expires``."""

    person: str
    token_sha256: str
    expires: str
    by: Envelope


class PolicyApplied(Body, frozen=True, kw_only=True):
    policy: dict[str, Any]
    by: Envelope  # signed by as many admins as the policy in force demands


class ArtifactSealed(Body, frozen=True, kw_only=True):
    """A version of an artifact: its signed manifest, and the digests of its wrapped keys."""

    artifact: str
    version: int
    seal_id: str
    url: str
    manifest: Envelope
    wrapped_sha256: dict[str, str]  # key id -> SHA-256 of the wrapped key in the broker's table
    by: str  # the person who answers for it: the sealer, or the holder of the sealing seat


class ArtifactDeclassified(Body, frozen=True, kw_only=True):
    """Labels of a version hold no more; its manifest, which is signed, still has them."""

    artifact: str
    version: int
    seal_id: str
    drops: tuple[str, ...]
    by: Envelope  # signed by its owner or an admin, and by others whom the policy names


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What policy decided about a request, and why."""

    approvals: int  # how many distinct approvers
    approvers: tuple[str, ...]  # who was asked: names at the time of the request
    seconds: int  # the longest time the rules allow for it
    isolation: Isolation  # the least isolation level
    pending_until: str
    begin_within: int  # seconds that may pass between the last approval and the beginning
    policy_version: int
    reasons: tuple[str, ...]
    # How many of the approvers must review it afterwards: of a break-glass grant, and left out
    # of any other, so that terms from before there was break-glass keep their bytes.
    reviews: int | UnsetType = UNSET


class GrantRequested(Body, frozen=True, kw_only=True):
    grant: str
    request: Envelope
    terms: Terms


class GrantApproved(Body, frozen=True, kw_only=True):
    """The approval, with a second signature by the broker over the same payload."""

    grant: str
    approval: Envelope


class GrantReviewed(Body, frozen=True, kw_only=True):
    """A review of a break-glass grant by one of those who would have been asked to approve."""

    grant: str
    statement: Envelope


class GrantDenied(Body, frozen=True, kw_only=True):
    grant: str
    statement: Envelope


class GrantWithdrawn(Body, frozen=True, kw_only=True):
    grant: str
    statement: Envelope


class GrantReturned(Body, frozen=True, kw_only=True):
    grant: str
    statement: Envelope


class GrantRevoked(Body, frozen=True, kw_only=True):
    grant: str
    statement: Envelope


class SeatBound(Body, frozen=True, kw_only=True):
    """A kernel took the seat: signed by the person, naming the kernel's two public keys."""

    grant: str
    binding: Envelope


class KeysReleased(Body, frozen=True, kw_only=True):
    """Data keys of one artifact version, encrypted to one bound kernel."""

    grant: str
    action: str  # the kernel's unique action id
    request_sha256: str  # of the request's content: a repeat must be equal
    artifact: str
    version: int
    seal_id: str
    key_ids: tuple[str, ...]
    kernel: str  # key id of the bound signing key
    approvals: int  # how many approvals the rules demanded: zero is said aloud


class OutputSource(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An artifact version that an output was made from, and the grant it is opened under."""

    artifact: str
    version: int
    seal_id: str
    grant: str
    approvals: int  # how many approvals the rules demanded


class OutputReleased(Body, frozen=True, kw_only=True):
    """The content key of one saved output, encrypted to one bound kernel."""

    action: str  # the kernel's unique action id
    request_sha256: str  # of the request's content: a repeat must be equal
    kernel: str  # key id of the bound signing key
    ciphertext_sha256: str  # of the output
    sources: tuple[OutputSource, ...]  # every key of the output's header, in its order


class EndingConfirmed(Body, frozen=True, kw_only=True):
    """The keeper (or the kernel itself) confirmed that keys and buffers are gone."""

    grant: str
    kernel: str
    how: EndedHow


class RunRecorded(Body, frozen=True, kw_only=True):
    """A run's statement, signed by the broker after comparing both observers."""

    run: str
    grant: str | None
    kernel: str
    seal_ids: tuple[str, ...]
    record_sha256: str
    observation_sha256: str | None
    differences: int
    statement_sha256: str  # of the statement's payload


class ActionRefused(Body, frozen=True, kw_only=True):
    """A refused decision, kept because the attempt itself matters."""

    person: str
    action: str
    subject: str
    code: str
    what: str


class AlertRaised(Body, frozen=True, kw_only=True):
    """A person reached a limit of the policy: refused, or only noted where the policy observes."""

    person: str
    limit: Literal["grants", "artifacts", "bytes"]
    most: int  # the limit
    used: int  # of it, within the hour before
    asked: int  # for more, by what was refused; 0 where nothing was
    action: str
    subject: str  # the grant, or the artifacts
    what: str


ENTRY_TYPES: dict[str, type[Body]] = {
    "genesis": Genesis,
    "person.invited": PersonInvited,
    "person.removed": PersonRemoved,
    "key.enrolled": KeyEnrolled,
    "key.revoked": KeyRevoked,
    "session.opened": SessionOpened,
    "policy.applied": PolicyApplied,
    "artifact.sealed": ArtifactSealed,
    "artifact.declassified": ArtifactDeclassified,
    "grant.requested": GrantRequested,
    "grant.approved": GrantApproved,
    "grant.reviewed": GrantReviewed,
    "grant.denied": GrantDenied,
    "grant.withdrawn": GrantWithdrawn,
    "grant.returned": GrantReturned,
    "grant.revoked": GrantRevoked,
    "seat.bound": SeatBound,
    "keys.released": KeysReleased,
    "output.released": OutputReleased,
    "ending.confirmed": EndingConfirmed,
    "run.recorded": RunRecorded,
    "action.refused": ActionRefused,
    "alert.raised": AlertRaised,
}
