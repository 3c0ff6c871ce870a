"""Limits per person and hour: every edge of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from jupyter_aisec.errors import ConflictError, LedgerError, MalformedError, RefusedError
from jupyter_aisec.grants import (
    DEFAULT_POLICY_TEXT,
    Policy,
    Refusal,
    explain_request,
    fold,
    parse_policy,
    propose_output_release,
)
from jupyter_aisec.grants.catalog import read_manifest
from jupyter_aisec.grants.limits import LimitReachedError, Limits, describe_limits
from jupyter_aisec.grants.statements import Request
from jupyter_aisec.ledger.bodies import GrantRequested, KeysReleased, Terms
from jupyter_aisec.times import format_time
from tests.grants.world import Kernel, World, policy, refused, sha256, stocked, ulid

SIZE = 1500  # of each version of the world, in sealed bytes


def limited(**fields: Any) -> Policy:
    """The default policy with limits, and whatever else is named."""
    names = Limits.__struct_fields__
    limits = Limits(**{name: fields.pop(name) for name in names if name in fields})
    return policy(limits=limits, **fields)


def active(world: World, *artifacts: str, person: str = "researcher") -> tuple[str, Kernel]:
    grant = world.ask(*artifacts, person=person, seconds=4 * 3600)
    world.approve(grant)
    return grant, world.bind(grant)


def show(world: World, grant: str, kernel: Kernel, *artifacts: str, action: str = "") -> None:
    """Release the key of an output that was made from the last versions of these."""
    found = sorted((name, world.state.catalog.find(name).seal_id) for name in artifacts)
    world.append(
        propose_output_release(
            world.state,
            found,
            {seal_id: grant for _, seal_id in found},
            sha256("output"),
            kernel.id,
            action or f"action_{world.next()}",
            sha256("request"),
            world.now,
        )
    )


def test_a_limit_of_grants_may_be_used_to_the_full_and_slides_by_the_second() -> None:
    world = stocked(limited(grants=2))
    first = world.now
    world.ask()
    world.later(minutes=20)
    world.ask()
    with refused("limit-reached", LimitReachedError) as caught:
        world.ask()
    assert caught.value.what == (
        "researcher asked for 2 grants within an hour, and this takes 1 grant more; "
        "the limit of each person is 2 grants."
    )
    room = first + timedelta(hours=1)
    assert f"There is room again at {format_time(room)}." in caught.value.next
    world.now = room - timedelta(seconds=1)
    with refused("limit-reached"):
        world.ask()
    world.now = room
    world.ask()
    with refused("limit-reached") as caught:  # now the second is the oldest
        world.ask()
    assert format_time(room + timedelta(minutes=20)) in caught.value.next


def test_what_the_rules_refuse_takes_no_room_and_is_refused_by_name() -> None:
    world = stocked(limited(grants=1))
    for _ in range(3):
        with refused("requester-not-allowed"):
            world.ask(person="admin")
    world.ask()
    with refused("no-rule"):
        world.seal("dataset/other")
        world.apply_policy(limited(grants=1, rule={"artifacts": ("weights/*",)}))
        world.ask("dataset/other")


def test_a_request_that_ended_was_made_all_the_same() -> None:
    world = stocked(limited(grants=1))
    world.decide("withdraw", world.ask(), "researcher")
    with refused("limit-reached"):
        world.ask()


def test_two_accounts_of_one_human_being_have_one_limit() -> None:
    both = {"requesters": ("role:researcher", "role:admin")}
    one = stocked(limited(grants=2, rule=both, same_person=(("researcher", "admin"),)))
    one.ask()
    one.ask(person="admin")
    for person in ("researcher", "admin"):
        with refused("limit-reached"):
            one.ask(person=person)
    one.ask(person="second")  # another human being
    two = stocked(limited(grants=1, rule=both))
    two.ask()
    two.ask(person="admin")  # whom no policy calls the same


def test_accounts_that_a_policy_joins_are_counted_together_from_then_on() -> None:
    both = {"requesters": ("role:researcher", "role:admin")}
    world = stocked(limited(grants=2, artifacts=1, rule=both))
    for person in ("researcher", "admin"):
        world.release(*active(world, person=person))
    joined = limited(grants=3, artifacts=1, rule=both, same_person=(("researcher", "admin"),))
    world.apply_policy(joined)
    grant, kernel = active(world, "dataset/digits", "weights/minilm")
    world.release(grant, kernel)  # the same version, which both had opened
    with refused("limit-reached"):
        world.release(grant, kernel, "weights/minilm")
    with refused("limit-reached"):
        world.ask(person="admin")


@pytest.mark.parametrize("limits", [{"artifacts": 1}, {"bytes": SIZE}, {"bytes": 2 * SIZE - 1}])
def test_a_version_counts_once_however_often_it_is_opened(limits: dict[str, int]) -> None:
    world = stocked(limited(**limits))
    grant, kernel = active(world, "dataset/digits", "weights/minilm")
    world.release(grant, kernel)
    again = world.bind(grant)  # the kernel started again
    world.release(grant, again)
    show(world, grant, again, "dataset/digits")
    other, third = active(world)
    world.release(other, third)
    with refused("limit-reached", LimitReachedError) as caught:
        world.release(grant, again, "weights/minilm")
    assert caught.value.next.startswith("There is room again at ")  # type: ignore[attr-defined]


@pytest.mark.parametrize("limits", [{"artifacts": 2}, {"bytes": 2 * SIZE}, {}])
def test_a_limit_of_versions_or_bytes_may_be_used_to_the_full(limits: dict[str, int]) -> None:
    world = stocked(limited(**limits) if limits else policy())
    grant, kernel = active(world, "dataset/digits", "weights/minilm")
    for artifact in ("dataset/digits", "weights/minilm"):
        world.release(grant, kernel, artifact)
    world.seal("dataset/digits", files=[{"sealed_size": 1}])
    if limits:
        with refused("limit-reached"):  # a new version is another
            world.release(grant, kernel)
    else:
        world.release(grant, kernel)


def test_a_version_counts_for_an_hour_from_when_it_was_opened_last() -> None:
    world = stocked(limited(artifacts=1))
    grant, kernel = active(world, "dataset/digits", "weights/minilm")
    world.release(grant, kernel)
    world.later(minutes=59)
    world.release(grant, kernel)
    world.later(minutes=2)
    with refused("limit-reached"):
        world.release(grant, kernel, "weights/minilm")
    world.later(minutes=58, seconds=-1)
    with refused("limit-reached"):
        world.release(grant, kernel, "weights/minilm")
    world.later(seconds=1)
    world.release(grant, kernel, "weights/minilm")


def test_a_repeat_under_the_same_action_id_takes_no_room_and_needs_none() -> None:
    world = stocked(limited(artifacts=2))
    grant, kernel = active(world, "dataset/digits", "weights/minilm")
    action = f"action_{ulid(999)}"
    body = world.release(grant, kernel, action=action)
    world.release(grant, kernel, "weights/minilm")
    world.apply_policy(limited(artifacts=1))  # more is used by now than there is
    world.later(minutes=1)
    size = world.state.size
    assert world.release(grant, kernel, action=action) == body
    assert world.state.size == size


def test_an_output_takes_room_for_everything_that_it_was_made_from_or_none() -> None:
    world = stocked(limited(artifacts=2))
    world.seal("results/plot")
    everything = ("dataset/digits", "results/plot", "weights/minilm")
    grant, kernel = active(world, *everything)
    show(world, grant, kernel, "dataset/digits")
    with refused("limit-reached") as caught:
        show(world, grant, kernel, *everything)
    assert "takes 2 artifact versions more" in caught.value.what
    show(world, grant, kernel, "dataset/digits", "weights/minilm")
    with refused("limit-reached"):
        world.release(grant, kernel, "results/plot")


def test_what_is_more_than_the_limit_itself_never_has_room() -> None:
    world = stocked(limited(bytes=SIZE - 1))
    grant, kernel = active(world)
    with refused("limit-reached") as caught:
        world.release(grant, kernel)
    assert "more than the limit itself" in caught.value.next
    assert "opened 0 B within an hour, and this takes 1.5 kB more" in caught.value.what


def test_sizes_beyond_all_measure_are_added_up_and_said() -> None:
    world = stocked(limited(bytes=10**15))
    huge = [{"sealed_size": 2**53 - 1}] * 3
    world.seal("dataset/digits", files=huge)
    grant, kernel = active(world)
    with refused("limit-reached"):
        world.release(grant, kernel)


@pytest.mark.parametrize("size", ["-1", "9007199254740992", "1e3", '"1"', "null", "1" * 30])
def test_a_size_that_is_none_makes_no_manifest(size: str) -> None:
    """One below zero would make room."""
    manifest = World().manifest("dataset/digits")
    payload = manifest.payload.replace(b":1000", f":{size}".encode())
    assert payload != manifest.payload
    with refused("manifest-invalid", MalformedError):
        read_manifest(msgspec.structs.replace(manifest, payload=payload))
    with refused("manifest-invalid", MalformedError):
        read_manifest(World().manifest("dataset/digits", files=None))


def test_room_comes_when_enough_of_it_was_long_ago() -> None:
    world = stocked(limited(bytes=3 * SIZE))
    world.seal("results/large", files=[{"sealed_size": 2 * SIZE + 1}])
    grant, kernel = active(world, "dataset/digits", "results/large", "weights/minilm")
    for artifact in ("dataset/digits", "weights/minilm"):
        world.release(grant, kernel, artifact)
        world.later(minutes=10)
    with refused("limit-reached") as caught:
        world.release(grant, kernel, "results/large")
    room = world.now + timedelta(minutes=50)  # an hour after the second
    assert format_time(room) in caught.value.next
    world.now = room
    world.release(grant, kernel, "results/large")


def test_a_lower_limit_counts_what_was_used_before_it() -> None:
    world = stocked(policy())
    for _ in range(3):
        world.ask()
    world.later(minutes=1)
    world.apply_policy(limited(grants=3))
    with refused("limit-reached"):
        world.ask()


def test_loosening_a_limit_takes_what_any_change_of_policy_takes() -> None:
    world = stocked(limited(grants=1))
    with refused("admins-too-few"):
        world.apply_policy(policy(), "admin")
    world.apply_policy(policy())
    assert world.state.policy.limits is msgspec.UNSET


def test_the_fold_refuses_what_is_beyond_a_limit() -> None:
    """A broker that did not ask its rules, or a row that was written past it."""
    world = stocked(limited(grants=1, artifacts=1))
    grant, kernel = active(world, "dataset/digits", "weights/minilm")
    first = world.release(grant, kernel)
    request = world.request()
    terms = world.state.grants[grant].terms
    grant_id = request.read(Request, Request.payload_type, "It").grant
    minilm = world.state.catalog.find("weights/minilm")
    beyond = (
        GrantRequested(
            grant=grant_id,
            request=request,
            terms=msgspec.structs.replace(terms, seconds=3600),
        ),
        msgspec.structs.replace(
            first,
            action=f"action_{ulid(77)}",
            artifact=minilm.artifact,
            seal_id=minilm.seal_id,
        ),
    )
    for body in beyond:
        with pytest.raises(LedgerError, match="the limit of each person is 1"):
            world.append(body)
    assert isinstance(world.entries[-1].content(), KeysReleased)
    fold(world.entries, signatures=True)


def dry_run(world: World, person: str = "researcher") -> Terms | Refusal:
    envelope = world.request(person=person)
    request = envelope.read(Request, Request.payload_type, "It")
    return explain_request(world.state, request, world.now)


def test_a_dry_run_counts_and_takes_no_room() -> None:
    world = stocked(limited(grants=2, artifacts=3, bytes=10**6))
    for _ in range(3):
        found = dry_run(world)
    assert isinstance(found, Terms)
    assert found.reasons[-3:] == (
        "Within the hour researcher asked for 0 of 2 grants.",
        "Within the hour researcher opened 0 of 3 artifact versions.",
        "Within the hour researcher opened 0 B of 1 MB.",
    )
    world.release(*active(world))
    world.ask()
    found = dry_run(world)
    assert isinstance(found, Refusal)
    assert (found.code, found.error().code) == ("limit-reached", "limit-reached")
    assert isinstance(found.error(), RefusedError)
    world.apply_policy(limited(grants=2, mode="observe"))
    observed = dry_run(world)
    assert isinstance(observed, Terms)
    assert "Within the hour researcher asked for 2 of 2 grants." in observed.reasons


def test_a_dry_run_without_limits_counts_nothing() -> None:
    found = dry_run(stocked())
    assert isinstance(found, Terms)
    assert not [one for one in found.reasons if "hour" in one]


LIMITS = DEFAULT_POLICY_TEXT + "\n[limits]\n"
FAULTS = {
    "unknown key": ("grant = 1", "{key} [limits] has an unknown key 'grant'; known are grants"),
    "no limit": ("", "{table} [limits] names none of grants, artifacts, bytes"),
    "zero": ("grants = 0", "{key} [limits]: `grants` is a number from 1 to 1,000,000."),
    "negative": ("artifacts = -1", "{key} [limits]: `artifacts` is a number"),
    "more than any": ("artifacts = 1_000_001", "{key} [limits]: `artifacts` is a number"),
    "true": ("grants = true", "{key} [limits]: `grants` is a number"),
    "a fraction": ("grants = 1.5", "{key} [limits]: `grants` is a number"),
    "in words": ('grants = "ten"', "{key} [limits]: `grants` is a number"),
    "second line": ('grants = 1\nbytes = "1 XB"', "{more} [limits]: `bytes` is a size"),
    "bytes as a number": ("bytes = 100", "{key} [limits]: `bytes` is a size"),
    "bytes without a unit": ('bytes = "100"', "{key} [limits]: `bytes` is a size"),
    "a fraction of bytes": ('bytes = "1.5GB"', "{key} [limits]: `bytes` is a size"),
    "no bytes": ('bytes = "0B"', "{key} [limits]: `bytes` is a size"),
    "bytes beyond all": ('bytes = "1001TB"', "{key} [limits]: `bytes` is a size"),
    "a duration": ('bytes = "1h"', "{key} [limits]: `bytes` is a size"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faulty_limits_are_refused_with_the_line(fault: str) -> None:
    text, said = FAULTS[fault]
    with refused("policy-invalid", MalformedError) as caught:
        parse_policy(LIMITS + text)
    places = (f"Line {LIMITS.count(chr(10)) + more}:" for more in range(3))
    assert said.format(**dict(zip(("table", "key", "more"), places, strict=True))) in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("before", "said"),
    [
        ("limits = 3\n", "Line 1: Limits are written as a table"),
        ("limits = []\n", "Line 1: Limits are written as a table"),
        ("limits.grants = 0\n", "Line 1: [limits]: `grants`"),
        ("limits = {artifacts = 0}\n", "Line 1: [limits]: `artifacts`"),
        ('"limits" = {bytes = 1}\n', "Line 1: [limits]: `bytes`"),
        ("'lim\\u0069ts' = 1\n", "unknown key"),
        ('"lim\\u0069ts" = {grants = 0}\n', "[limits]: `grants`"),  # no line, and no guess
    ],
)
def test_limits_in_other_spellings_are_read_as_toml_reads_them(before: str, said: str) -> None:
    with refused("policy-invalid", MalformedError) as caught:
        parse_policy(before + DEFAULT_POLICY_TEXT)
    assert said in caught.value.what


def test_the_line_is_that_of_the_limits_wherever_they_stand() -> None:
    head, rules = DEFAULT_POLICY_TEXT.split("[[rule]]")
    with refused("policy-invalid") as caught:
        parse_policy(f"{head}[ limits ]\nartifacts = 0\n[[rule]]{rules}")
    assert caught.value.what.startswith("Line 9: ")


def test_the_example_in_the_default_policy_is_one() -> None:
    assert parse_policy(DEFAULT_POLICY_TEXT).limits is msgspec.UNSET
    text = DEFAULT_POLICY_TEXT
    for name in ("[limits]", "grants", "artifacts", "bytes"):
        assert f"\n# {name}" in text
        text = text.replace(f"\n# {name}", f"\n{name}")
    found = parse_policy(text)
    assert found.limits == Limits(grants=20, artifacts=50, bytes=100 * 10**9)
    assert Policy.from_dict(found.to_dict()) == found
    assert describe_limits(Limits(grants=1, bytes=1536)) == (
        "Each person gets at most 1 grant, 1.536 kB in any hour; reaching a limit is an alert."
    )


@pytest.mark.parametrize(
    ("text", "number"),
    [("1B", 1), ("64 KiB", 65_536), ("2MiB", 2 << 20), ("3GiB", 3 << 30), ("1000TB", 10**15)],
)
def test_sizes_are_decimal_or_binary_as_they_say(text: str, number: int) -> None:
    assert parse_policy(f'{LIMITS}bytes = "{text}"').limits == Limits(bytes=number)


@pytest.mark.parametrize(
    "limits", [{}, {"grants": 0}, {"grants": None}, {"bytes": 2**53}, {"hours": 1}, 3, None]
)
def test_limits_in_a_logged_policy_are_held_to_the_same(limits: Any) -> None:
    with refused("policy-invalid", MalformedError):
        Policy.from_dict({**policy().to_dict(), "limits": limits})


def test_a_policy_without_limits_is_what_it_was_before_there_were_any() -> None:
    assert "limits" not in policy().to_dict()
    with refused("decided-already", ConflictError):  # and counts nothing
        world = stocked()
        grant = world.ask()
        world.apply_policy(policy(rule={"approvals": 2}))
        grant = world.ask()
        for _ in range(2):
            world.approve(grant)
