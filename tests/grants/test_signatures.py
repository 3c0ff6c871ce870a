"""Every kind of statement, with the right key id and a signature that is not by that key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest

from jupyter_aisec.errors import LedgerError, SignatureError
from jupyter_aisec.grants import (
    fold,
    propose_approval,
    propose_binding,
    propose_decision,
    propose_enrolment,
    propose_invitation,
    propose_login,
    propose_policy,
    propose_removal,
    propose_request,
    propose_revocation,
    propose_sealed,
)
from jupyter_aisec.ledger.bodies import Body
from jupyter_aisec.ledger.entry import make_entry
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.times import format_time
from tests.grants.world import KEYS, SALT, Kernel, World, policy, sha256, stocked

Prepare = Callable[[World], tuple[Envelope, Callable[[Envelope], Body]]]


def request(world: World) -> tuple[Envelope, Callable[[Envelope], Body]]:
    return world.request(), lambda it: propose_request(world.state, it, world.now)


def approval(world: World) -> tuple[Envelope, Callable[[Envelope], Body]]:
    grant = world.ask()
    return world.approval(grant), lambda it: world.countersigned(
        propose_approval(world.state, it, world.now)
    )


def binding(world: World) -> tuple[Envelope, Callable[[Envelope], Body]]:
    grant = world.ask()
    world.approve(grant)
    envelope = world.binding(grant, Kernel())
    return envelope, lambda it: propose_binding(world.state, it, world.now)


def decision(world: World) -> tuple[Envelope, Callable[[Envelope], Body]]:
    envelope = world.decision("deny", world.ask(), "approver")
    return envelope, lambda it: propose_decision(world.state, it, world.now)


def invitation(world: World) -> tuple[Envelope, Callable[[Envelope], Body]]:
    envelope = world.invitation("rita", "researcher")
    return envelope, lambda it: propose_invitation(world.state, it, world.now)


def removal(world: World) -> tuple[Envelope, Callable[[Envelope], Body]]:
    envelope = world.removal("approver", "admin")
    return envelope, lambda it: propose_removal(world.state, it, world.now)


def enrolment(world: World) -> tuple[Envelope, Callable[[Envelope], Body]]:
    envelope = world.enrolment("researcher", KEYS[8], "researcher")
    return envelope, lambda it: propose_enrolment(world.state, it, world.now)


def revocation(world: World) -> tuple[Envelope, Callable[[Envelope], Body]]:
    envelope = world.revocation(world.keys["approver"].public.key_id, "admin")
    return envelope, lambda it: propose_revocation(world.state, it, world.now)


def login(world: World) -> tuple[Envelope, Callable[[Envelope], Body]]:
    lifetime = timedelta(hours=1)
    return world.login("admin"), lambda it: propose_login(
        world.state, it, world.now, sha256("t"), lifetime
    )


def change(world: World) -> tuple[Envelope, Callable[[Envelope], Body]]:
    new = policy(pending_for=9)
    return world.policy_change(new), lambda it: propose_policy(world.state, new, it, world.now)


def manifest(world: World) -> tuple[Envelope, Callable[[Envelope], Body]]:
    wrapped = {"key_1": sha256("1"), "key_2": sha256("2")}
    envelope = world.manifest("dataset/new")
    return envelope, lambda it: propose_sealed(world.state, it, "file:///x", wrapped, world.now)


KINDS: list[Prepare] = [
    request,
    approval,
    binding,
    decision,
    invitation,
    removal,
    enrolment,
    revocation,
    login,
    change,
    manifest,
]


def broken(envelope: Envelope, which: int) -> Envelope:
    """The envelope with one of its signatures made of zeros."""
    signatures = list(envelope.signatures)
    signatures[which] = msgspec.structs.replace(signatures[which], sig=bytes(64))
    return msgspec.structs.replace(envelope, signatures=tuple(signatures))


@pytest.mark.parametrize("kind", KINDS)
def test_no_statement_is_taken_with_a_signature_that_does_not_verify(kind: Prepare) -> None:
    world = stocked()
    envelope, propose = kind(world)
    for which in range(len(envelope.signatures)):
        with pytest.raises(SignatureError):
            propose(broken(envelope, which))
    world.append(propose(envelope))


@pytest.mark.parametrize("kind", KINDS)
def test_a_full_audit_finds_every_signature_that_does_not_verify(kind: Prepare) -> None:
    world = stocked()
    envelope, propose = kind(world)
    body = propose(envelope)
    name, signed = next(
        (name, value)
        for name in body.__struct_fields__
        if isinstance(value := getattr(body, name), Envelope)
    )
    at = format_time(world.now)
    for which in range(len(signed.signatures)):
        forged = msgspec.structs.replace(body, **{name: broken(signed, which)})
        entry = make_entry(world.state.size, at, forged, SALT)
        with pytest.raises(LedgerError) as caught:
            fold([*world.entries, entry], signatures=True)
        assert isinstance(caught.value.__cause__, SignatureError)
    entry = make_entry(world.state.size, at, body, SALT)
    assert fold([*world.entries, entry], signatures=True).size == world.state.size + 1
