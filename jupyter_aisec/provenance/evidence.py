"""What a verification holds in its hands, and the report that comes out of it."""

from __future__ import annotations

from collections.abc import Mapping

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

__all__ = ["Check", "Evidence", "Report", "SealedBytes", "require_one_signature"]


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


class Evidence:
    """What is given, and what the checks before have established.

    An attribute is set by the check that establishes it; a check that needs it rests on that
    check, and is not run unless it held.
    """

    data: bytes  # the bundle's
    trust: Trust
    manifest: bytes  # the file at hand
    sealed: Mapping[str, SealedBytes]  # the files at hand, by name at the store
    strangers: tuple[str, ...] = ()  # what else lies there, by name
    model_signature: bytes | None = None  # the file at hand; None where there is none
    bundle: Bundle
    checkpoint: Checkpoint
    chain: Chain
    directory: Directory
    policies: Policies
    genesis: Genesis
    record: Record
    observation: Observation | None
    record_envelope: Envelope
    observation_envelope: Envelope | None
    run_index: int  # of the entry that records the run, or that will
    seat: Binding  # the last seat that the kernel took before it sealed
    output_entry: Entry
    output: ArtifactSealed
    differences: tuple[Difference, ...]

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
        seat = self.chain.seat(kernel, index)
        for place in (seat.entry.index, index):
            self.require_signer(seat.envelope, person, place)
        return seat.binding


def require_one_signature(envelope: Envelope, what: str) -> None:
    """Raises SignatureError unless there is exactly one: another would be unchecked bytes."""
    if len(envelope.signatures) != 1:
        raise SignatureError(f"{what} carries {len(envelope.signatures)} signatures, not one.")
