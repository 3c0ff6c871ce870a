"""A binding's key that was revoked takes every kernel it bound with it, offline as online."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_aisec import grants
from jupyter_aisec.errors import RefusedError
from jupyter_aisec.grants import openings, propose_ending
from jupyter_aisec.grants.state import Kernel
from jupyter_aisec.people import SigningKey
from jupyter_aisec.provenance import Report, parse_bundle, run, verify_bundle
from tests.provenance.world import World, new_id


class Rotating(World):
    """A researcher with two keys, and a kernel that is bound with the first."""

    def __init__(self) -> None:
        super().__init__()
        self.found()
        self.invite("approver", ("approver",), "admin", "researcher")
        self.enrol("researcher", "new", "researcher")
        self.seal("dataset/digits", "researcher")
        self.request(("dataset/digits",))
        self.approve()
        self.bind()

    def rotate(self) -> None:
        """The first key is stolen: an admin revokes it, and the other one is used."""
        self.revoke("researcher", by="admin")
        self.keys["researcher"] = self.keys["new"]

    def ends(self, inputs: tuple[Any, ...], seal_id: str) -> bytes:
        """The run is signed for and recorded; its bundle."""
        record = self.record(inputs, seal_id)
        accounts = self.sign_record(record), self.sign_observation(self.observe(record))
        signed = self.sign_run(*accounts)
        self.append(grants.propose_run(self.state, signed.body, self.now))
        return self.bundle(signed)

    def next_kernel(self, *artifacts: str) -> tuple[Any, ...]:
        """Another kernel, once the one before is gone, and what it opens."""
        gone = self.keys["kernel"].public.key_id
        for grant in list(self.state.grants.values()):
            if gone in [one.kernel for one in grant.bindings]:
                self.append(propose_ending(self.state, grant.id, gone, "exited", self.now))
        self.keys["kernel"] = SigningKey.generate()
        self.grant, self.run = new_id("grant"), new_id("run")
        self.request(artifacts)
        self.approve()
        self.bind()
        return tuple(self.release(artifact) for artifact in artifacts)


class Lax(Rotating):
    """The broker does not ask whether the key was revoked; all else it logs is in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(openings, "_check_kernel", lambda *_: None)
        monkeypatch.setattr(Kernel, "require_valid", lambda *_: None)
        self.monkeypatch = monkeypatch
        super().__init__()

    def ends_badly(self, inputs: tuple[Any, ...], seal_id: str) -> bytes:
        """It signs for the run, too, whatever its checks say."""
        checks = run.run_checks_before_signing

        def no_checks(evidence: Any) -> Report:
            checks(evidence)
            evidence.differences = ()
            return Report(checks=())

        self.monkeypatch.setattr(run, "run_checks_before_signing", no_checks)
        return self.ends(inputs, seal_id)


@pytest.fixture
def lax(monkeypatch: pytest.MonkeyPatch) -> Lax:
    return Lax(monkeypatch)


def failed(world: World, seal_id: str, bundle: bytes) -> list[str]:
    """The checks that do not hold, but for those that rest on another."""
    report = verify_bundle(
        bundle, world.trust, world.manifest_file(seal_id), world.sealed_files(seal_id)
    )
    said = {check.name: check.detail for check in report.checks if not check.ok}
    assert all(
        "not valid at entry" in detail or detail.startswith("not checked")
        for detail in said.values()
    ), said
    return [name for name, detail in said.items() if not detail.startswith("not checked")]


@pytest.mark.parametrize(
    ("when", "checks"),
    [
        pytest.param("before the release", ["releases", "output", "record"], id="release"),
        pytest.param("before the sealing", ["output", "record"], id="sealing"),
        pytest.param("before the record", ["record"], id="record"),
        pytest.param("never", [], id="never"),
    ],
)
def test_a_revoked_binding_is_noticed(lax: Lax, when: str, checks: list[str]) -> None:
    if when == "before the release":
        lax.rotate()
    opened = lax.release("dataset/digits")
    if when == "before the sealing":
        lax.rotate()
    seal_id, _ = lax.seal("weights/net", "kernel")
    if when == "before the record":
        lax.rotate()
    assert failed(lax, seal_id, lax.ends_badly((opened,), seal_id)) == checks


def test_a_broker_does_not_sign_for_it(lax: Lax) -> None:
    lax.rotate()
    opened = lax.release("dataset/digits")
    seal_id, _ = lax.seal("weights/net", "kernel")
    with pytest.raises(RefusedError, match=r"\(releases\).*not valid at entry") as caught:
        lax.ends((opened,), seal_id)
    assert caught.value.code == "run-refused"


def test_what_a_kernel_of_a_revoked_key_sealed_is_no_input(lax: Lax) -> None:
    lax.release("dataset/digits")
    lax.rotate()
    lax.seal("weights/net", "kernel")
    opened = lax.next_kernel("weights/net")
    seal_id, _ = lax.seal("weights/second", "kernel")
    assert failed(lax, seal_id, lax.ends_badly(opened, seal_id)) == ["inputs"]


# What is in order.


def rotate_after_another_seat(world: Rotating) -> str:
    """The kernel takes the seat of another grant with the next key; then the first goes."""
    other = new_id("grant")
    world.seal("dataset/other", "researcher")
    world.request(("dataset/other",), grant=other)
    world.approve(other)
    world.keys["old"], world.keys["researcher"] = world.keys["researcher"], world.keys["new"]
    world.bind(other)
    world.revoke("old", by="admin")
    return other


def test_a_key_revoked_after_the_run_takes_nothing_away() -> None:
    world = Rotating()
    opened = world.release("dataset/digits")
    seal_id, _ = world.seal("weights/net", "kernel")
    bundle = world.ends((opened,), seal_id)
    world.rotate()
    assert failed(world, seal_id, bundle) == []


def test_a_seat_taken_with_the_next_key_holds() -> None:
    """Also where its grant has no part in the run: of that, the bundle has the seat alone."""
    world = Rotating()
    opened = world.release("dataset/digits")
    other = rotate_after_another_seat(world)
    seal_id, _ = world.seal("weights/net", "kernel")
    bundle = world.ends((opened,), seal_id)
    assert failed(world, seal_id, bundle) == []
    of_other = [
        one.type
        for one in parse_bundle(bundle).entries
        if getattr(one.entry.content(), "grant", None) == other
    ]
    assert of_other == ["seat.bound"]


def test_the_input_of_such_a_kernel_holds() -> None:
    world = Rotating()
    world.release("dataset/digits")
    rotate_after_another_seat(world)
    world.seal("weights/net", "kernel")
    opened = world.next_kernel("weights/net")
    seal_id, _ = world.seal("weights/second", "kernel")
    assert failed(world, seal_id, world.ends(opened, seal_id)) == []
