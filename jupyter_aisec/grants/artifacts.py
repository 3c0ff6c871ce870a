"""Sealed versions entering the catalog, with the labels they must carry; and runs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from jupyter_aisec.errors import (
    ConflictError,
    IdentityError,
    MalformedError,
    NotFoundError,
    RefusedError,
)
from jupyter_aisec.grants.catalog import ManifestFacts, read_manifest
from jupyter_aisec.grants.names import check_artifact, check_digest, check_id
from jupyter_aisec.grants.policy import names_person
from jupyter_aisec.grants.signatures import signing_keys
from jupyter_aisec.grants.signed import Signed, payload_sha256
from jupyter_aisec.grants.state import State
from jupyter_aisec.ledger.bodies import ArtifactSealed, RunRecorded
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.urls import check_store_url

__all__ = ["check_run", "check_sealed", "propose_run", "propose_sealed"]


def propose_sealed(
    state: State,
    manifest: Envelope,
    url: str,
    wrapped_sha256: Mapping[str, str],
    now: datetime,
) -> ArtifactSealed:
    """The entry for a new version: the next one of the name in ``manifest``.

    ``wrapped_sha256`` are the digests of the wrapped data keys, by key id. The manifest is
    signed by a person's key, or by a kernel that holds or held a seat: sealing needs no
    active grant.
    """
    facts = read_manifest(manifest)
    body = ArtifactSealed(
        artifact=facts.artifact,
        version=len(state.catalog.versions(facts.artifact)) + 1,
        seal_id=facts.seal_id,
        url=url,
        manifest=manifest,
        wrapped_sha256=dict(wrapped_sha256),
        by=_signer(state, manifest, facts).people[0],
    )
    check_sealed(state, body, state.time(now)).verify()
    return body


def check_sealed(state: State, body: ArtifactSealed, at: datetime) -> Signed[ManifestFacts]:
    """That the version may enter the catalog, by this person, with these labels."""
    facts = read_manifest(body.manifest)
    signed = _signer(state, body.manifest, facts)
    check_artifact(facts.artifact)
    expected = (
        facts.artifact,
        facts.seal_id,
        len(state.catalog.versions(facts.artifact)) + 1,
        signed.people[0],
    )
    if (body.artifact, body.seal_id, body.version, body.by) != expected:
        raise MalformedError("The entry and the manifest differ.", code="manifest-differs")
    if payload_sha256(body.manifest) in state.statements or state.catalog.sealed(facts.seal_id):
        raise ConflictError(
            f"What is sealed as {facts.seal_id[:80]} is in the catalog already.",
            next=f"`aisec artifact show {facts.artifact}` shows it.",
            code="sealed-already",
        )
    check_store_url(body.url)
    if not body.url.endswith(f"/{facts.artifact}/{facts.seal_id}"):
        raise MalformedError(
            f"{body.url[:140]!r} is not the place of {facts.artifact} as {facts.seal_id[:80]}.",
            next=f"Seal it below a URL, at {facts.artifact}/ and its seal id: "
            "`aisec artifact seal SRC NAME --to URL` does.",
            code="url-elsewhere",
        )
    if not facts.keys or not set(facts.key_ids) <= body.wrapped_sha256.keys():
        raise MalformedError(
            "A data key that the manifest names was not wrapped.", code="wrapped-key-missing"
        )
    for digest in body.wrapped_sha256.values():
        check_digest(digest, "The digest of a wrapped key")
    _check_labels(state, signed)
    _check_sealer(state, facts.artifact, body.by)
    return signed


def _signer(state: State, manifest: Envelope, facts: ManifestFacts) -> Signed[ManifestFacts]:
    """Who answers for a manifest: the person who signed it, or whose kernel did."""
    key_ids = [signature.keyid for signature in manifest.signatures]
    kernel = state.kernels.get(key_ids[0]) if key_ids else None
    person = state.directory.owner(key_ids[0]) if key_ids else None
    if len(key_ids) != 1 or (kernel is None and person is None):
        raise IdentityError(
            "A manifest is signed by one enrolled key, or by one kernel that took a seat.",
            next="Enrol this machine's key: `aisec key enroll`.",
            code="signer-unknown",
        )
    if kernel is None:
        signers = signing_keys(state, manifest)
    else:
        kernel.require_valid(state)
        signers = {kernel.person: kernel.key}
    return Signed(
        statement=facts, envelope=manifest, people=tuple(signers), keys=tuple(signers.values())
    )


def _check_labels(state: State, signed: Signed[ManifestFacts]) -> None:
    """Labels flow: from the parents, and from all that counts as opened by the sealing kernel."""
    facts = signed.statement
    opened = state.flow.counted(signed.keys[0].key_id)
    for seal_id in dict.fromkeys((*facts.parents, *opened)):
        source = state.catalog.sealed(seal_id)
        if source is None:
            raise NotFoundError(
                f"The parent {seal_id[:80]} is not in the catalog.",
                next="Seal the parent first.",
                code="parent-unknown",
            )
        if missing := sorted(source.labels - set(facts.labels)):
            raise RefusedError(
                f"{facts.artifact} was made with {source.artifact} version {source.version} and "
                f"does not carry its labels: {', '.join(missing)}.",
                next="Seal it with these labels. Another person's approval then drops one: "
                f"`aisec declassify {facts.artifact} --drop {missing[0]} --reason TEXT`.",
                code="labels-missing",
            )


def _check_sealer(state: State, artifact: str, person: str) -> None:
    """Who may seal: policy says who a new name, and who a new version of one."""
    if state.policy.mode == "observe":
        return
    roles = state.directory.person(person).roles
    versions = state.catalog.versions(artifact)
    if not versions and not names_person(state.policy.sealers, person, roles):
        raise RefusedError(
            f"The policy does not let {person} seal a new artifact.",
            next="Ask whoever may, or an admin: `aisec policy explain` shows who may.",
            code="sealer-not-allowed",
        )
    if versions and not state.policy.may_seal_version(person, roles, versions[0].by):
        raise RefusedError(
            f"{artifact} is {versions[0].by}'s: the policy does not let {person} add a version.",
            next="Seal it under a name of your own: `aisec artifact seal SRC NAME`.",
            code="not-the-owner",
        )


def propose_run(state: State, body: RunRecorded, now: datetime) -> RunRecorded:
    """The entry for a run whose statement the broker is about to sign."""
    check_run(state, body, state.time(now))
    return body


def check_run(state: State, body: RunRecorded, at: datetime) -> None:
    """That the run is new, and the kernel, the grant and what it sealed are in the ledger."""
    check_id(body.run, "run")
    if body.run in state.runs:
        raise ConflictError(
            f"The run {body.run} is recorded already.",
            next=f"`aisec run show {body.run}` shows it.",
            code="run-recorded",
        )
    kernel = state.kernels.get(body.kernel)
    if kernel is None:
        raise NotFoundError(
            "No kernel with this key ever took a seat.",
            next="Ask for a grant in this kernel first.",
            code="kernel-unknown",
        )
    kernel.require_valid(state)
    if body.grant is not None and not any(
        one.kernel == body.kernel for one in state.grant(body.grant).bindings
    ):
        raise RefusedError(
            f"This kernel never held the seat of {body.grant}.", code="kernel-not-bound"
        )
    for seal_id in body.seal_ids:
        if state.catalog.sealed(seal_id) is None:
            raise NotFoundError(
                f"{seal_id[:80]} is not in the catalog.",
                next="Seal the output before its run is recorded.",
                code="seal-unknown",
            )
