"""What a verification holds in its hands, and the report that comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import msgspec

from jupyter_aisec.errors import IdentityError, SignatureError, VerificationError
from jupyter_aisec.grants.statements import Binding
from jupyter_aisec.ledger.bodies import ArtifactSealed, Genesis
from jupyter_aisec.ledger.checkpoint import Checkpoint
from jupyter_aisec.ledger.entry import Entry
from jupyter_aisec.ledger.trust import Trust
from jupyter_aisec.people.directory import Directory
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.provenance.bundle import Bundle
from jupyter_aisec.provenance.chain import Chain
from jupyter_aisec.provenance.differences import Difference
from jupyter_aisec.provenance.facts import Observation, Record
from jupyter_aisec.provenance.roster import Policies

__all__ = [
    "Check",
    "Evidence",
    "Given",
    "Report",
    "Run",
    "SealedBytes",
    "read_run",
    "require_one_signature",
]


class SealedBytes(msgspec.Struct, frozen=True):
    """What lies at the store under one name: its size in bytes and SHA-256 in hex."""

    size: int
    sha256: str


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One numbered step: what it makes sure of, whether it held, and what was found."""

    number: int
    name: str
    ok: bool
    detail: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All checks, failed ones too."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every check held."""
        return all(check.ok for check in self.checks)

    def require(self) -> None:
        """Raises VerificationError naming the first check that failed."""
        for check in self.checks:
            if not check.ok:
                raise VerificationError(
                    f"Check {check.number} failed ({check.name}): {check.detail}",
                    next="Get the artifact and its bundle again from their source; if that does "
                    "not help, tell the admin of the broker.",
                )


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """What a verification is given: the files at hand, and the trust file."""

    bundle: bytes
    trust: Trust
    manifest: bytes
    sealed: Mapping[str, SealedBytes]  # by name at the store
    model_signature: bytes | None = None  # None where there is no such file
    strangers: tuple[str, ...] = ()  # what else lies there, by name


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A run as its signed accounts and its chain tell it; the checks find whether they may."""

    chain: Chain
    index: int  # of the entry that records the run, or that will
    record: Record
    observation: Observation | None
    record_envelope: Envelope
    observation_envelope: Envelope | None
    genesis: Genesis
    output_entry: Entry
    output: ArtifactSealed


def read_run(chain: Chain, record: Envelope, observation: Envelope | None, index: int) -> Run:
    """The run that ``record`` is of; raises an error of the family for what cannot be read."""
    facts = record.read(Record, Record.payload_type, "The record")
    seen = (
        None
        if observation is None
        else observation.read(Observation, Observation.payload_type, "The observation")
    )
    _, genesis = chain.genesis
    output_entry, output = chain.sealed(facts.output.seal_id)
    return Run(
        chain=chain,
        index=index,
        record=facts,
        observation=seen,
        record_envelope=record,
        observation_envelope=observation,
        genesis=genesis,
        output_entry=output_entry,
        output=output,
    )


class Evidence:
    """What is given, and what the checks before have established.

    Made :meth:`of` what a verification is given, or :meth:`before_signing` of a run alone. Every
    other attribute is set by the check that establishes it; a check that needs it rests on that
    check, and is not run unless it held.
    """

    given: Given
    bundle: Bundle
    run: Run
    checkpoint: Checkpoint
    directory: Directory
    policies: Policies
    seat: Binding  # the last seat that the kernel took before it sealed
    differences: tuple[Difference, ...]

    @classmethod
    def of(cls, given: Given) -> Self:
        evidence = cls()
        evidence.given = given
        return evidence

    @classmethod
    def before_signing(cls, run: Run) -> Self:
        """For the checks that need neither bundle nor trust file."""
        evidence = cls()
        evidence.run = run
        return evidence

    def require_signer(self, envelope: Envelope, person: str, index: int) -> None:
        """Raises unless ``person``, and nobody else, signed what entry ``index`` holds."""
        signer = self.directory.signer(envelope, index)
        if signer != person:
            raise IdentityError(
                f"A statement in the name of {person} is signed by {signer}.", code="signer-wrong"
            )

    def require_kernel(self, kernel: str, person: str, index: int) -> Binding:
        """The last seat that the kernel took before entry ``index``.

        Raises unless ``person`` signed for it, with a key that was valid then and is at
        ``index``: a key that was stolen and revoked takes every kernel it bound with it.
        """
        seat = self.run.chain.seat(kernel, index)
        for place in (seat.entry.index, index):
            self.require_signer(seat.envelope, person, place)
        return seat.binding


def require_one_signature(envelope: Envelope, what: str) -> None:
    """Raises SignatureError unless there is exactly one: another would be unchecked bytes."""
    if len(envelope.signatures) != 1:
        raise SignatureError(f"{what} carries {len(envelope.signatures)} signatures, not one.")
