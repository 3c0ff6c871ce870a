"""The fold: what it takes, what it refuses, and that it is pure."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from jupyter_aisec.errors import LedgerError
from jupyter_aisec.grants import State, fold, grant_view, propose_request, who_is_asked
from jupyter_aisec.grants.fold import apply
from jupyter_aisec.ledger.entry import Entry, make_entry
from jupyter_aisec.times import format_time
from tests.grants.world import SALT, START, World, policy, refused, stocked


def walked() -> World:
    world = stocked()
    grant = world.ask()
    world.approve(grant)
    kernel = world.bind(grant)
    world.release(grant, kernel)
    return world


def test_the_fold_of_the_entries_is_the_state_they_made() -> None:
    world = walked()
    again = fold(world.entries)
    assert again.grants == world.state.grants
    assert again.actions == world.state.actions
    assert again.statements == world.state.statements
    assert again.size == world.state.size


@pytest.mark.parametrize("index", range(6))
def test_a_hidden_entry_is_noticed(index: int) -> None:
    entries = walked().entries
    with refused("entry-illegal", LedgerError):
        fold(entries[:index] + entries[index + 1 :])


@pytest.mark.parametrize("index", range(1, 6))
def test_a_hidden_entry_is_noticed_also_where_the_rest_is_renumbered(index: int) -> None:
    """The Merkle root shows it too; here it is the rules, and the checkpoint an approver saw."""
    entries = walked().entries
    rest = entries[:index] + [
        Entry(index=one.index - 1, at=one.at, type=one.type, salt=one.salt, body=one.body)
        for one in entries[index + 1 :]
    ]
    with refused("entry-illegal", LedgerError):
        fold(rest)


def entry_like(world: World, **changes: object) -> Entry:
    body = world.entries[-1]
    values = {"index": 7, "at": body.at, "type": "grant.requested", "salt": SALT, "body": b"{}"}
    return Entry(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"index": 8},
        {"at": format_time(START - timedelta(seconds=1))},
        {"at": "yesterday"},
        {"type": "grant.invented"},
        {"type": "genesis"},
        {"body": b"{}"},
        {"body": b"\xff"},
    ],
    ids=["place", "older", "no time", "unknown type", "second genesis", "no form", "no text"],
)
def test_a_row_that_is_no_entry_is_refused_by_index_and_changes_nothing(
    changes: dict[str, object],
) -> None:
    world = walked()
    with pytest.raises(LedgerError) as caught:
        apply(world.state, entry_like(world, **changes))
    assert caught.value.what.startswith(f"Entry {changes.get('index', 7)} (")
    assert world.state.size == 7


def test_an_entry_older_than_the_one_before_it_is_refused() -> None:
    world = stocked()
    body = propose_request(world.state, world.request(), world.now)
    at = format_time(world.now - timedelta(milliseconds=1))
    with refused("entry-illegal", LedgerError):
        apply(world.state, make_entry(world.state.size, at, body, SALT))


def test_an_entry_with_a_bad_salt_changes_nothing() -> None:
    world = stocked()
    body = propose_request(world.state, world.request(), world.now)
    good = make_entry(world.state.size, format_time(world.now), body, SALT)
    bad = Entry(index=good.index, at=good.at, type=good.type, salt=b"short", body=good.body)
    with refused("entry-illegal", LedgerError):
        apply(world.state, bad)
    assert world.state.grants == {}
    apply(world.state, good)


def test_terms_that_policy_does_not_set_are_refused_and_other_words_for_reasons_are_not() -> None:
    world = stocked()
    body = propose_request(world.state, world.request(), world.now)
    for change in ({"approvals": 0}, {"seconds": 9999}, {"approvers": ("researcher",)}):
        terms = msgspec.structs.replace(body.terms, **change)
        with refused("entry-illegal", LedgerError):
            world.append(msgspec.structs.replace(body, terms=terms))
    with refused("entry-illegal", LedgerError):
        world.append(msgspec.structs.replace(body, grant="grant_other"))
    terms = msgspec.structs.replace(body.terms, reasons=("Other words.",))
    world.append(msgspec.structs.replace(body, terms=terms))


def test_a_request_that_the_policy_refuses_is_refused_in_the_ledger_too() -> None:
    world = stocked()
    body = propose_request(world.state, world.request(), world.now)
    world.apply_policy(policy(rule={"requesters": ()}))
    with refused("entry-illegal", LedgerError):
        world.append(body)


def test_time_never_goes_back_behind_the_last_entry() -> None:
    world = stocked()
    later = START + timedelta(hours=1, microseconds=1500)
    assert world.state.time(later) == START + timedelta(hours=1, milliseconds=1)
    assert world.state.time(START - timedelta(days=1)) == START
    assert State().time(START) == START


def test_a_view_says_everything_at_each_stage() -> None:
    world = stocked(policy(rule={"approvals": 2}))
    grant = world.ask()
    now = world.now

    def view() -> dict[str, object]:
        return msgspec.to_builtins(grant_view(world.state, world.state.grants[grant], world.now))

    assert view()["waiting_for"] == ("approver", "second")
    world.approve(grant, comment="fine", seconds=60)
    assert view()["waiting_for"] == ("second",)
    assert view()["begin_until"] is None
    world.approve(grant, "second")
    seen = view()
    assert (seen["state"], seen["starts_at"], seen["ends_at"]) == ("scheduled", None, None)
    assert seen["begin_until"] == format_time(now + timedelta(days=1))
    assert seen["approvals"][0] == {
        "person": "approver",
        "at": format_time(now),
        "seconds": 60,
        "artifacts": ("dataset/digits",),
        "comment": "fine",
    }
    kernel = world.bind(grant)
    seen = view()
    assert (seen["state"], seen["begin_until"]) == ("active", None)
    assert seen["ends_at"] == format_time(now + timedelta(seconds=60))
    assert seen["warn"][-1] == format_time(now + timedelta(seconds=54))
    assert seen["kernels"][0]["kernel"] == kernel.id
    world.decide("revoke", grant, "admin", "found something")
    seen = view()
    assert (seen["ended_why"], seen["ended_by"]) == ("revoked", "admin")
    assert (seen["ended_reason"], seen["ending"]) == ("found something", (kernel.id,))
    assert seen["ended_at"] == format_time(world.now)
    assert seen["waiting_for"] == ()


def test_a_lapsed_request_says_when_and_waits_for_nobody() -> None:
    world = stocked()
    grant = world.state.grants[world.ask()]
    world.later(days=2)
    seen = grant_view(world.state, grant, world.now)
    assert (seen.state, seen.ended_why, seen.ended_by) == ("ended", "lapsed", None)
    assert seen.ended_at == seen.pending_until


def test_whoever_left_is_not_waited_for() -> None:
    world = stocked()
    grant = world.state.grants[world.ask()]
    world.remove("approver")
    assert who_is_asked(world.state, grant, world.now) == ("second",)
