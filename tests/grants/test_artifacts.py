"""The catalog, the labels that flow through it, and runs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from jupyter_aisec.errors import (
    ConflictError,
    IdentityError,
    LedgerError,
    MalformedError,
    NotFoundError,
    RefusedError,
    SignatureError,
)
from jupyter_aisec.grants import (
    propose_ending,
    propose_enrolment,
    propose_run,
    propose_sealed,
)
from jupyter_aisec.ledger.bodies import RunRecorded
from jupyter_aisec.people.dsse import Envelope, Signature, sign
from tests.grants.world import (
    KEYS,
    Kernel,
    World,
    place,
    policy,
    refused,
    sha256,
    stocked,
    ulid,
)

WRAPPED = {"key_1": sha256("1"), "key_2": sha256("2")}


def working(world: World, *artifacts: str) -> tuple[str, Kernel]:
    """A kernel that has opened the artifacts."""
    grant = world.ask(*artifacts)
    world.approve(grant)
    kernel = world.bind(grant)
    for artifact in artifacts:
        world.release(grant, kernel, artifact)
    return grant, kernel


def run_of(grant: str, kernel: Kernel, seal_id: str) -> RunRecorded:
    return RunRecorded(
        run=f"run_{ulid(1)}",
        grant=grant,
        kernel=kernel.id,
        seal_ids=(seal_id,),
        record_sha256=sha256("r"),
        observation_sha256=None,
        differences=0,
        statement_sha256=sha256("s"),
    )


def test_versions_are_counted_by_name() -> None:
    world = stocked()
    seal_id = world.seal("dataset/digits")
    catalog = world.state.catalog
    assert catalog.names == ("dataset/digits", "weights/minilm")
    assert catalog.find("dataset/digits").seal_id == seal_id
    assert [one.version for one in catalog.versions("dataset/digits")] == [1, 2]
    assert catalog.find("dataset/digits", 1).wrapped_sha256 == WRAPPED


MANIFESTS: dict[str, tuple[dict[str, Any], str]] = {
    "a name that is none": ({"artifact": "models/x"}, "artifact-name-invalid"),
    "no keys": ({"keys": []}, "wrapped-key-missing"),
    "a key that was not wrapped": ({"keys": [{"key_id": "key_3"}]}, "wrapped-key-missing"),
    "a parent that is not there": ({"parents": ["seal_x"]}, "parent-unknown"),
    "no form": ({"labels": 7}, "manifest-invalid"),
}


@pytest.mark.parametrize("fault", MANIFESTS)
def test_a_manifest_that_is_refused(fault: str) -> None:
    world = stocked()
    fields, code = MANIFESTS[fault]
    with refused(code):
        world.seal(**{"artifact": "dataset/new", **fields})


def test_what_is_no_manifest_has_no_digest_or_no_place_is_refused() -> None:
    world = stocked()
    manifest = world.manifest("dataset/new")
    with refused("manifest-invalid", MalformedError):
        propose_sealed(world.state, world.request(), "file:///x", WRAPPED, world.now)
    with refused("digest-invalid", MalformedError):
        wrapped = {**WRAPPED, "key_1": "x"}
        propose_sealed(world.state, manifest, place(manifest), wrapped, world.now)


PLACES: dict[str, tuple[str, str]] = {
    "none": (" ", "url-refused"),
    "another host": ("http://host/{}", "url-refused"),
    "an index that points anywhere": ("reference://d::file:///store/{}", "url-refused"),
    "a step upwards": ("file:///store/../{}", "url-refused"),
    "any file": ("file:///home/rita/.ssh/id_ed25519", "url-elsewhere"),
    "the place of another version": ("file:///store/dataset/new/seal_x", "url-elsewhere"),
    "a folder that only ends alike": ("file:///store/x{}", "url-elsewhere"),
}


@pytest.mark.parametrize("fault", PLACES)
def test_a_place_where_no_version_may_lie(fault: str) -> None:
    world = stocked()
    manifest = world.manifest("dataset/new")
    url, code = PLACES[fault]
    url = url.format(place(manifest).removeprefix("file:///store/"))
    with refused(code, MalformedError):
        propose_sealed(world.state, manifest, url, WRAPPED, world.now)
    body = propose_sealed(world.state, manifest, place(manifest), WRAPPED, world.now)
    with refused("entry-illegal", LedgerError):
        world.append(msgspec.structs.replace(body, url=url))
    world.append(body)


def test_a_seal_id_and_a_manifest_enter_the_catalog_once() -> None:
    world = stocked()
    manifest = world.manifest("dataset/new")
    world.append(propose_sealed(world.state, manifest, place(manifest), WRAPPED, world.now))
    with refused("sealed-already", ConflictError):
        propose_sealed(world.state, manifest, place(manifest), WRAPPED, world.now)
    seal_id = world.state.catalog.find("dataset/new").seal_id
    with refused("sealed-already", ConflictError):
        world.seal("weights/other", seal_id=seal_id)


def test_a_manifest_is_signed_by_one_who_is_known() -> None:
    world = stocked()
    with refused("signer-unknown", IdentityError):
        world.seal("dataset/new", KEYS[9])
    genuine = world.manifest("dataset/new")
    forged = Envelope(
        payload=genuine.payload,
        payload_type=genuine.payload_type,
        signatures=world.manifest("dataset/new").signatures,
    )
    with pytest.raises(SignatureError):
        propose_sealed(world.state, forged, place(forged), WRAPPED, world.now)
    _, kernel = working(world, "dataset/digits")
    others = sign(genuine.payload, genuine.payload_type, kernel.key).signatures
    for signatures in (
        (),
        (*genuine.signatures, *others),
        (*others, *genuine.signatures),
        (*genuine.signatures, *genuine.signatures),
        (*genuine.signatures, Signature(keyid="sha256:x", sig=b"")),
    ):
        other = msgspec.structs.replace(genuine, signatures=signatures)
        with refused("signer-unknown", IdentityError):
            propose_sealed(world.state, other, place(other), WRAPPED, world.now)


def test_a_kernel_seals_after_its_grant_has_ended_for_whoever_holds_the_seat() -> None:
    world = stocked()
    _, kernel = working(world, "dataset/digits")
    world.later(days=3)
    world.seal("weights/net", kernel.key)
    assert world.state.catalog.find("weights/net").by == "researcher"
    world.remove("researcher")
    with refused("person-removed", IdentityError):
        world.seal("weights/net", kernel.key)


def test_a_stolen_key_takes_the_kernels_that_it_bound_with_it() -> None:
    world = stocked()
    stolen = world.keys["researcher"].public.key_id
    grant, thief = working(world, "dataset/digits")
    seal_id = world.seal("weights/net", thief.key)
    world.append(
        propose_enrolment(
            world.state, world.enrolment("researcher", KEYS[9], "researcher"), world.now
        )
    )
    world.keys["researcher"] = KEYS[9]
    _, honest = working(world, "dataset/digits")
    world.revoke_key(stolen, "admin")
    with refused("key-not-valid", IdentityError):
        world.seal("weights/net", thief.key)
    with refused("key-not-valid", IdentityError):
        propose_run(world.state, run_of(grant, thief, seal_id), world.now)
    world.seal("weights/net", honest.key)
    # Bound again, with a key that is valid, the first kernel is the person's again.
    again = world.ask("dataset/digits")
    world.approve(again)
    world.bind(again, thief)
    assert world.state.flow.counted(thief.id)
    world.seal("weights/net", thief.key)
    world.append(propose_run(world.state, run_of(grant, thief, seal_id), world.now))


def test_labels_flow_from_parents_and_from_all_that_the_kernel_opened() -> None:
    world = stocked()
    secret = world.seal("dataset/secret", labels=["phi"])
    with refused("labels-missing", RefusedError):
        world.seal("weights/net", parents=[secret])
    world.seal("weights/net", parents=[secret], labels=["phi", "more"])

    grant, kernel = working(world, "dataset/secret", "dataset/digits")
    with refused("labels-missing", RefusedError):
        world.seal("weights/mine", kernel.key, parents=[])
    child = world.seal("weights/mine", kernel.key, labels=["phi"])
    with refused("labels-missing", RefusedError):
        world.seal("weights/grandchild", parents=[child])

    world.append(propose_ending(world.state, grant, kernel.id, "exited", world.now))
    _, other = working(world, "dataset/digits")
    world.seal("weights/plain", other.key)


def test_the_strictest_rule_of_the_labels_opened_applies_to_what_is_made_of_them() -> None:
    base = policy().rule[0]
    phi = msgspec.structs.replace(base, name="phi", artifacts=(), labels=("phi",), approvals=2)
    world = stocked(policy(rules=(base, phi)))
    secret = world.seal("dataset/secret", labels=["phi"])
    world.seal("weights/net", parents=[secret], labels=["phi"])
    assert world.state.grants[world.ask("weights/net")].terms.approvals == 2
    assert world.state.grants[world.ask("weights/minilm")].terms.approvals == 1


def test_policy_says_who_seals_a_new_name_and_the_owner_adds_versions() -> None:
    world = stocked(policy(sealers=("role:researcher", "person:admin")))
    with refused("sealer-not-allowed", RefusedError):
        world.seal("dataset/new", world.keys["approver"])
    world.seal("dataset/mine", world.keys["researcher"])
    world.seal("dataset/mine", world.keys["researcher"])
    world.seal("dataset/mine", world.keys["admin"])
    with refused("not-the-owner", RefusedError):
        world.seal("dataset/mine", world.keys["approver"])
    world.apply_policy(policy(mode="observe", sealers=()))
    world.seal("dataset/mine", world.keys["approver"])
    world.seal("dataset/new", world.keys["approver"])


def test_policy_says_who_seals_a_new_version() -> None:
    world = stocked(policy(version_sealers=("owner", "role:approver")))
    world.seal("dataset/mine", world.keys["researcher"])
    world.seal("dataset/mine", world.keys["researcher"])
    world.seal("dataset/mine", world.keys["approver"])
    with refused("not-the-owner", RefusedError):
        world.seal("dataset/mine", world.keys["admin"])
    world.apply_policy(policy(version_sealers=()))
    for name in ("researcher", "admin"):
        with refused("not-the-owner", RefusedError):
            world.seal("dataset/mine", world.keys[name])
    world.apply_policy(policy(version_sealers=("person:researcher",)))
    world.seal("dataset/mine", world.keys["researcher"])


@pytest.mark.parametrize(
    "change",
    [{"version": 2}, {"by": "approver"}, {"seal_id": "seal_x"}, {"artifact": "dataset/x"}],
    ids=lambda change: next(iter(change)),
)
def test_an_entry_that_differs_from_its_manifest_is_refused(change: dict[str, Any]) -> None:
    world = stocked()
    manifest = world.manifest("dataset/new")
    body = propose_sealed(world.state, manifest, place(manifest), WRAPPED, world.now)
    with refused("entry-illegal", LedgerError):
        world.append(msgspec.structs.replace(body, **change))
    world.append(body)


def test_a_run_is_recorded_once_with_a_kernel_a_grant_and_outputs_that_are_there() -> None:
    world = stocked()
    grant, kernel = working(world, "dataset/digits")
    seal_id = world.seal("weights/net", kernel.key)
    run = run_of(grant, kernel, seal_id)
    other = world.ask()
    faults: list[tuple[dict[str, Any], str, type[Exception]]] = [
        ({"run": "run_1"}, "id-invalid", MalformedError),
        ({"kernel": "sha256:x"}, "kernel-unknown", NotFoundError),
        ({"grant": other}, "kernel-not-bound", RefusedError),
        ({"seal_ids": ("seal_x",)}, "seal-unknown", NotFoundError),
    ]
    for change, code, _ in faults:
        with refused(code):
            propose_run(world.state, msgspec.structs.replace(run, **change), world.now)
    world.append(propose_run(world.state, run, world.now))
    assert world.state.runs[run.run] == run
    with refused("run-recorded", ConflictError):
        propose_run(world.state, run, world.now)
    without = msgspec.structs.replace(run, run=f"run_{ulid(2)}", grant=None)
    world.append(propose_run(world.state, without, world.now))
