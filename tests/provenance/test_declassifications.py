"""Labels that were dropped: what was dropped as it may be verifies, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ulid import ULID

from jupyter_aisec import grants
from jupyter_aisec.errors import RefusedError
from jupyter_aisec.grants import DEFAULT_POLICY_TEXT
from jupyter_aisec.grants.statements import Declassification, KeyRevocation
from jupyter_aisec.ledger import Checkpoint
from jupyter_aisec.ledger import bodies as b
from jupyter_aisec.people import SigningKey, sign_again
from jupyter_aisec.provenance import chain_of_custody, parse_bundle
from tests.provenance.forger import Forger, first_failed, replace, verify
from tests.provenance.world import ORIGIN, Walked, World, new_id, prepare

PHI = """
[[rule]]
name = "phi"
labels = ["phi"]
requesters = ["role:researcher"]
approvers = ["person:approver"]
approvals = 1
longest = "10m"
"""
SAME = 'same_person = [["researcher", "admin"]]\n'


def record(world: World, inputs: Any, seal_id: str) -> Walked:
    made = world.record(inputs, seal_id)
    signed = world.sign_run(world.sign_record(made), world.sign_observation(world.observe(made)))
    world.append(grants.propose_run(world.state, signed.body, world.now))
    return Walked(world, seal_id, made, signed, world.bundle(signed))


def next_kernel(world: World) -> None:
    """Another kernel, in another notebook, with a grant and a run of the same person."""
    world.keys[f"kernel before {len(world.keys)}"] = world.keys["kernel"]
    world.keys["kernel"] = SigningKey.generate()
    world.grant, world.run = new_id("grant"), new_id("run")
    world.seat = f"session:{ULID()}"


def walk(policy: str = DEFAULT_POLICY_TEXT + PHI) -> Walked:
    """A result of labelled data loses its label, and another kernel trains on it."""
    world, _ = prepare()
    world.apply_policy(policy, "researcher", "admin")
    world.seal("dataset/x", "researcher", labels=("phi",))
    next_kernel(world)
    world.request(("dataset/x",))
    world.approve()
    world.bind()
    world.release("dataset/x")
    for _ in range(2):
        world.seal("results/y", "kernel", labels=("phi",))
    world.declassify("results/y", "phi", by=("researcher", "approver"))
    next_kernel(world)
    world.request(("results/y@2",))
    world.approve()
    world.bind()
    opened = world.release("results/y")
    seal_id, _ = world.seal("weights/net", "kernel")
    return record(world, (opened,), seal_id)


@pytest.fixture(scope="module")
def walked() -> Walked:
    return walk()


def test_a_chain_in_which_a_label_was_dropped_verifies(walked: Walked) -> None:
    assert verify(walked, walked.bundle).ok
    types = [one.type for one in parse_bundle(walked.bundle).entries]
    # With the first version of the name, which says whose it is.
    assert (types.count("artifact.declassified"), types.count("artifact.sealed")) == (1, 3)


def test_the_chain_of_custody_says_who_dropped_it(walked: Walked) -> None:
    (index,) = [one.index for one in walked.world.entries if one.type == "artifact.declassified"]
    said = f"label phi dropped in entry {index} by researcher with approver: Aggregates only"
    assert said in str(chain_of_custody(parse_bundle(walked.bundle)))
    (check,) = [
        one for one in verify(walked, walked.bundle).checks if one.name == "declassifications"
    ]
    assert check.detail == "phi of results/y version 2 by researcher with approver"


def test_the_terms_of_a_request_are_those_without_the_label(walked: Walked) -> None:
    """An hour was asked, and the rule of the label allows ten minutes."""
    assert walked.world.state.grant(walked.world.grant).terms.seconds == 3600
    (check,) = [one for one in verify(walked, walked.bundle).checks if one.name == "requests"]
    assert check.ok


def test_what_the_kernel_opened_with_the_label_may_flow_without_it_once_it_is_dropped() -> None:
    world, inputs = prepare()
    with pytest.raises(RefusedError, match="labels: internal"):
        world.seal("weights/net", "kernel")
    world.declassify("dataset/digits", "internal", by=("researcher", "approver"))
    seal_id, _ = world.seal("weights/net", "kernel")
    walked = record(world, inputs, seal_id)
    assert verify(walked, walked.bundle).ok
    assert "label internal dropped in entry" in str(chain_of_custody(parse_bundle(walked.bundle)))


def test_what_is_dropped_after_the_sealing_changes_nothing_that_was_signed() -> None:
    world, inputs = prepare()
    seal_id, _ = world.seal("weights/net", "kernel", labels=("internal",))
    world.declassify("weights/net", "internal", by=("admin", "approver"))
    world.declassify("dataset/digits", "internal", by=("researcher", "approver"))
    walked = record(world, inputs, seal_id)
    assert verify(walked, walked.bundle).ok
    text = str(chain_of_custody(parse_bundle(walked.bundle)))
    assert "by admin with approver" in text


def test_a_name_whose_versions_lost_labels_is_judged_by_all_that_is_shown() -> None:
    """The first version, which is there to say whose it is, comes with what it lost."""
    world, _ = prepare()
    world.apply_policy(DEFAULT_POLICY_TEXT + PHI, "researcher", "admin")
    for _ in range(2):
        world.seal("results/y", "researcher", labels=("phi",))
        world.declassify("results/y", "phi", by=("researcher", "approver"))
    next_kernel(world)
    world.request(("results/y",))
    world.approve()
    world.bind()
    opened = world.release("results/y")
    seal_id, _ = world.seal("weights/net", "kernel")
    walked = record(world, (opened,), seal_id)
    assert verify(walked, walked.bundle).ok
    types = [one.type for one in parse_bundle(walked.bundle).entries]
    assert types.count("artifact.declassified") == 2


Forgery = Callable[[Forger], None]
FORGERIES: dict[str, tuple[str, Forgery]] = {}


def forgery(check: str) -> Callable[[Forgery], Forgery]:
    def register(forge: Forgery) -> Forgery:
        FORGERIES[forge.__name__] = (check, forge)
        return forge

    return register


def _drop(f: Forger, *signers: str, body: dict[str, Any] | None = None, **changes: Any) -> None:
    """The declassification, otherwise than it was, in order for whoever does not ask."""
    _, old = f.find(b.ArtifactDeclassified)
    by = f.resign(old.by, Declassification, *signers, **changes)
    said = {name: changes[name] for name in ("drops", "seal_id", "version") if name in changes}
    f.change(b.ArtifactDeclassified, 0, by=by, **(said | (body or {})))


def _in_the_place_of(f: Forger, instead: b.Body) -> None:
    f.changes[f.find(b.ArtifactDeclassified)[0]] = instead


@forgery("requests")
def label_that_nobody_dropped(f: Forger) -> None:
    _in_the_place_of(f, b.EndingConfirmed(grant="grant_other", kernel="sha256:0", how="killed"))


@forgery("declassifications")
def dropped_by_one_person(f: Forger) -> None:
    _drop(f, "researcher")


@forgery("declassifications")
def dropped_by_one_who_does_not_own_it(f: Forger) -> None:
    _drop(f, "bystander", "approver", person="bystander")


@forgery("declassifications")
def dropped_with_one_whom_a_rule_does_not_name(f: Forger) -> None:
    _drop(f, "researcher", "admin")


@forgery("declassifications")
def dropped_with_one_named_and_one_not(f: Forger) -> None:
    _drop(f, "researcher", "approver", "admin")


@forgery("declassifications")
def dropped_in_the_name_of_another(f: Forger) -> None:
    _drop(f, "approver", "admin")


@forgery("declassifications")
def dropped_with_the_signature_of_nobody(f: Forger) -> None:
    _, body = f.find(b.ArtifactDeclassified)
    by = sign_again(body.by, SigningKey.generate())
    f.change(b.ArtifactDeclassified, 0, by=by)


@forgery("declassifications")
def dropped_with_a_reason_changed_afterwards(f: Forger) -> None:
    _, body = f.find(b.ArtifactDeclassified)
    payload = body.by.payload.replace(b"Aggregates", b"Everything")
    f.change(b.ArtifactDeclassified, 0, by=replace(body.by, payload=payload))


@forgery("declassifications")
def dropped_of_another_seal(f: Forger) -> None:
    _drop(f, "researcher", "approver", seal_id="seal_other", body={"seal_id": _seal_id(f)})


@forgery("declassifications")
def dropped_of_another_manifest(f: Forger) -> None:
    _drop(f, "researcher", "approver", manifest_sha256="0" * 64)


@forgery("declassifications")
def dropped_of_another_version(f: Forger) -> None:
    _drop(f, "researcher", "approver", version=1)


@forgery("declassifications")
def dropped_more_than_was_signed(f: Forger) -> None:
    _drop(f, "researcher", "approver", body={"drops": ("other", "phi")})


@forgery("declassifications")
def dropped_what_it_does_not_carry(f: Forger) -> None:
    _drop(f, "researcher", "approver", drops=("other", "phi"))


@forgery("declassifications")
def dropped_under_an_older_policy(f: Forger) -> None:
    _drop(f, "researcher", "approver", policy_version=0)


@forgery("declassifications")
def dropped_for_another_ledger(f: Forger) -> None:
    _drop(f, "researcher", "approver", origin="evil.example")


@forgery("declassifications")
def dropped_with_a_key_that_was_revoked(f: Forger) -> None:
    key_id = f.world.keys["approver"].public.key_id
    by = f.world.sign(KeyRevocation, "admin", key_id=key_id)
    f.changes[f.spare] = b.KeyRevoked(person="approver", key_id=key_id, by=by)


@forgery("declassifications")
def dropped_of_a_name_whose_owner_is_not_shown(f: Forger) -> None:
    index, body = f.find(b.ArtifactSealed, 4)
    assert (body.artifact, body.version) == ("results/y", 1)
    f.changes[index] = replace(body, artifact="results/z")


@forgery("same ledger")
def dropped_while_looking_at_another_ledger(f: Forger) -> None:
    size = f.find(b.ArtifactDeclassified)[0]
    _drop(f, "researcher", "approver", checkpoint=Checkpoint(ORIGIN, size, bytes(32)).brief)


def _seal_id(f: Forger) -> str:
    return str(f.find(b.ArtifactDeclassified)[1].seal_id)


@pytest.mark.parametrize("name", FORGERIES)
def test_a_declassification_that_a_dishonest_broker_wrote_is_noticed(
    walked: Walked, name: str
) -> None:
    check, forge = FORGERIES[name]
    forger = Forger(walked)
    forge(forger)
    report = verify(walked, forger.bundle())
    assert first_failed(report) == check, [one for one in report.checks if not one.ok]


def test_a_forger_who_changes_nothing_is_not_noticed(walked: Walked) -> None:
    assert verify(walked, Forger(walked).bundle()).ok


def test_one_person_and_their_second_account_drop_no_label() -> None:
    """The admin, whom every rule names, is the owner's second account."""
    named = DEFAULT_POLICY_TEXT.replace('["role:approver"]', '["role:approver", "role:admin"]')
    phi = PHI.replace('["person:approver"]', '["person:approver", "person:admin"]')
    # Without the line in the policy all that it took is there, and only the statement differs.
    for same, failed in (("", "statement"), (SAME, "declassifications")):
        forger = Forger(walk(same + named + phi))
        _drop(forger, "researcher", "admin")
        assert first_failed(verify(forger.walked, forger.bundle())) == failed
