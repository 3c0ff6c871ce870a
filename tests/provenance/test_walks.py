"""Other walks that are in order, and what a broker refuses to sign for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from jupyter_aisec import grants
from jupyter_aisec.errors import AisecError, LedgerError, RefusedError
from jupyter_aisec.grants import DEFAULT_POLICY_TEXT
from jupyter_aisec.people import SigningKey
from jupyter_aisec.provenance import Report, chain_of_custody, parse_bundle, verify_bundle
from jupyter_aisec.provenance.chain import Chain, collect
from tests.provenance.world import World, new_id, prepare

WAIVING = DEFAULT_POLICY_TEXT.replace("approvals = 1", "approvals = 0")


def _record(world: World, inputs: Any, seal_id: str, **changes: Any) -> tuple[Any, bytes]:
    record = world.record(inputs, seal_id, **changes)
    signed = world.sign_run(
        world.sign_record(record), world.sign_observation(world.observe(record))
    )
    world.append(grants.propose_run(world.state, signed.body, world.now))
    return signed, world.bundle(signed)


def _verify(world: World, seal_id: str, bundle: bytes) -> Report:
    return verify_bundle(
        bundle, world.trust, world.manifest_file(seal_id), world.sealed_files(seal_id)
    )


def _failed(report: Report) -> list[str]:
    return [f"{check.name}: {check.detail}" for check in report.checks if not check.ok]


def test_an_output_becomes_the_input_of_another_kernel() -> None:
    world, inputs = prepare()
    first, _ = world.seal("weights/first", "kernel", labels=("internal",))
    _record(world, inputs, first)
    world.keys["old kernel"] = world.keys["kernel"]
    world.keys["kernel"] = SigningKey.generate()
    world.grant, world.run = new_id("grant"), new_id("run")
    world.request(("weights/first",))
    world.approve()
    world.bind()
    opened = world.release("weights/first")
    second, _ = world.seal("weights/second", "kernel", labels=("internal",))
    _, bundle = _record(world, (opened,), second)
    assert _failed(_verify(world, second, bundle)) == []
    seats = [one for one in parse_bundle(bundle).entries if one.type == "seat.bound"]
    assert len(seats) == 2  # the first kernel's too: it signed the input


def test_what_the_kernel_opens_after_the_sealing_belongs_to_the_next_run() -> None:
    world, inputs = prepare()
    seal_id, _ = world.seal("weights/net", "kernel", labels=("internal",))
    later = new_id("grant")
    world.request(("dataset/other@1",), grant=later)
    world.approve(later)
    world.bind(later)
    world.release("dataset/other", grant=later)
    signed, bundle = _record(world, inputs, seal_id)
    assert signed.differences == ()
    assert signed.body.grant == world.grant
    assert _failed(_verify(world, seal_id, bundle)) == []


def test_what_a_saved_output_shows_is_an_input_too() -> None:
    world, inputs = prepare()
    gone = world.keys["kernel"].public.key_id
    world.append(grants.propose_ending(world.state, world.grant, gone, "exited", world.now))
    world.keys["kernel"] = SigningKey.generate()
    world.bind()
    shown = world.show("dataset/digits", "weights/minilm")
    seal_id, _ = world.seal("weights/net", "kernel", labels=("internal",))
    signed, bundle = _record(world, shown, seal_id)
    assert signed.differences == ()
    assert _failed(_verify(world, seal_id, bundle)) == []
    chosen = [one.type for one in parse_bundle(bundle).entries]
    assert "output.released" in chosen
    assert "keys.released" not in chosen  # they were another kernel's
    assert len(inputs) == len(shown)


def test_a_record_that_keeps_quiet_about_a_saved_output_is_signed_with_the_difference() -> None:
    world, inputs = prepare()
    grant = new_id("grant")
    world.request(("dataset/other",), grant=grant)
    world.approve(grant)
    world.bind(grant)
    world.show("dataset/other", grant=grant)
    seal_id, _ = world.seal("weights/net", "kernel", labels=("internal",))
    signed, bundle = _record(world, inputs, seal_id)
    assert [one.kind for one in signed.differences] == ["input-missing"]
    assert _failed(_verify(world, seal_id, bundle)) == []


def test_a_pinned_version_is_asked_for_by_its_own_labels() -> None:
    world = World()
    world.found()
    world.invite("approver", ("approver",), "admin", "researcher")
    world.apply_policy(
        DEFAULT_POLICY_TEXT
        + """
[[rule]]
name = "secret"
labels = ["secret"]
requesters = ["role:researcher"]
approvers = ["role:approver"]
approvals = 1
longest = "10m"
""",
        "researcher",
        "admin",
    )
    world.seal("dataset/digits", "researcher")
    world.seal("dataset/digits", "researcher", labels=("secret",))
    world.request(("dataset/digits@1",))
    world.approve()
    world.bind()
    pinned = world.release("dataset/digits")
    other = new_id("grant")
    world.request(("dataset/digits",), grant=other)
    world.approve(other)
    world.bind(other)
    last = world.release("dataset/digits", grant=other)
    seal_id, _ = world.seal("weights/net", "kernel", labels=("secret",))
    _, bundle = _record(world, (pinned, last), seal_id, grants=tuple(sorted((world.grant, other))))
    assert (pinned.version, last.version) == (1, 2)
    assert _failed(_verify(world, seal_id, bundle)) == []


def test_people_who_changed_keys_or_left_still_count_for_then() -> None:
    world = World()
    world.found()
    world.invite("approver", ("approver",), "admin", "researcher")
    world.invite("admin-2", ("admin",), "admin", "researcher")
    world.enrol("researcher", "researcher 2", "researcher")
    world.enrol("approver", "approver 2", "researcher", "admin")  # two admins vouch
    world.revoke("approver", by="approver")
    world.keys["approver"], world.keys["approver 1"] = (
        world.keys["approver 2"],
        world.keys["approver"],
    )
    world.revoke("researcher", by="admin")
    world.keys["researcher"] = world.keys["researcher 2"]
    world.seal("dataset/digits", "researcher")
    world.request(("dataset/digits",))
    world.approve()
    world.bind()
    opened = world.release("dataset/digits")
    seal_id, _ = world.seal("weights/net", "kernel")
    world.remove("approver", by="admin-2")
    _, bundle = _record(world, (opened,), seal_id)
    assert _failed(_verify(world, seal_id, bundle)) == []
    types = [one.type for one in parse_bundle(bundle).entries]
    assert types.count("key.revoked") == 2
    assert types.count("person.removed") == 1


def test_an_admin_who_left_is_counted_no_more_though_they_signed_nothing() -> None:
    world = World()
    world.found()
    world.invite("admin-2", ("admin",), "admin", "researcher")
    world.remove("admin-2", by="admin-2")
    world.invite("admin-3", ("admin",), "researcher", "admin")
    world.remove("admin", by="admin")
    world.remove("admin-3", by="admin-3")
    world.invite("approver", ("approver",), "researcher")  # the only admin there is
    world.enrol("approver", "approver 2", "researcher")
    world.seal("dataset/digits", "researcher")
    world.request(("dataset/digits",))
    world.approve()
    world.bind()
    opened = world.release("dataset/digits")
    seal_id, _ = world.seal("weights/net", "kernel")
    _, bundle = _record(world, (opened,), seal_id)
    assert _failed(_verify(world, seal_id, bundle)) == []
    types = [one.type for one in parse_bundle(bundle).entries]
    assert types.count("person.removed") == 3


def test_a_person_may_leave_by_themselves() -> None:
    world, inputs = prepare()
    seal_id, _ = world.seal("weights/net", "kernel", labels=("internal",))
    world.remove("approver", by="approver")
    _, bundle = _record(world, inputs, seal_id)
    assert _failed(_verify(world, seal_id, bundle)) == []


def test_a_policy_that_waives_approval_is_said_aloud() -> None:
    world = World()
    world.found()
    world.apply_policy(DEFAULT_POLICY_TEXT.replace('"4h"', '"2h"'), "researcher", "admin")
    world.apply_policy(WAIVING, "admin", "researcher")
    world.seal("dataset/digits", "researcher")
    world.request(("dataset/digits",))
    world.bind()
    opened = world.release("dataset/digits")
    seal_id, _ = world.seal("weights/net", "researcher")  # the person seals, not the kernel
    _, bundle = _record(world, (opened,), seal_id)
    report = _verify(world, seal_id, bundle)
    assert _failed(report) == []
    said = next(check.detail for check in report.checks if check.name == "approvals")
    assert said == f"no approval was demanded for {world.grant}"
    assert "no approval was demanded" in str(chain_of_custody(parse_bundle(bundle)))


# What a broker refuses to sign for.


@pytest.fixture
def ready() -> tuple[World, Any, str]:
    world, inputs = prepare()
    seal_id, _ = world.seal("weights/digits-net", "kernel", labels=("internal",))
    return world, inputs, seal_id


@pytest.mark.parametrize(
    ("changes", "key", "said"),
    [
        pytest.param({}, "researcher", "record", id="signed-by-another-key"),
        pytest.param({"origin": "evil"}, "kernel", "record", id="for-another-log"),
        pytest.param({"kernel": "sha256:0"}, "kernel", "seats", id="unbound-kernel"),
    ],
)
def test_a_broker_signs_only_what_would_verify(
    ready: tuple[World, Any, str], changes: dict[str, Any], key: str, said: str
) -> None:
    world, inputs, seal_id = ready
    record = world.record(inputs, seal_id, **changes)
    with pytest.raises(RefusedError, match=rf"\({said}\)") as caught:
        world.sign_run(world.sign_record(record, key), None)
    assert caught.value.code == "run-refused"


def test_a_record_of_what_was_never_sealed_is_refused(ready: tuple[World, Any, str]) -> None:
    world, inputs, seal_id = ready
    record = world.record(inputs, seal_id)
    output = msgspec.structs.replace(record.output, seal_id="seal_other")
    record = msgspec.structs.replace(record, output=output)
    with pytest.raises(LedgerError) as caught:
        world.sign_run(world.sign_record(record), None)
    assert caught.value.code == "chain-incomplete"


def test_a_record_that_keeps_quiet_about_an_input_is_signed_with_the_difference(
    ready: tuple[World, Any, str],
) -> None:
    world, inputs, seal_id = ready
    record = world.record(inputs[:1], seal_id, grants=())
    signed = world.sign_run(
        world.sign_record(record), world.sign_observation(world.observe(record))
    )
    assert [one.kind for one in signed.differences] == ["input-missing"]
    world.append(grants.propose_run(world.state, signed.body, world.now))
    assert _failed(_verify(world, seal_id, world.bundle(signed))) == []


def test_an_input_nobody_released_is_signed_with_the_difference(
    ready: tuple[World, Any, str],
) -> None:
    world, inputs, seal_id = ready
    other = msgspec.structs.replace(inputs[0], entry=2)
    record = world.record((other, inputs[1]), seal_id)
    signed = world.sign_run(
        world.sign_record(record), world.sign_observation(world.observe(record))
    )
    assert [one.kind for one in signed.differences] == ["input-unknown"]
    world.append(grants.propose_run(world.state, signed.body, world.now))
    assert _failed(_verify(world, seal_id, world.bundle(signed))) == []


# The chain itself.


def test_a_chain_without_its_parts_says_which() -> None:
    world, inputs = prepare()
    seal_id, _ = world.seal("weights/net", "kernel", labels=("internal",))
    record = world.record(inputs, seal_id)
    chosen = collect(world.entries, record)
    assert {one.type for one in chosen} >= {"genesis", "artifact.sealed", "keys.released"}
    chain = Chain(chosen[1:])
    for question in (
        lambda: chain.genesis,
        lambda: chain.run(record.run),
        lambda: chain.seat("sha256:0", 99),
        lambda: chain.sealed("seal_other"),
        lambda: Chain(()).genesis,
    ):
        with pytest.raises(AisecError) as caught:
            question()
        assert caught.value.code == "chain-incomplete"
