"""What is signed: by people, the payloads of the envelopes in the ledger; by the broker, releases.

Each statement is a frozen struct, canonical JSON (RFC 8785) in a DSSE envelope whose
payload type is the struct's ``payload_type``. What a person sees is what they sign: an
approval repeats the request by digest together with any narrowing, the policy version and
the last ledger checkpoint the approver saw.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec
from msgspec import UNSET, UnsetType

from jupyter_aisec.ledger.bodies import Isolation, Role, Verdict
from jupyter_aisec.people.keys import PublicKey


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The base: every statement names the log it is meant for, who signs, and when."""

    payload_type: ClassVar[str]

    origin: str  # of the ledger: a statement for one broker is worth nothing at another
    person: str
    at: str


class Request(Statement, frozen=True, kw_only=True):
    payload_type: ClassVar[str] = "application/vnd.jupyter-aisec.request+json"

    grant: str  # the new grant's id, made by the requester
    artifacts: tuple[str, ...]  # sorted, distinct
    seconds: int
    reason: str
    seat: str  # "session:<ulid>" or "job:<name>"
    start: str | None = None  # a scheduled start
    extends: str | None = None  # the grant that this one continues
    # Left out where it is not so: requests from before there was break-glass keep their bytes.
    break_glass: bool | UnsetType = UNSET


class Approval(Statement, frozen=True, kw_only=True):
    payload_type: ClassVar[str] = "application/vnd.jupyter-aisec.approval+json"

    grant: str
    request_sha256: str  # of the request's payload, as signed
    artifacts: tuple[str, ...]  # as requested, or fewer
    seconds: int  # as requested, or less
    policy_version: int
    checkpoint: str  # "<size>:<root, base64>" of the last ledger checkpoint the approver saw
    comment: str = ""


class Review(Statement, frozen=True, kw_only=True):
    """What an approver says about a grant that was begun by breaking the glass."""

    payload_type: ClassVar[str] = "application/vnd.jupyter-aisec.review+json"

    grant: str
    request_sha256: str  # of the request's payload, as signed
    verdict: Verdict
    comment: str = ""


class Decision(Statement, frozen=True, kw_only=True):
    """Denying, withdrawing, returning or revoking a grant."""

    payload_type: ClassVar[str] = "application/vnd.jupyter-aisec.decision+json"

    action: Literal["deny", "withdraw", "return", "revoke"]
    grant: str
    reason: str = ""


class Binding(Statement, frozen=True, kw_only=True):
    """A kernel takes a seat; signed by the person (their keeper), once per kernel start."""

    payload_type: ClassVar[str] = "application/vnd.jupyter-aisec.binding+json"

    grant: str
    seat: str
    kernel_key: PublicKey  # Ed25519, made inside the kernel
    release_key: bytes  # HPKE public key (MLKEM768_X25519), made inside the kernel
    isolation: Isolation
    vouched: bool = False
    missing: tuple[str, ...] = ()  # what a level below full lacks


class Invitation(Statement, frozen=True, kw_only=True):
    payload_type: ClassVar[str] = "application/vnd.jupyter-aisec.invitation+json"

    invites: str
    roles: tuple[Role, ...]
    token_sha256: str
    expires: str


class Removal(Statement, frozen=True, kw_only=True):
    payload_type: ClassVar[str] = "application/vnd.jupyter-aisec.removal+json"

    removes: str


class Enrolment(Statement, frozen=True, kw_only=True):
    """A key enrols itself (proof of possession); a second signature is by an enrolled key."""

    payload_type: ClassVar[str] = "application/vnd.jupyter-aisec.enrolment+json"

    key: PublicKey
    token_sha256: str | None = None


class KeyRevocation(Statement, frozen=True, kw_only=True):
    payload_type: ClassVar[str] = "application/vnd.jupyter-aisec.key-revocation+json"

    key_id: str


class Login(Statement, frozen=True, kw_only=True):
    payload_type: ClassVar[str] = "application/vnd.jupyter-aisec.login+json"

    nonce: str


class PolicyChange(Statement, frozen=True, kw_only=True):
    payload_type: ClassVar[str] = "application/vnd.jupyter-aisec.policy+json"

    policy_sha256: str  # of the policy's canonical JSON
    replaces: int  # the policy version it replaces


class Declassification(Statement, frozen=True, kw_only=True):
    """Labels of one artifact version are dropped; signed by whoever begins it and others."""

    payload_type: ClassVar[str] = "application/vnd.jupyter-aisec.declassification+json"

    artifact: str
    version: int
    seal_id: str
    manifest_sha256: str  # of the manifest's payload, as signed: what exactly is declassified
    drops: tuple[str, ...]  # labels, sorted, distinct
    reason: str
    policy_version: int
    checkpoint: str  # "<size>:<root, base64>" of the last ledger checkpoint its beginner saw


class ReleaseStatement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the broker, and no person, signs over each key release: HPKE base names no sender."""

    payload_type: ClassVar[str] = "application/vnd.jupyter-aisec.release+json"

    entry: int  # the index of the ledger entry that logged it
    action: str
    grant: str
    seal_id: str
    kernel: str
    keys_sha256: str  # of the canonical JSON of the encrypted keys


class OutputReleaseStatement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the broker signs over each release of an output's content key."""

    payload_type: ClassVar[str] = "application/vnd.jupyter-aisec.output-release+json"

    entry: int  # the index of the ledger entry that logged it
    action: str
    ciphertext_sha256: str  # of the output
    kernel: str
    key_sha256: str  # of the encrypted content key
