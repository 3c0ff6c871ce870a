"""The first entry, and changes of policy."""

from __future__ import annotations

from typing import Any

import pytest

from jupyter_aisec.errors import (
    ConflictError,
    IdentityError,
    LedgerError,
    MalformedError,
    RefusedError,
)
from jupyter_aisec.grants import State, make_genesis, policy_sha256, propose_policy
from jupyter_aisec.grants.fold import apply
from jupyter_aisec.ledger.bodies import Founder, PolicyApplied
from jupyter_aisec.ledger.entry import make_entry
from jupyter_aisec.times import format_time
from tests.grants.world import BROKER, KEYS, MODEL, ORIGIN, SALT, START, World, policy, refused


def founder(name: str = "person-a", *roles: str, key: int = 0) -> Founder:
    return Founder(name=name, roles=roles or ("admin",), key=KEYS[key].public)  # type: ignore[arg-type]


GENESIS: dict[str, tuple[dict[str, Any], str]] = {
    "no origin": ({"origin": " "}, "origin-invalid"),
    "an origin with a plus": ({"origin": "a+b"}, "origin-invalid"),
    "nobody": ({"people": ()}, "last-admin"),
    "no admin": ({"people": (founder("person-a", "approver"),)}, "last-admin"),
    "a name twice": ({"people": (founder(), founder(key=1))}, "person-exists"),
    "a key twice": ({"people": (founder(), founder("person-b"))}, "key-enrolled"),
    "a name that is none": ({"people": (founder("a b"),)}, "person-name-invalid"),
    "a person with the broker's key": ({"broker_key": KEYS[0].public}, "key-of-machine"),
    "a policy that waives": ({"policy": policy(rule={"approvals": 0})}, "waiver-needs-two-admins"),
    "a policy that observes": ({"policy": policy(mode="observe")}, "waiver-needs-two-admins"),
}


@pytest.mark.parametrize("fault", GENESIS)
def test_a_genesis_that_is_refused(fault: str) -> None:
    fields, code = GENESIS[fault]
    values: dict[str, Any] = {
        "origin": ORIGIN,
        "log_key": "key",
        "broker_key": BROKER.public,
        "model_key": MODEL.public,
        "seal_key": bytes(1216),
        "people": (founder(),),
        "policy": policy(),
        **fields,
    }
    with refused(code):
        make_genesis(**values)


def test_an_empty_ledger_has_no_genesis_and_no_policy() -> None:
    for name in ("genesis", "policy"):
        with refused("ledger-empty", LedgerError):
            getattr(State(), name)


def test_there_is_one_genesis_and_it_is_first() -> None:
    world = World()
    with refused("entry-illegal", LedgerError):
        world.append(world.entries[0].content())
    change = PolicyApplied(policy=policy().to_dict(), by=world.policy_change(policy()))
    entry = make_entry(0, format_time(START), change, SALT)
    with refused("entry-illegal", LedgerError):
        apply(State(), entry)


def test_a_policy_is_changed_by_as_many_admins_as_the_one_in_force_demands() -> None:
    world = World()
    new = policy(admins_for_policy=1, pending_for=60)
    with refused("admins-too-few", IdentityError):
        world.apply_policy(new, "admin")
    with refused("not-admin", IdentityError):
        world.apply_policy(new, "admin", "approver")
    world.apply_policy(new, "admin", "second")
    assert (world.state.policy, world.state.policy_version) == (new, 1)
    world.apply_policy(policy(), "admin")
    assert world.state.policy_version == 2


@pytest.mark.parametrize("waiver", [{"mode": "observe"}, {"rule": {"approvals": 0}}])
def test_a_waiver_takes_two_admins_even_where_one_may_change_the_policy(
    waiver: dict[str, Any],
) -> None:
    world = World(policy(admins_for_policy=1))
    with refused("waiver-needs-two-admins", RefusedError):
        world.apply_policy(policy(**waiver), "admin")
    world.apply_policy(policy(**waiver), "admin", "second")


def test_two_accounts_of_one_admin_sign_once() -> None:
    world = World(policy(same_person=(("admin", "second"),)))
    with refused("admins-too-few", IdentityError):
        world.apply_policy(policy(), "admin", "second")


def test_what_was_signed_is_what_is_applied_once_and_on_top_of_what_was_seen() -> None:
    world = World()
    new = policy(pending_for=60)
    with refused("policy-differs", MalformedError):
        signed = world.policy_change(policy())
        propose_policy(world.state, new, signed, world.now)
    with refused("policy-changed", ConflictError):
        signed = world.policy_change(new, replaces=1)
        propose_policy(world.state, new, signed, world.now)
    assert policy_sha256(new) != policy_sha256(policy())
