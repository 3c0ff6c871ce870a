"""What other kernels of a seat opened is part of a run's chain, and seen offline."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_aisec import grants
from jupyter_aisec.errors import AisecError, RefusedError
from jupyter_aisec.grants import artifacts
from jupyter_aisec.ledger import bodies
from jupyter_aisec.people import SigningKey
from jupyter_aisec.provenance import Report, parse_bundle, run, verify_bundle
from jupyter_aisec.provenance.chain import Chain, collect
from tests.effort import examples
from tests.provenance.world import DIGEST, World, new_id, prepare


def second_key(world: World) -> None:
    """The notebook makes another key; who has the first is not said."""
    world.keys["first"] = world.keys["kernel"]
    world.keys["kernel"] = SigningKey.generate()


def recorded(world: World, seal_id: str, inputs: Any = ()) -> tuple[Any, bytes]:
    record = world.record(inputs, seal_id)
    signed = world.sign_run(
        world.sign_record(record), world.sign_observation(world.observe(record))
    )
    world.append(grants.propose_run(world.state, signed.body, world.now))
    return signed, world.bundle(signed)


def verify(world: World, seal_id: str, bundle: bytes) -> Report:
    return verify_bundle(
        bundle, world.trust, world.manifest_file(seal_id), world.sealed_files(seal_id)
    )


def test_a_run_by_a_second_key_says_what_the_first_one_opened() -> None:
    world, _ = prepare()
    second_key(world)
    world.bind()
    seal_id, _ = world.seal("weights/net", "kernel", labels=("internal",))
    signed, bundle = recorded(world, seal_id)
    assert [one.kind for one in signed.differences] == ["input-shared", "input-shared"]
    assert "dataset/digits version 1" in signed.differences[0].what
    assert verify(world, seal_id, bundle).ok
    types = [one.type for one in parse_bundle(bundle).entries]
    assert (types.count("seat.bound"), types.count("keys.released")) == (2, 2)


def test_what_it_opens_itself_and_names_is_no_difference() -> None:
    world, _ = prepare()
    second_key(world)
    world.bind()
    inputs = (world.release("dataset/digits"), world.release("weights/minilm"))
    seal_id, _ = world.seal("weights/net", "kernel", labels=("internal",))
    signed, bundle = recorded(world, seal_id, inputs)
    assert signed.differences == ()
    assert verify(world, seal_id, bundle).ok


def test_a_second_key_under_another_grant_of_the_seat_changes_nothing() -> None:
    world, _ = prepare()
    second_key(world)
    world.grant = new_id("grant")
    world.request(("dataset/other",))
    world.approve()
    world.bind()
    with pytest.raises(RefusedError, match="does not carry its labels"):
        world.seal("weights/net", "kernel")
    seal_id, _ = world.seal("weights/net", "kernel", labels=("internal",))
    signed, bundle = recorded(world, seal_id)
    assert [one.kind for one in signed.differences] == ["input-shared", "input-shared"]
    assert verify(world, seal_id, bundle).ok


def test_a_kernel_that_starts_after_the_first_one_was_confirmed_gone_is_fresh() -> None:
    world, _ = prepare()
    second_key(world)
    first = world.keys["first"].public.key_id
    world.append(grants.propose_ending(world.state, world.grant, first, "exited", world.now))
    world.bind()
    seal_id, _ = world.seal("weights/net", "kernel")
    signed, bundle = recorded(world, seal_id)
    assert signed.differences == ()
    assert verify(world, seal_id, bundle).ok


def test_a_broker_that_lets_a_second_key_shed_labels_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, _ = prepare()
    second_key(world)
    world.bind()
    monkeypatch.setattr(artifacts, "_check_labels", lambda *_: None)
    seal_id, _ = world.seal("weights/net", "kernel")
    with pytest.raises(RefusedError, match="lacks labels of dataset/digits: internal"):
        recorded(world, seal_id)
    checks = run.run_checks_before_signing

    def no_checks(evidence: Any) -> Report:
        checks(evidence)
        return Report(checks=())

    monkeypatch.setattr(run, "run_checks_before_signing", no_checks)
    _, bundle = recorded(world, seal_id)
    failed = [one.name for one in verify(world, seal_id, bundle).checks if not one.ok]
    assert failed == ["output", "manifest", "sealed files", "model signature"]


# -- what the broker counts and what a bundle shows are the same

steps = st.lists(
    st.tuples(
        st.sampled_from(["bind", "release", "confirm"]), st.integers(0, 2), st.integers(0, 2)
    ),
    max_size=12,
)


@settings(max_examples=examples(40), deadline=None)
@given(steps=steps)
def test_a_bundle_counts_as_the_broker_did(steps: list[tuple[str, int, int]]) -> None:
    world, _ = prepare()
    names = [world.grant]
    seat = world.seat
    for place in (seat, f"{seat[:-4]}0000"):
        names.append(new_id("grant"))
        world.seat = place
        world.request(("weights/minilm",), grant=names[-1])
        world.approve(names[-1])
    world.keys |= {f"kernel {n}": SigningKey.generate() for n in (1, 2)}
    kernels = ["kernel", "kernel 1", "kernel 2"]
    for what, number, of in steps:
        grant, kernel = names[of], kernels[number]
        key_id = world.keys[kernel].public.key_id
        world.seat = world.state.grant(grant).request.seat
        try:
            if what == "bind":
                world.bind(grant, kernel)
            elif what == "release":
                artifact = world.state.grant(grant).artifacts[number % 2 if of == 0 else 0]
                world.append(
                    grants.propose_release(
                        world.state, grant, artifact, None, None, key_id, new_id("action"),
                        DIGEST, world.now,
                    )
                )  # fmt: skip
            else:
                world.append(grants.propose_ending(world.state, grant, key_id, "exited", world.now))
        except AisecError:  # not legal here: nothing happened
            continue
    for kernel in kernels:
        key = world.keys[kernel]
        if key.public.key_id not in world.state.kernels:
            continue
        labels = tuple(sorted(world.state.labels(key.public.key_id)))
        seal_id, _ = world.seal(f"results/{new_id('run')[-8:].lower()}", kernel, labels=labels)
        world.keys["kernel"], before = key, world.keys["kernel"]
        record = world.record((), seal_id)
        world.keys["kernel"] = before
        chain = Chain(collect(world.entries, record))
        sealed = chain.sealed(seal_id)[0].index
        shown = chain.flow(sealed).counted(key.public.key_id)
        counted = world.state.flow.counted(key.public.key_id)
        assert {one.seal_id for _, one in shown} == set(counted)
        released = [body for _, body in chain.all(bodies.KeysReleased)]
        assert {body.seal_id for body in released} >= set(counted)
