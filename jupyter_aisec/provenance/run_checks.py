"""The checks of the run itself: what went in, what came out, and who says so."""

from __future__ import annotations

from jupyter_aisec.errors import (
    IdentityError,
    LedgerError,
    RefusedError,
    SealBrokenError,
    SignatureError,
)
from jupyter_aisec.grants.policy import names_person
from jupyter_aisec.grants.signed import payload_sha256
from jupyter_aisec.ledger.bodies import ArtifactSealed
from jupyter_aisec.ledger.entry import Entry
from jupyter_aisec.people.canonical import canonical
from jupyter_aisec.people.dsse import verify
from jupyter_aisec.provenance.chain import Release
from jupyter_aisec.provenance.differences import compare
from jupyter_aisec.provenance.evidence import Evidence, require_one_signature
from jupyter_aisec.provenance.labels import labels_at
from jupyter_aisec.provenance.statement import STATEMENT_TYPE, make_statement
from jupyter_aisec.sealed.manifest import SIGNATURE_FILE, Manifest, read_manifest

__all__ = [
    "check_differences",
    "check_files",
    "check_inputs",
    "check_manifest",
    "check_model_signature",
    "check_observation",
    "check_output",
    "check_record",
    "check_run_entry",
    "check_statement",
    "check_statement_signature",
    "read_sealed",
]


def check_inputs(e: Evidence) -> str:
    """Everything that counts as opened by the kernel was sealed by somebody the ledger knows.

    So is what the chain shows of other versions: for labels that were known before.
    """
    seal_ids = sorted({body.seal_id for _, body in _counted(e)})
    for seal_id in seal_ids:
        e.run.chain.sealed(seal_id)
    for entry, body in e.run.chain.all(ArtifactSealed):
        if body.seal_id != e.run.output.seal_id:
            read_sealed(e, entry, body)
    return f"{len(seal_ids)} sealed inputs"


def check_output(e: Evidence) -> str:
    """The output was sealed by the run's kernel or its person, and carries its inputs' labels."""
    manifest = read_sealed(e, e.run.output_entry, e.run.output)
    said = (e.run.record.output.artifact, e.run.record.output.manifest_sha256)
    if said != (e.run.output.artifact, payload_sha256(e.run.output.manifest)):
        raise LedgerError("The record names another output than what was sealed.")
    if e.run.output.by != e.seat.person:
        raise IdentityError(f"The output is {e.run.output.by}'s, the kernel {e.seat.person}'s.")
    for _, body in _counted(e):
        _, opened = e.run.chain.sealed(body.seal_id)
        labels = labels_at(e.run.chain, opened, e.run.output_entry.index)
        if missing := sorted(labels - set(manifest.labels)):
            raise LedgerError(
                f"The output lacks labels of {body.artifact}: {', '.join(missing)}.",
                code="labels-missing",
            )
    return f"{manifest.artifact} version {e.run.output.version}, {len(manifest.files)} files"


def _counted(e: Evidence) -> tuple[tuple[int, Release], ...]:
    """What counts as opened by the kernel up to the output, by the entries of the releases."""
    return e.run.chain.flow(e.run.output_entry.index).counted(e.run.record.kernel)


def read_sealed(e: Evidence, entry: Entry, body: ArtifactSealed) -> Manifest:
    """The manifest of a logged version, with its one signature checked."""
    manifest = read_manifest(body.manifest)
    if (manifest.artifact, manifest.seal_id) != (body.artifact, body.seal_id):
        raise LedgerError(f"Entry {entry.index} and its manifest differ.", code="manifest-differs")
    require_one_signature(body.manifest, "A manifest")
    key_id = body.manifest.signatures[0].keyid
    if e.directory.owner(key_id) is not None:
        e.require_signer(body.manifest, body.by, entry.index)
    else:  # a kernel sealed it, and whoever signed for its seat answers for that
        verify(body.manifest, e.require_kernel(key_id, body.by, entry.index).kernel_key)
    _require_sealer(e, entry, body)
    return manifest


def _require_sealer(e: Evidence, entry: Entry, body: ArtifactSealed) -> None:
    """That the policy let whoever sealed a new name do so; whose a name is, a bundle lacks."""
    _, policy = e.policies.at(entry.index)
    roles = e.directory.person(body.by).roles
    new = body.version == 1 and policy.mode == "enforce"
    if new and not names_person(policy.sealers, body.by, roles):
        raise RefusedError(
            f"The policy did not let {body.by} seal {body.artifact}.", code="sealer-not-allowed"
        )


def check_manifest(e: Evidence) -> str:
    """The manifest at hand is, byte for byte, the one that was logged."""
    if e.given.manifest != canonical(e.run.output.manifest):
        raise SealBrokenError("The manifest is not the one in the ledger.")
    return "the manifest is the one in the ledger"


def check_files(e: Evidence) -> str:
    """The files at hand have the sizes and digests of the manifest; none is missing or more."""
    if e.given.strangers:
        raise SealBrokenError(
            f"{e.given.strangers[0]} does not belong to this version.", code="seal-file-unknown"
        )
    manifest = read_manifest(e.run.output.manifest)
    for file in manifest.files:
        found = e.given.sealed.get(file.stored_as)
        if found is None:
            raise SealBrokenError(f"{file.stored_as} is missing.", code="seal-file-missing")
        if (found.size, found.sha256) != (file.sealed_size, file.sha256):
            raise SealBrokenError(f"{file.stored_as} was changed.")
    if more := sorted(e.given.sealed.keys() - {file.stored_as for file in manifest.files}):
        raise SealBrokenError(f"{more[0]} is not in the manifest.", code="seal-file-unknown")
    return f"{len(manifest.files)} sealed files"


def check_record(e: Evidence) -> str:
    """The record is signed by the kernel that held the seat, and meant for this ledger."""
    require_one_signature(e.run.record_envelope, "The record")
    seat = e.require_kernel(e.run.record.kernel, e.seat.person, e.run.index)
    verify(e.run.record_envelope, seat.kernel_key)
    if e.run.record.origin != e.run.genesis.origin:
        raise LedgerError("The record is meant for another ledger.")
    return f"{len(e.run.record.cells)} cells, {sum(one.steps for one in e.run.record.steps)} steps"


def check_observation(e: Evidence) -> str:
    """The observation is signed by the person, and is of this record and kernel."""
    if e.run.observation is None or e.run.observation_envelope is None:
        return "nobody watched from outside; the statement says so"
    require_one_signature(e.run.observation_envelope, "The observation")
    e.require_signer(e.run.observation_envelope, e.run.observation.person, e.run.index)
    said = (
        e.run.observation.origin,
        e.run.observation.person,
        e.run.observation.run,
        e.run.observation.kernel,
        e.run.observation.isolation,
        e.run.observation.record_sha256,
    )
    if said != (
        e.run.genesis.origin,
        e.seat.person,
        e.run.record.run,
        e.run.record.kernel,
        e.seat.isolation,
        payload_sha256(e.run.record_envelope),
    ):
        raise LedgerError("The observation is of another run.", code="observation-differs")
    return f"{len(e.run.observation.cells)} cells seen from outside"


def check_differences(e: Evidence) -> str:
    """What the observers disagree about is worked out again, not taken over."""
    releases = [
        (entry.index, body)
        for entry, body in e.run.chain.releases(e.run.record.kernel, e.run.output_entry.index)
    ]
    shared = e.run.chain.shared(e.run.record.kernel, e.run.output_entry.index)
    e.differences = compare(e.run.record, e.run.observation, releases, shared)
    if not e.differences:
        return "the observers agree"
    kinds = ", ".join(sorted({one.kind for one in e.differences}))
    return f"{len(e.differences)} differences, all signed: {kinds}"


def check_run_entry(e: Evidence) -> str:
    """The ledger's entry about the run says the same as the signed parts of the bundle."""
    _, body = e.run.chain.run(e.run.record.run)
    observation = e.run.observation_envelope
    said = (
        body.kernel,
        body.seal_ids,
        body.record_sha256,
        body.observation_sha256,
        body.differences,
        body.statement_sha256,
    )
    if said != (
        e.run.record.kernel,
        (e.run.output.seal_id,),
        payload_sha256(e.run.record_envelope),
        None if observation is None else payload_sha256(observation),
        len(e.differences),
        payload_sha256(e.bundle.statement),
    ):
        raise LedgerError("The entry about the run says something else.", code="run-differs")
    if body.grant is not None and body.grant not in e.run.chain.grants(e.run.record):
        raise LedgerError("The entry about the run names another grant.", code="run-differs")
    return f"{body.run} is entry {e.run.index}"


def check_statement_signature(e: Evidence) -> str:
    """The statement is signed by the broker of the genesis."""
    require_one_signature(e.bundle.statement, "The statement")
    verify(e.bundle.statement, e.run.genesis.broker_key)
    return f"signed by the broker of {e.run.genesis.origin}"


def check_statement(e: Evidence) -> str:
    """The statement says what follows from the entries, and nothing else: it is made again."""
    if e.bundle.statement.payload_type != STATEMENT_TYPE:
        raise SignatureError("The statement is not signed as an in-toto statement.")
    again = make_statement(
        e.run.chain, e.run.record_envelope, e.run.observation_envelope, e.differences
    )
    if canonical(again) != e.bundle.statement.payload:
        raise LedgerError("The statement says something else than the entries.")
    return "it says what the entries say"


def check_model_signature(e: Evidence) -> str:
    """The OpenSSF model signature is over these sealed files, by the broker's key."""
    e.bundle.model_signature.verify(e.run.output.manifest, e.run.genesis.model_key)
    if e.given.model_signature is None:
        return f"signed by the broker's model key; there is no {SIGNATURE_FILE} here"
    if e.given.model_signature != canonical(e.bundle.model_signature):
        raise SignatureError(f"The file {SIGNATURE_FILE} is not the signature of the bundle.")
    return "signed by the broker's model key"
