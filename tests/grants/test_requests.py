from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from jupyter_aisec.errors import (
    AisecError,
    ConflictError,
    IdentityError,
    MalformedError,
    NotFoundError,
    RefusedError,
    SignatureError,
)
from jupyter_aisec.grants import Refusal, explain_request, names, propose_enrolment, propose_request
from jupyter_aisec.grants.statements import Request
from jupyter_aisec.grants.view import Explained, explained
from jupyter_aisec.people.dsse import sign, sign_again
from jupyter_aisec.times import format_time
from tests.grants.world import KEYS, START, policy, refused, sha256, stocked, ulid

FORM: dict[str, tuple[dict[str, Any], str]] = {
    "id of another kind": ({"grant": f"run_{ulid(1)}"}, "id-invalid"),
    "seat of no kind": ({"seat": "desk:1"}, "seat-invalid"),
    "no artifacts": ({"artifacts": ()}, "artifacts-invalid"),
    "too many artifacts": (
        {"artifacts": tuple(f"dataset/{n:03}" for n in range(101))},
        "artifacts-invalid",
    ),
    "artifacts not sorted": ({"artifacts": ("weights/b", "dataset/a")}, "artifacts-invalid"),
    "an artifact twice": ({"artifacts": ("dataset/a", "dataset/a")}, "artifacts-invalid"),
    "a name of no kind": ({"artifacts": ("models/a",)}, "artifact-name-invalid"),
    "a name with a path": ({"artifacts": ("dataset/a/b",)}, "artifact-name-invalid"),
    "version zero": ({"artifacts": ("dataset/a@0",)}, "artifact-name-invalid"),
    "no time": ({"seconds": 0}, "time-invalid"),
    "eternity": ({"seconds": 2**53 - 1}, "time-invalid"),
    "no reason": ({"reason": "  "}, "reason-missing"),
    "a book for a reason": ({"reason": "x" * 4001}, "reason-missing"),
    "a start that has passed": ({"start": format_time(START - timedelta(1))}, "start-passed"),
    "a start years ahead": ({"start": "9999-12-31T23:59:59.999Z"}, "start-too-late"),
    "a start that is no time": ({"start": "tomorrow"}, "malformed"),
}


@pytest.mark.parametrize("fault", FORM)
@pytest.mark.parametrize("mode", ["enforce", "observe"])
def test_a_request_that_is_not_of_its_form_is_refused_in_every_mode(fault: str, mode: str) -> None:
    world = stocked()
    if mode == "observe":
        world.apply_policy(policy(mode="observe"))
    fields, code = FORM[fault]
    with refused(code, MalformedError):
        propose_request(world.state, world.request(**fields), world.now)


def test_terms_are_set_by_policy_and_pending_is_bounded() -> None:
    world = stocked()
    grant = world.state.grants[world.ask(seconds=9 * 3600)]
    assert grant.terms.seconds == 4 * 3600
    assert grant.terms.approvers == ("approver", "second")
    assert grant.pending_until == START + timedelta(days=1)


def test_a_refusal_of_the_policy_is_raised_with_its_code() -> None:
    world = stocked()
    with refused("requester-not-allowed", RefusedError):
        world.ask(person="admin")


def test_an_unknown_artifact_and_version_are_named() -> None:
    world = stocked()
    with refused("artifact-unknown", NotFoundError):
        world.ask("dataset/none")
    with refused("version-unknown", NotFoundError):
        world.ask("dataset/digits@2")


def test_a_grant_id_is_used_once() -> None:
    world = stocked()
    grant = world.ask()
    with refused("grant-exists", ConflictError):
        world.ask(grant=grant, reason="another")


def test_the_same_statement_again_is_recognised() -> None:
    world = stocked()
    envelope = world.request()
    world.append(propose_request(world.state, envelope, world.now))
    with refused("statement-recorded", ConflictError):
        propose_request(world.state, envelope, world.now)


def test_a_statement_for_another_ledger_is_refused() -> None:
    world = stocked()
    with refused("origin-wrong", MalformedError):
        propose_request(world.state, world.request(origin="elsewhere"), world.now)


def test_a_statement_signed_by_somebody_else_or_by_nobody_known_or_by_two_is_refused() -> None:
    world = stocked()
    envelope = world.request()
    statement = (envelope.payload, envelope.payload_type)
    with refused("signer-unknown", IdentityError):
        propose_request(world.state, sign(*statement, world.keys["approver"]), world.now)
    with refused("signer-unknown", IdentityError):
        propose_request(world.state, sign(*statement, KEYS[9]), world.now)
    with refused("signers-many", IdentityError):
        both = sign_again(envelope, world.keys["approver"])
        propose_request(world.state, both, world.now)
    world.keys["ghost"] = KEYS[9]
    with refused("person-unknown", NotFoundError):
        propose_request(world.state, world.request(person="ghost"), world.now)


def test_a_signature_that_does_not_verify_is_refused_before_anything_is_appended() -> None:
    world = stocked()
    forged, other = world.request(), world.request()
    with pytest.raises(SignatureError):
        propose_request(
            world.state,
            type(forged)(
                payload=forged.payload,
                payload_type=forged.payload_type,
                signatures=other.signatures,
            ),
            world.now,
        )


def test_a_removed_person_and_a_revoked_key_ask_for_nothing() -> None:
    world = stocked()
    old, new = world.keys["researcher"], KEYS[8]
    world.append(
        propose_enrolment(world.state, world.enrolment("researcher", new, "researcher"), world.now)
    )
    world.revoke_key(old.public.key_id, "admin")
    with refused("key-not-valid", IdentityError):
        world.ask()
    world.keys["researcher"] = new
    world.ask()
    world.remove("researcher")
    with refused("person-removed", IdentityError):
        world.ask()


def test_an_extension_is_a_new_request_with_the_same_approvals_also_after_the_end() -> None:
    world = stocked()
    old = world.ask()
    world.approve(old)
    world.bind(old)
    world.later(hours=2)
    new = world.ask(extends=old)
    grant = world.state.grants[new]
    assert grant.request.extends == old
    assert grant.terms.approvals == 1
    assert grant.state(world.now) == "pending"
    assert world.state.grants[old].ended_why(world.now) == "expired"


def test_an_extension_of_what_is_not_there_not_yours_or_less_is_refused() -> None:
    world = stocked()
    with refused("grant-unknown", NotFoundError):
        world.ask(extends=f"grant_{ulid(99)}")
    old = world.ask()
    with refused("extends-more", RefusedError):
        world.ask("dataset/digits", "weights/minilm", extends=old)
    world.invite("rita", "researcher")
    with refused("extends-other-person", RefusedError):
        world.ask(person="rita", extends=old)


def test_a_dry_run_says_the_terms_or_the_refusal() -> None:
    world = stocked()
    envelope = world.request()
    asked = envelope.read(Request, Request.payload_type, "it")
    found = explain_request(world.state, asked, world.now)
    assert found == propose_request(world.state, envelope, world.now).terms
    world.apply_policy(policy(rule={"requesters": ("person:nobody",)}))
    refused = explain_request(world.state, asked, world.now)
    assert isinstance(refused, Refusal)
    assert explained(found) == Explained(terms=found, refusal=None)
    assert explained(refused) == Explained(terms=None, refusal=refused)


def test_a_person_without_a_key_is_not_counted_as_an_approver() -> None:
    world = stocked()
    world.revoke_key(world.keys["second"].public.key_id, "admin")
    assert world.state.grants[world.ask()].terms.approvers == ("approver",)
    world.revoke_key(world.keys["approver"].public.key_id, "admin")
    with refused("approvers-too-few", RefusedError):
        world.ask()


def test_labels_of_every_version_asked_for_are_put_to_the_policy() -> None:
    world = stocked()
    world.seal("dataset/digits", labels=["phi"])
    assert world.state.grants[world.ask("dataset/digits")].labels == {
        "dataset/digits": frozenset({"phi"})
    }
    pinned = world.state.grants[world.ask("dataset/digits@1")]
    assert pinned.labels == {"dataset/digits": frozenset()}


def test_digests_and_names_are_checked_by_form() -> None:
    names.check_digest(sha256("x"), "It")
    for check, text in [
        (lambda text: names.check_digest(text, "It"), "ABC"),
        (names.check_person, "one\ntwo"),
    ]:
        with pytest.raises(AisecError):
            check(text)
