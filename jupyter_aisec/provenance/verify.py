"""Verification of a chain of custody: numbered checks, from the trust file to every byte.

The checks, in their order; each names the ones it rests on, and is not run (and does not
hold) where one of those failed::

     1 bundle            it has its one spelling, and every part can be read
     2 checkpoint        signed by the log key that the trust file pins, and by no other
     3 entries           every entry of the chain is under that checkpoint
     4 genesis           it is the one that the trust file pins
     5 people            every key was enrolled by somebody who might
     6 policy            every policy was signed by the admins it took
     7 declassifications each dropped label: by its owner or an admin, and enough others
     8 requests          signed then, and on terms no weaker than the policy's
     9 approvals         enough other people, each then and over that request or less
    10 reviews           by other people, where somebody broke the glass; what is owed is said
    11 same ledger       whoever approved looked at an earlier state of this ledger
    12 seats             every kernel took its seat in time, isolated enough
    13 releases          keys left only for that kernel, within the window, with known labels
    14 inputs            everything opened was sealed by somebody known, who might
    15 output            sealed by that kernel or person, with the labels of its inputs
    16 manifest          the one at hand is the one that was logged
    17 sealed files      sizes and digests are the manifest's, and nothing else lies there
    18 record            signed by the kernel that held the seat
    19 observation       signed by the person, of this very record
    20 differences       worked out again
    21 statement signed  by the broker's key of the genesis
    22 statement         made again from the entries: the same bytes
    23 run               its entry names these very bytes
    24 model signature   OpenSSF Model Signing over the sealed files

What a bundle cannot show is that nothing was left out of it, such as the revocation of a
key, nor how much a person asked for and opened within an hour: that takes the whole ledger
(``aisec audit verify``). docs/verify.md says what is checked and what is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from jupyter_aisec.errors import AisecError, LedgerError, SignatureError
from jupyter_aisec.ledger.checkpoint import open_checkpoint
from jupyter_aisec.ledger.merkle import verify_inclusion
from jupyter_aisec.ledger.trust import Trust, trust_of
from jupyter_aisec.provenance import grant_checks, review_checks, run_checks
from jupyter_aisec.provenance.bundle import parse_bundle
from jupyter_aisec.provenance.chain import Chain
from jupyter_aisec.provenance.declassifications import check_declassifications
from jupyter_aisec.provenance.evidence import (
    Check,
    Evidence,
    Given,
    Report,
    Run,
    SealedBytes,
    read_run,
)
from jupyter_aisec.provenance.facts import Record
from jupyter_aisec.provenance.roster import directory_of, policies_of, require_admins

__all__ = ["CHECKS", "Examined", "examine", "run_checks_before_signing", "verify_bundle"]


class Step(msgspec.Struct, frozen=True):
    """A check: its name, what it does, and the checks it rests on."""

    name: str
    run: Callable[[Evidence], str]
    needs: tuple[str, ...]


def verify_bundle(
    bundle: bytes,
    trust: Trust,
    manifest: bytes,
    sealed: Mapping[str, SealedBytes],
    model_signature: bytes | None = None,
) -> Report:
    """Check a run's bundle, its manifest's file and its sealed files against a trust file.

    ``sealed`` says what lies beside the manifest, by name at the store (``0000.sealed``);
    ``model_signature`` is the content of ``model.sig``, None where there is none: the bundle
    holds the signature either way.
    Nothing is raised for what is wrong with the bundle or the files: the report has it.
    """
    given = Given(
        bundle=bundle,
        trust=trust,
        manifest=manifest,
        sealed=sealed,
        model_signature=model_signature,
    )
    return examine(given).report


class Examined(msgspec.Struct, frozen=True):
    """The report on a bundle, and the run it is of: None where that cannot be read."""

    report: Report
    run: Run | None


def examine(given: Given) -> Examined:
    """The same, with the run; anything among the ``strangers`` fails the sealed files."""
    evidence = Evidence.of(given)
    report = _run(evidence, CHECKS)
    return Examined(report, evidence.run if report.checks[0].ok else None)


def run_checks_before_signing(evidence: Evidence) -> Report:
    """The checks that need neither bundle nor trust file, on a chain from the whole ledger."""
    return _run(evidence, tuple(step for step in CHECKS if step.name in _BEFORE_SIGNING))


def _run(evidence: Evidence, steps: Sequence[Step]) -> Report:
    checks: list[Check] = []
    numbers = {step.name: number for number, step in enumerate(steps, 1)}
    failed: set[str] = set()
    for step in steps:
        broken = next((name for name in step.needs if name in failed), None)
        if broken is None:
            try:
                ok, detail = True, step.run(evidence)
            except (AisecError, OverflowError) as error:  # the latter: a time beyond all years
                ok, detail = False, getattr(error, "what", "It names an impossible time.")
        else:
            ok, detail = False, f"not checked because {numbers[broken]} ({broken}) failed"
        if not ok:
            failed.add(step.name)
        checks.append(Check(number=numbers[step.name], name=step.name, ok=ok, detail=detail))
    return Report(checks=tuple(checks))


def _check_bundle(e: Evidence) -> str:
    e.bundle = parse_bundle(e.given.bundle)
    chain = Chain(one.entry for one in e.bundle.entries)
    run = e.bundle.record.read(Record, Record.payload_type, "The record").run
    recorded, _ = chain.run(run)
    e.run = read_run(chain, e.bundle.record, e.bundle.observation, recorded.index)
    return f"{len(e.bundle.entries)} entries, {len(e.given.bundle):,} bytes"


def _check_checkpoint(e: Evidence) -> str:
    e.checkpoint = open_checkpoint(e.bundle.checkpoint, e.given.trust.log_key)
    if e.bundle.checkpoint.rpartition("\n\n")[2].count("\n") != 1:
        raise SignatureError(
            "The ledger checkpoint carries signatures that nothing here checks.",
            code="checkpoint-cosigned",
        )
    if e.checkpoint.origin != e.given.trust.origin:
        raise LedgerError(f"The ledger checkpoint is of {e.checkpoint.origin[:80]!r}.")
    return f"{e.checkpoint.origin}, {e.checkpoint.size} entries"


def _check_entries(e: Evidence) -> str:
    at = ""
    for one in e.bundle.entries:
        verify_inclusion(
            one.entry.leaf_hash, one.index, e.checkpoint.size, one.proof, e.checkpoint.root
        )
        if one.at < at:
            raise LedgerError(f"Entry {one.index} is older than one before it.")
        at = one.at
    return f"{len(e.bundle.entries)} entries are in the ledger"


def _check_genesis(e: Evidence) -> str:
    entry, _ = e.run.chain.genesis
    if trust_of(entry) != e.given.trust:
        raise LedgerError("The ledger does not begin with the genesis that the trust file pins.")
    return f"genesis {entry.leaf_hash.hex()[:16]}…"


def _check_people(e: Evidence) -> str:
    e.directory = directory_of(e.run.chain)
    return ", ".join(person.name for person in e.directory.people)


def _check_policy(e: Evidence) -> str:
    e.policies = policies_of(e.run.chain, e.directory)
    require_admins(e.run.chain, e.directory, e.policies)
    return f"{len(e.policies.policies)} policies, the first from the genesis"


CHECKS: tuple[Step, ...] = (
    Step("bundle", _check_bundle, ()),
    Step("checkpoint", _check_checkpoint, ("bundle",)),
    Step("entries", _check_entries, ("checkpoint",)),
    Step("genesis", _check_genesis, ("entries",)),
    Step("people", _check_people, ("genesis",)),
    Step("policy", _check_policy, ("people",)),
    Step("declassifications", check_declassifications, ("policy",)),
    Step("requests", grant_checks.check_requests, ("declassifications",)),
    Step("approvals", grant_checks.check_approvals, ("requests",)),
    Step("reviews", review_checks.check_reviews, ("requests",)),
    Step("same ledger", grant_checks.check_seen, ("approvals",)),
    Step("seats", grant_checks.check_seats, ("approvals",)),
    Step("releases", grant_checks.check_releases, ("seats",)),
    Step("inputs", run_checks.check_inputs, ("seats",)),
    Step("output", run_checks.check_output, ("inputs",)),
    Step("manifest", run_checks.check_manifest, ("output",)),
    Step("sealed files", run_checks.check_files, ("output",)),
    Step("record", run_checks.check_record, ("seats",)),
    Step("observation", run_checks.check_observation, ("record",)),
    Step("differences", run_checks.check_differences, ("releases", "observation")),
    Step("statement signed", run_checks.check_statement_signature, ("genesis",)),
    Step("statement", run_checks.check_statement, ("reviews", "differences", "statement signed")),
    Step("run", run_checks.check_run_entry, ("differences",)),
    Step("model signature", run_checks.check_model_signature, ("output",)),
)
"""Every check, in the order of this module's description."""

_BEFORE_SIGNING = {
    "people",
    "policy",
    "declassifications",
    "requests",
    "approvals",
    "reviews",
    "seats",
    "releases",
    "inputs",
    "output",
    "record",
    "observation",
    "differences",
}
