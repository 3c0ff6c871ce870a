"""Every kind of statement, with the right key id and a signature that is not by that key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest

from jupyter_aisec.errors import IdentityError, LedgerError, RefusedError, SignatureError
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
from jupyter_aisec.people.dsse import Envelope, Signature, sign
from jupyter_aisec.times import format_time
from tests.grants.world import (
    BROKER,
    KEYS,
    SALT,
    Kernel,
    World,
    place,
    policy,
    refused,
    sha256,
    stocked,
)

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
    return envelope, lambda it: propose_sealed(world.state, it, place(it), wrapped, world.now)


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


def surplus(world: World, envelope: Envelope) -> dict[str, Signature]:
    """Signatures that would be recorded though no rule asks for them."""
    again = KEYS[7]
    person = signer_of(world, envelope)
    world.append(propose_enrolment(world.state, world.enrolment(person, again, person), world.now))
    first = envelope.signatures[0]
    return {
        "of the broker": Signature(keyid=BROKER.public.key_id, sig=bytes(64)),
        "of nobody": Signature(keyid="sha256:x", sig=bytes(64)),
        "a repeated one": first,
        "of a key twice": msgspec.structs.replace(first, sig=bytes(64)),
        "of the person's other key": Signature(keyid=again.public.key_id, sig=bytes(64)),
    }


def signer_of(world: World, envelope: Envelope) -> str:
    """The person whose enrolled key made one of the signatures."""
    owners = [world.state.directory.owner(one.keyid) for one in envelope.signatures]
    return next(one for one in owners if one is not None)


@pytest.mark.parametrize("place_of", ["before", "after"])
@pytest.mark.parametrize("kind", KINDS)
def test_no_statement_is_taken_with_a_signature_that_nobody_asked_for(
    kind: Prepare, place_of: str
) -> None:
    world = stocked()
    envelope, propose = kind(world)
    for fault, more in surplus(world, envelope).items():
        signatures = (
            (*envelope.signatures, more) if place_of == "after" else (more, *envelope.signatures)
        )
        with pytest.raises(IdentityError) as caught:
            propose(msgspec.structs.replace(envelope, signatures=signatures))
        assert caught.value.code in ("signature-surplus", "signer-unknown"), fault
    world.append(propose(envelope))


AT_ONCE: list[Prepare] = [request, approval, binding, decision, revocation]


@pytest.mark.parametrize("minutes", [-10.1, 10.1])
@pytest.mark.parametrize("kind", AT_ONCE)
def test_what_one_person_signs_is_sent_when_it_is_signed(kind: Prepare, minutes: float) -> None:
    world = stocked(policy(pending_for=86_400))
    envelope, propose = kind(world)
    payload = msgspec.json.decode(envelope.payload)
    key = world.keys[payload["person"]]
    payload["at"] = format_time(world.now + timedelta(minutes=minutes))
    with refused("statement-stale", RefusedError):
        propose(sign(payload, envelope.payload_type, key))
    payload["at"] = format_time(world.now + timedelta(minutes=9 if minutes > 0 else -9))
    world.append(propose(sign(payload, envelope.payload_type, key)))


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
