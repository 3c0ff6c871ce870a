from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_aisec.errors import (
    ConflictError,
    IdentityError,
    LedgerError,
    MalformedError,
    NotFoundError,
    RefusedError,
    SignatureError,
)
from jupyter_aisec.grants import fold, propose_enrolment, propose_output_release
from jupyter_aisec.grants.fold import apply
from jupyter_aisec.ledger.bodies import GrantApproved, OutputReleased, OutputSource
from jupyter_aisec.ledger.entry import make_entry
from tests.grants.world import (
    KEYS,
    SALT,
    START,
    Kernel,
    World,
    policy,
    refused,
    sha256,
    stocked,
    ulid,
)

DIGITS, MINILM = "dataset/digits", "weights/minilm"


def key(world: World, artifact: str, version: int | None = None) -> tuple[str, str]:
    """What the header of an output names."""
    return artifact, world.state.catalog.find(artifact, version).seal_id


def opened(world: World, *artifacts: str, kernel: Kernel | None = None) -> tuple[str, Kernel]:
    grant = world.ask(*artifacts)
    world.approve(grant)
    return grant, world.bind(grant, kernel)


def propose(
    world: World, kernel: Kernel, under: dict[tuple[str, str], str], **fields: Any
) -> OutputReleased:
    values = {
        "keys": sorted(under),
        "grants": {seal_id: grant for (_, seal_id), grant in under.items()},
        "ciphertext_sha256": sha256("ciphertext"),
        "action": f"action_{world.next()}",
        "request_sha256": sha256("request"),
        **fields,
    }
    return propose_output_release(world.state, kernel=kernel.id, now=world.now, **values)


def release(
    world: World, kernel: Kernel, under: dict[tuple[str, str], str], **fields: Any
) -> OutputReleased:
    body = propose(world, kernel, under, **fields)
    recorded = world.state.actions.get(body.action)
    if recorded is None or recorded.body is not body:
        world.append(body)
    return body


def test_an_output_opens_in_the_window_and_the_entry_names_all_it_was_made_from() -> None:
    world = stocked()
    grant, kernel = opened(world, DIGITS, MINILM)
    digits, minilm = key(world, DIGITS), key(world, MINILM)
    world.now = START + timedelta(hours=1, milliseconds=-1)
    body = release(world, kernel, {digits: grant, minilm: grant})
    assert body.sources == tuple(
        OutputSource(artifact=name, version=1, seal_id=seal_id, grant=grant, approvals=1)
        for name, seal_id in (digits, minilm)
    )
    assert fold(world.entries).actions[body.action].body == body
    world.now = START + timedelta(hours=1)
    with refused("grant-ended", RefusedError):
        release(world, kernel, {digits: grant, minilm: grant})


def test_each_artifact_may_be_covered_by_a_grant_of_its_own() -> None:
    world = stocked()
    first, kernel = opened(world, DIGITS)
    second, _ = opened(world, MINILM, kernel=kernel)
    digits, minilm = key(world, DIGITS), key(world, MINILM)
    body = release(world, kernel, {digits: first, minilm: second})
    assert [one.grant for one in body.sources] == [first, second]
    with refused("artifact-not-granted", RefusedError):
        release(world, kernel, {digits: first, minilm: first})
    world.decide("return", second, "researcher")
    with refused("grant-ended", RefusedError):
        release(world, kernel, {digits: first, minilm: second})


def test_two_versions_of_one_artifact_may_be_covered_by_two_grants() -> None:
    world = stocked()
    world.seal(DIGITS)
    first, kernel = opened(world, f"{DIGITS}@1")
    second, _ = opened(world, f"{DIGITS}@2", kernel=kernel)
    one, two = key(world, DIGITS, 1), key(world, DIGITS, 2)
    assert release(world, kernel, {one: first, two: second})
    with refused("artifact-not-granted", RefusedError):
        release(world, kernel, {one: second, two: first})


def test_labels_flow_from_what_an_output_was_made_from() -> None:
    world = World()
    world.seal(DIGITS, labels=["phi"])
    grant, kernel = opened(world, DIGITS)
    release(world, kernel, {key(world, DIGITS): grant})
    world.keys["kernel"] = kernel.key
    with refused("labels-missing", RefusedError):
        world.seal("results/plot", kernel.key)
    assert world.state.flow.counted(kernel.id) == (key(world, DIGITS)[1],)


def test_a_version_with_labels_nobody_was_asked_about_opens_no_output() -> None:
    world = stocked()
    grant, kernel = opened(world, DIGITS)
    world.seal(DIGITS, labels=["phi"])
    with refused("labels-new", RefusedError):
        release(world, kernel, {key(world, DIGITS): grant})


@pytest.mark.parametrize("action", ["return", "revoke"])
def test_nothing_opens_after_an_end_whatever_the_clock_says(action: str) -> None:
    world = stocked()
    grant, kernel = opened(world, DIGITS)
    world.decide(action, grant, "researcher" if action == "return" else "second")
    for hours in (0, -5, 5):
        world.later(hours=hours)
        with refused("grant-ended", RefusedError):
            release(world, kernel, {key(world, DIGITS): grant})


def test_a_pending_grant_opens_nothing() -> None:
    world = stocked()
    grant = world.ask(DIGITS)
    with refused("grant-not-active", RefusedError):
        release(world, Kernel(), {key(world, DIGITS): grant})


def test_only_the_bound_kernel_opens_it() -> None:
    world = stocked()
    grant, kernel = opened(world, DIGITS)
    with refused("kernel-not-bound", IdentityError):
        release(world, Kernel(), {key(world, DIGITS): grant})
    other, _ = opened(world, DIGITS)
    with refused("kernel-not-bound", IdentityError):
        release(world, kernel, {key(world, DIGITS): other})
    with refused("grant-unknown", NotFoundError):
        release(world, kernel, {key(world, DIGITS): f"grant_{ulid(99)}"})


def test_what_another_broker_sealed_is_not_known_here() -> None:
    world = stocked()
    grant, kernel = opened(world, DIGITS)
    _, seal_id = key(world, DIGITS)
    for found in ((DIGITS, f"seal_{ulid(99)}"), (MINILM, seal_id)):
        with refused("output-source-unknown", NotFoundError):
            release(world, kernel, {found: grant})


def test_there_is_one_grant_for_each_artifact_version_named() -> None:
    world = stocked()
    grant, kernel = opened(world, DIGITS)
    found = key(world, DIGITS)
    for grants in ({}, {found[1]: grant, "seal_other": grant}):
        with refused("output-grants-differ", MalformedError):
            release(world, kernel, {found: grant}, grants=grants)


def test_what_it_was_made_from_is_named_sorted_once_and_not_beyond_measure() -> None:
    world = stocked()
    grant, kernel = opened(world, DIGITS, MINILM)
    digits, minilm = key(world, DIGITS), key(world, MINILM)
    both = {digits: grant, minilm: grant}
    for keys in ([minilm, digits], [digits, minilm, minilm], [digits, minilm] * 51):
        with refused("output-sources-invalid", MalformedError):
            release(world, kernel, both, keys=keys)
    with refused("output-sources-invalid", MalformedError):
        release(world, kernel, {})


def test_an_equal_repeat_returns_what_is_recorded_while_the_promise_holds() -> None:
    world = stocked()
    grant, kernel = opened(world, DIGITS)
    found, action = key(world, DIGITS), f"action_{ulid(50)}"
    first = release(world, kernel, {found: grant}, action=action)
    size = world.state.size
    assert release(world, kernel, {found: grant}, action=action) == first
    assert world.state.size == size
    world.later(hours=1)
    with refused("grant-ended", RefusedError):
        release(world, kernel, {found: grant}, action=action)


def test_an_action_id_is_used_for_one_request_of_one_kernel_and_of_one_kind() -> None:
    world = stocked()
    grant, kernel = opened(world, DIGITS)
    found, action = key(world, DIGITS), f"action_{ulid(50)}"
    body = release(world, kernel, {found: grant}, action=action)
    with refused("action-reused", ConflictError):
        release(world, kernel, {found: grant}, action=action, request_sha256=sha256("other"))
    with refused("action-reused", ConflictError):
        release(world, Kernel(), {found: grant}, action=action)
    with refused("action-reused", ConflictError):
        world.release(grant, kernel, action=action)
    keys = world.release(grant, kernel)
    with refused("action-reused", ConflictError):
        release(world, kernel, {found: grant}, action=keys.action)
    with refused("entry-illegal", LedgerError):
        world.append(body)


def test_ids_and_digests_are_of_their_form() -> None:
    world = stocked()
    grant, kernel = opened(world, DIGITS)
    found = key(world, DIGITS)
    with refused("id-invalid", MalformedError):
        release(world, kernel, {found: grant}, action="action_1")
    for name in ("request_sha256", "ciphertext_sha256"):
        with refused("digest-invalid", MalformedError):
            release(world, kernel, {found: grant}, **{name: "x"})


def test_zero_approvals_are_said_aloud() -> None:
    world = stocked()
    world.apply_policy(policy(rule={"approvals": 0}))
    grant = world.ask(DIGITS)
    kernel = world.bind(grant)
    body = release(world, kernel, {key(world, DIGITS): grant})
    assert [one.approvals for one in body.sources] == [0]


def test_a_revoked_key_takes_the_seats_it_took_with_it() -> None:
    world = stocked()
    grant, kernel = opened(world, DIGITS)
    old = world.keys["researcher"]
    envelope = world.enrolment("researcher", KEYS[8], "researcher")
    world.append(propose_enrolment(world.state, envelope, world.now))
    world.keys["researcher"] = KEYS[8]
    world.revoke_key(old.public.key_id, "researcher")
    with refused("key-not-valid", IdentityError):
        release(world, kernel, {key(world, DIGITS): grant})


@pytest.mark.parametrize("forged_first", [True, False], ids=["first grant", "second grant"])
def test_signatures_behind_every_grant_are_checked(forged_first: bool) -> None:
    """A row that was forged with the right key ids, by somebody without the keys."""
    world = stocked()
    kernel = Kernel()
    grants = {}
    for artifact, forged in ((DIGITS, forged_first), (MINILM, not forged_first)):
        grant = world.ask(artifact)
        body = world.countersigned(GrantApproved(grant=grant, approval=world.approval(grant)))
        if forged:
            signatures = tuple(
                msgspec.structs.replace(one, sig=bytes(64)) for one in body.approval.signatures
            )
            body = msgspec.structs.replace(
                body, approval=msgspec.structs.replace(body.approval, signatures=signatures)
            )
        world.append(body)
        world.bind(grant, kernel)
        grants[key(world, artifact)] = grant
    with pytest.raises(SignatureError):
        release(world, kernel, grants)


FORGED: dict[str, dict[str, Any]] = {
    "version": {"version": 9},
    "seal id": {"seal_id": "seal_zzz"},
    "approvals": {"approvals": 0},
    "grant": {"grant": f"grant_{ulid(99)}"},
    "artifact": {"artifact": "weights/other"},
}


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("change", FORGED)
def test_a_forged_release_in_the_ledger_is_refused(change: str, place: int) -> None:
    world = stocked()
    grant, kernel = opened(world, DIGITS, MINILM)
    body = propose(world, kernel, {key(world, one): grant for one in (DIGITS, MINILM)})
    sources = list(body.sources)
    sources[place] = msgspec.structs.replace(sources[place], **FORGED[change])
    _refuse(world, msgspec.structs.replace(body, sources=tuple(sources)))
    world.append(body)


@pytest.mark.parametrize(
    "change",
    [{"kernel": "sha256:0"}, {"action": "again"}, {"sources": ()}, {"ciphertext_sha256": "0"}],
    ids=lambda change: next(iter(change)),
)
def test_a_forged_entry_is_refused(change: dict[str, Any]) -> None:
    world = stocked()
    grant, kernel = opened(world, DIGITS)
    body = propose(world, kernel, {key(world, DIGITS): grant})
    _refuse(world, msgspec.structs.replace(body, **change))
    world.append(body)


def _refuse(world: World, body: OutputReleased) -> None:
    size = world.state.size
    entry = make_entry(size, world.entries[-1].at, body, SALT)
    with refused("entry-illegal", LedgerError):
        apply(world.state, entry)
    assert (world.state.size, body.action in world.state.actions) == (size, False)


@settings(max_examples=60, deadline=None)
@given(
    covered=st.sets(st.sampled_from([DIGITS, MINILM, "dataset/other"])),
    shown=st.sets(st.sampled_from([DIGITS, MINILM, "dataset/other"]), min_size=1),
    minutes=st.integers(0, 120),
    ended=st.booleans(),
)
def test_it_opens_exactly_if_all_of_it_may_be_opened_now(
    covered: set[str], shown: set[str], minutes: int, ended: bool
) -> None:
    world = stocked()
    world.seal("dataset/other")
    kernel = Kernel()
    grants = {artifact: opened(world, artifact, kernel=kernel)[0] for artifact in sorted(covered)}
    spare, _ = opened(world, DIGITS, kernel=kernel)  # of the same kernel, for something else
    if ended and grants:
        world.decide("return", grants[min(grants)], "researcher")
    world.later(minutes=minutes)
    over = {min(grants)} if ended and grants else set()
    allowed = minutes < 60 and shown <= (covered | {DIGITS}) - over
    named = {key(world, one): grants.get(one, spare) for one in shown}
    if allowed:
        assert release(world, kernel, named)
    else:
        with pytest.raises(RefusedError):
            release(world, kernel, named)
        assert not world.state.actions
