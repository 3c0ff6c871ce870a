"""A version that was sealed after it was asked for carries no label that nobody was asked about."""

from __future__ import annotations

import msgspec

from jupyter_aisec import grants
from jupyter_aisec.ledger.bodies import ArtifactSealed
from jupyter_aisec.provenance import Bundle, Report, parse_bundle, verify_bundle
from tests.provenance.forger import first_failed
from tests.provenance.world import World

replace = msgspec.structs.replace


def asked(*earlier: tuple[str, ...]) -> World:
    """A kernel with a grant for digits; ``earlier`` are the labels of its versions until then."""
    world = World()
    world.found()
    world.invite("approver", ("approver",), "admin", "researcher")
    for labels in earlier:
        world.seal("dataset/digits", "researcher", labels=labels)
    world.request(("dataset/digits",))
    world.approve()
    world.bind()
    return world


def made(world: World) -> tuple[Bundle, str]:
    """The bundle of what that kernel makes of the last version."""
    inputs = (world.release("dataset/digits"),)
    labels = tuple(sorted(world.state.catalog.find("dataset/digits").labels))
    seal_id, _ = world.seal("weights/digits-net", "kernel", labels=labels)
    record = world.record(inputs, seal_id)
    signed = world.sign_run(
        world.sign_record(record), world.sign_observation(world.observe(record))
    )
    world.append(grants.propose_run(world.state, signed.body, world.now))
    return parse_bundle(world.bundle(signed)), seal_id


def verified(world: World, bundle: Bundle, seal_id: str) -> Report:
    return verify_bundle(
        bundle.to_bytes(), world.trust, world.manifest_file(seal_id), world.sealed_files(seal_id)
    )


def versions(bundle: Bundle) -> list[int]:
    """Which of the versions of digits the bundle shows."""
    bodies = (one.entry.content() for one in bundle.entries)
    return [
        body.version
        for body in bodies
        if isinstance(body, ArtifactSealed) and body.artifact == "dataset/digits"
    ]


def test_earlier_versions_show_that_its_labels_were_known() -> None:
    world = asked(("internal",), ("phi",), ("internal", "phi"), ("eu",), ())
    world.seal("dataset/digits", "researcher", labels=("eu", "internal", "phi"))
    bundle, seal_id = made(world)
    assert verified(world, bundle, seal_id).ok
    assert versions(bundle) == [1, 2, 4, 6]  # the first with each label, and what was opened
    for kept in (2, 4):  # no bundle without them
        shown = [one for one in bundle.entries if _version(one) != kept]
        report = verified(world, replace(bundle, entries=tuple(shown)), seal_id)
        assert first_failed(report) == "releases"


def _version(proved: object) -> int | None:
    body = proved.entry.content()  # type: ignore[attr-defined]
    named = isinstance(body, ArtifactSealed) and body.artifact == "dataset/digits"
    return body.version if named else None


def test_a_version_that_was_there_when_it_was_asked_for_needs_no_other() -> None:
    world = asked(("internal",), ("internal", "phi"))
    bundle, seal_id = made(world)
    assert verified(world, bundle, seal_id).ok
    assert versions(bundle) == [2]
