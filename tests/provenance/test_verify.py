"""Every single fault in a chain of custody fails the check that is named for it.

These are changes by somebody without the broker's keys; ``test_forgeries`` has the others.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_aisec.errors import MalformedError, VerificationError
from jupyter_aisec.ledger import (
    NoteSigner,
    Trust,
    sign_checkpoint,
)
from jupyter_aisec.people import SigningKey, canonical, sign, sign_again
from jupyter_aisec.provenance import (
    Report,
    SealedBytes,
    parse_bundle,
    verify_bundle,
)
from jupyter_aisec.provenance.bundle import SeenCheckpoint
from jupyter_aisec.provenance.evidence import Given
from jupyter_aisec.provenance.statement import STATEMENT_TYPE
from jupyter_aisec.provenance.verify import CHECKS, examine
from tests.effort import examples
from tests.provenance.forger import NAMES, first_failed, replace, verify
from tests.provenance.world import ORIGIN, Walked

# An honest bundle.


def test_an_honest_bundle_passes_every_check(walked: Walked) -> None:
    report = verify(walked, walked.bundle)
    assert [check.detail for check in report.checks if not check.ok] == []
    assert report.ok
    report.require()


def test_every_check_rests_on_earlier_ones() -> None:
    for number, step in enumerate(CHECKS):
        assert set(step.needs) <= set(NAMES[:number])


def test_people_without_a_part_in_it_are_not_told_of(walked: Walked) -> None:
    people = next(c.detail for c in verify(walked, walked.bundle).checks if c.name == "people")
    assert people == "researcher, admin, approver"
    assert b'"bystander"' not in b"".join(one.body for one in parse_bundle(walked.bundle).entries)


def test_a_failure_is_raised_by_its_number_and_name(walked: Walked) -> None:
    report = verify(walked, walked.bundle[:-1])
    with pytest.raises(VerificationError, match=r"^Check 1 failed \(bundle\): The bundle"):
        report.require()
    assert report.checks[1].detail == "not checked because 1 (bundle) failed"


# Bytes changed by somebody without keys.


@given(st.data())
@settings(max_examples=examples(60), deadline=None)
def test_any_flipped_bit_of_the_bundle_is_noticed(walked: Walked, data: st.DataObject) -> None:
    raw = bytearray(walked.bundle)
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    assert not verify(walked, bytes(raw)).ok


PLACES = [
    *("statement", "record", "observation", "checkpoint", "entries", "seen"),
    "model_signature",
]


@pytest.mark.parametrize("part", PLACES)
@given(st.data())
@settings(max_examples=examples(20), deadline=None)
def test_any_changed_value_of_a_part_is_noticed(
    walked: Walked, part: str, data: st.DataObject
) -> None:
    """Changes that keep the bundle well-formed JSON: one character of one value."""
    bundle = json.loads(walked.bundle)
    paths = list(_leaves(bundle[part], (part,)))
    path = data.draw(st.sampled_from(paths))
    place = bundle
    for step in path[:-1]:
        place = place[step]
    value = place[path[-1]]
    if isinstance(value, int):
        place[path[-1]] = value + data.draw(st.sampled_from([-1, 1, 1000]))
    else:
        at = data.draw(st.integers(0, max(len(value) - 1, 0)))
        place[path[-1]] = value[:at] + data.draw(st.sampled_from("Aa1-=")) + value[at + 1 :]
    if place[path[-1]] != value:
        assert not verify(walked, canonical(bundle)).ok


def _leaves(value: Any, path: tuple[Any, ...]) -> Any:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _leaves(inner, (*path, index))
    else:
        yield path


@pytest.mark.parametrize("index", range(12))
def test_a_dropped_entry_is_noticed(walked: Walked, index: int) -> None:
    bundle = parse_bundle(walked.bundle)
    entries = bundle.entries[:index] + bundle.entries[index + 1 :]
    assert len(entries) == len(bundle.entries) - 1
    assert not verify(walked, replace(bundle, entries=entries)).ok


def test_a_dropped_observation_is_noticed(walked: Walked) -> None:
    report = verify(walked, replace(parse_bundle(walked.bundle), observation=None))
    assert first_failed(report) == "statement"


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("entries-twice", "bundle"),
        ("entries-reordered", "bundle"),
        ("seen-reordered", "bundle"),
        ("seen-needless", "same ledger"),
        ("seen-missing", "same ledger"),
        ("checkpoint-of-another-log", "checkpoint"),
        ("checkpoint-by-another-key", "checkpoint"),
        ("checkpoint-with-one-more-signature", "checkpoint"),
        ("checkpoint-of-another-tree", "entries"),
        ("record-signed-twice", "record"),
        ("observation-signed-twice", "observation"),
        ("statement-signed-twice", "statement signed"),
        ("statement-by-another-broker", "statement signed"),
        ("statement-as-another-type", "statement"),
        ("statement-says-more", "statement"),
    ],
)
def test_a_rearranged_bundle_is_noticed(walked: Walked, fault: str, check: str) -> None:
    bundle, keys = parse_bundle(walked.bundle), walked.world.keys
    entries, statement = bundle.entries, bundle.statement
    stranger = SigningKey.generate()
    checkpoint = walked.world.checkpoint()
    says_more = canonical(json.loads(statement.payload) | {"more": 1})
    proof = walked.world.state.tree.consistency_proof(3)
    assert bundle.observation is not None
    changes: dict[str, dict[str, Any]] = {
        "entries-twice": {"entries": (*entries, entries[-1])},
        "entries-reordered": {"entries": (entries[1], entries[0], *entries[2:])},
        "seen-reordered": {"seen": (*bundle.seen, SeenCheckpoint(size=3, proof=proof))},
        "seen-needless": {"seen": (SeenCheckpoint(size=3, proof=proof), *bundle.seen)},
        "seen-missing": {"seen": ()},
        "checkpoint-of-another-log": {
            "checkpoint": sign_checkpoint(
                replace(checkpoint, origin="evil.example"), NoteSigner("evil.example", stranger)
            )
        },
        "checkpoint-with-one-more-signature": {
            "checkpoint": bundle.checkpoint + "— other AAAAAAAA\n"
        },
        "checkpoint-by-another-key": {
            "checkpoint": sign_checkpoint(checkpoint, NoteSigner(ORIGIN, stranger))
        },
        "checkpoint-of-another-tree": {
            "checkpoint": sign_checkpoint(replace(checkpoint, root=bytes(32)), walked.world.log)
        },
        "record-signed-twice": {"record": sign_again(bundle.record, stranger)},
        "observation-signed-twice": {"observation": sign_again(bundle.observation, stranger)},
        "statement-signed-twice": {"statement": sign_again(statement, stranger)},
        "statement-by-another-broker": {
            "statement": sign(statement.payload, STATEMENT_TYPE, stranger)
        },
        "statement-as-another-type": {
            "statement": sign(statement.payload, "text/plain", keys["broker"])
        },
        "statement-says-more": {"statement": sign(says_more, STATEMENT_TYPE, keys["broker"])},
    }
    assert first_failed(verify(walked, replace(bundle, **changes[fault]))) == check


def test_a_huge_bundle_is_not_even_read(walked: Walked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jupyter_aisec.provenance.bundle.MAX_BUNDLE_SIZE", 100)
    with pytest.raises(MalformedError, match="larger"):
        parse_bundle(walked.bundle)


# What lies beside the bundle.


def _with_files(walked: Walked, change: Callable[[dict[str, SealedBytes]], object]) -> Report:
    world = walked.world
    files = world.sealed_files(walked.seal_id)
    change(files)
    return verify_bundle(walked.bundle, world.trust, world.manifest_file(walked.seal_id), files)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda files: files.pop("0001.sealed"), id="missing"),
        pytest.param(lambda files: files.update(more=SealedBytes(0, "")), id="added"),
        pytest.param(
            lambda files: files.update({"0000.sealed": files["0001.sealed"]}), id="swapped"
        ),
        pytest.param(
            lambda files: files.update({"0000.sealed": replace(files["0000.sealed"], size=1)}),
            id="truncated",
        ),
        pytest.param(
            lambda files: files.update(
                {"0000.sealed": replace(files["0000.sealed"], sha256="0" * 64)}
            ),
            id="changed",
        ),
    ],
)
def test_other_sealed_files_are_noticed(walked: Walked, change: Any) -> None:
    assert first_failed(_with_files(walked, change)) == "sealed files"


def test_another_model_signature_is_noticed(walked: Walked) -> None:
    world, right = walked.world, canonical(parse_bundle(walked.bundle).model_signature)
    for found, first in ((None, None), (right, None), (right + b" ", "model signature")):
        report = verify_bundle(
            walked.bundle,
            world.trust,
            world.manifest_file(walked.seal_id),
            world.sealed_files(walked.seal_id),
            found,
        )
        assert (None if report.ok else first_failed(report)) == first


def test_another_manifest_is_noticed(walked: Walked) -> None:
    world = walked.world
    for manifest in (world.manifest_file(walked.seal_id) + b" ", b"", b"{}"):
        report = verify_bundle(
            walked.bundle, world.trust, manifest, world.sealed_files(walked.seal_id)
        )
        assert first_failed(report) == "manifest"


@pytest.mark.parametrize(
    ("field", "check"),
    [
        ("genesis_sha256", "genesis"),
        ("seal_key", "genesis"),
        ("broker_key", "genesis"),
        ("log_key", "checkpoint"),
        ("origin", "checkpoint"),
    ],
)
def test_another_trust_file_is_noticed(walked: Walked, field: str, check: str) -> None:
    other: dict[str, Any] = {
        "genesis_sha256": "0" * 64,
        "seal_key": b"",
        "broker_key": SigningKey.generate().public,
        "log_key": NoteSigner(ORIGIN, SigningKey.generate()).verifier_key,
        "origin": "evil.example",
    }
    world = walked.world
    trust: Trust = replace(world.trust, **{field: other[field]})
    report = verify_bundle(
        walked.bundle,
        trust,
        world.manifest_file(walked.seal_id),
        world.sealed_files(walked.seal_id),
    )
    assert first_failed(report) == check


# Accounts of the run that were signed, and say something else.


@pytest.mark.parametrize(
    ("changes", "key", "check"),
    [
        pytest.param({}, "approver", "record", id="record-by-another-key"),
        pytest.param({"origin": "evil.example"}, "kernel", "record", id="record-for-another-log"),
        pytest.param({"cells": ()}, "kernel", "observation", id="record-not-the-observed-one"),
        pytest.param({"run": "run_other"}, "kernel", "bundle", id="record-of-another-run"),
        pytest.param({"kernel": "sha256:0"}, "kernel", "seats", id="record-of-another-kernel"),
        pytest.param({"grants": ("grant_other",)}, "kernel", "requests", id="unknown-grant"),
    ],
)
def test_another_record_is_noticed(
    walked: Walked, changes: dict[str, Any], key: str, check: str
) -> None:
    record = walked.world.sign_record(replace(walked.record, **changes), key)
    bundle = replace(parse_bundle(walked.bundle), record=record)
    assert first_failed(verify(walked, bundle)) == check


@pytest.mark.parametrize(
    ("changes", "key", "check"),
    [
        pytest.param({}, "approver", "observation", id="by-another-person"),
        pytest.param({}, "kernel", "observation", id="by-the-kernel"),
        pytest.param(
            {"person": "approver"}, "approver", "observation", id="in-the-name-of-another"
        ),
        pytest.param({"origin": "x"}, "researcher", "observation", id="for-another-log"),
        pytest.param({"run": "run_other"}, "researcher", "observation", id="of-another-run"),
        pytest.param({"kernel": "x"}, "researcher", "observation", id="of-another-kernel"),
        pytest.param({"isolation": "none"}, "researcher", "observation", id="other-isolation"),
        pytest.param({"record_sha256": "0"}, "researcher", "observation", id="of-another-record"),
        pytest.param({"cells": ()}, "researcher", "statement", id="other-cells"),
    ],
)
def test_another_observation_is_noticed(
    walked: Walked, changes: dict[str, Any], key: str, check: str
) -> None:
    observation = walked.world.observe(walked.record, **changes)
    envelope = walked.world.sign_observation(observation, key)
    bundle = replace(parse_bundle(walked.bundle), observation=envelope)
    assert first_failed(verify(walked, bundle)) == check


def test_whatever_else_lies_there_fails_the_sealed_files(walked: Walked) -> None:
    world, seal_id = walked.world, walked.seal_id
    given = Given(
        bundle=walked.bundle,
        trust=world.trust,
        manifest=world.manifest_file(seal_id),
        sealed=world.sealed_files(seal_id),
        strangers=("model.safetensors",),
    )
    assert first_failed(examine(given).report) == "sealed files"
