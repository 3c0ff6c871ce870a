"""People, their keys and their sessions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from jupyter_aisec.errors import (
    AisecError,
    ConflictError,
    IdentityError,
    LedgerError,
    MalformedError,
    NotFoundError,
    RefusedError,
)
from jupyter_aisec.grants import (
    propose_enrolment,
    propose_invitation,
    propose_login,
    propose_removal,
    propose_revocation,
)
from jupyter_aisec.grants.statements import Invitation
from jupyter_aisec.ledger.bodies import Body, PersonInvited
from jupyter_aisec.people.dsse import sign
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.times import format_time
from tests.grants.world import BROKER, KEYS, World, policy, refused, sha256, stocked


def test_an_invited_person_enrols_a_key_and_may_sign_from_then_on() -> None:
    world = stocked()
    world.invite("rita", "researcher")
    assert world.state.directory.person("rita").roles == ("researcher",)
    assert world.state.grants[world.ask(person="rita")].person == "rita"


INVITATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "a name that is none": ({"invites": "a b"}, "person-name-invalid"),
    "a name that is taken": ({"invites": "approver"}, "person-exists"),
    "no role": ({"roles": ()}, "roles-invalid"),
    "a role twice": ({"roles": ("admin", "admin")}, "roles-invalid"),
    "roles not sorted": ({"roles": ("researcher", "admin")}, "roles-invalid"),
    "a token that is no digest": ({"token_sha256": "token"}, "digest-invalid"),
    "an end that has passed": ({"expires": -1}, "expiry-invalid"),
    "an end far ahead": ({"expires": 31}, "expiry-invalid"),
    "by somebody who is no admin": ({"person": "approver"}, "not-admin"),
}


@pytest.mark.parametrize("fault", INVITATIONS)
def test_an_invitation_that_is_refused(fault: str) -> None:
    world = stocked()
    fields, code = INVITATIONS[fault]
    values = {
        **world.head("admin"),
        "invites": "rita",
        "roles": ("researcher",),
        "token_sha256": sha256("t"),
        "expires": 1,
        **fields,
    }
    values["expires"] = format_time(world.now + timedelta(days=values["expires"]))
    with refused(code):
        envelope = world.sign(Invitation(**values), "second")
        propose_invitation(world.state, envelope, world.now)


def test_a_token_is_given_out_once() -> None:
    world = stocked()
    envelope = world.invitation("rita", "researcher")
    world.append(propose_invitation(world.state, envelope, world.now))
    values = {**world.head("admin"), "roles": ("researcher",), "invites": "sam"}
    again = Invitation(
        **values,
        token_sha256=sha256("token of rita"),
        expires=format_time(world.now + timedelta(days=1)),
    )
    with refused("token-used", ConflictError):
        propose_invitation(world.state, world.sign(again, "second"), world.now)


@pytest.mark.parametrize("role", ["researcher", "approver", "admin"])
def test_one_admin_alone_adds_nobody_where_there_are_two(role: str) -> None:
    world = stocked()
    assert world.state.policy.admins_for_people == 2
    with refused("admins-too-few", IdentityError):
        world.invite("sock", role, signers=("admin",))
    with refused("not-admin", IdentityError):
        world.invite("sock", role, signers=("admin", "approver"))
    with refused("entry-illegal", LedgerError):  # nor by a broker that does not ask its rules
        by = world.invitation("sock", role, signers=("admin",))
        said = by.read(Invitation, Invitation.payload_type, "It")
        fields = {"roles": said.roles, "token_sha256": said.token_sha256, "expires": said.expires}
        world.append(PersonInvited(person="sock", by=by, **fields))
    world.invite("newcomer", role, signers=("admin", "second"))


def alone() -> World:
    """A world whose only admin is ``admin``."""
    world = stocked()
    world.remove("second", "second")
    return world


def test_the_only_admin_adds_the_second_and_from_then_on_both_sign() -> None:
    world = alone()
    envelope = world.invitation("admin-2", "admin", signers=("admin",))
    world.append(propose_invitation(world.state, envelope, world.now))
    world.invite("admin-3", "admin", signers=("admin",))  # the token of admin-2 was lost
    with refused("admins-too-few", IdentityError):
        world.invite("sock", "approver", signers=("admin",))
    world.remove("admin-2", "admin")  # who never was one of the admins there are
    world.invite("newcomer", "approver", signers=("admin", "admin-3"))


def test_no_admin_becomes_the_only_one_by_taking_away_from_another() -> None:
    world = stocked()
    with refused("admins-too-few", IdentityError):
        world.remove("second", "admin")
    world.revoke_key(world.keys["second"].public.key_id, "admin")
    with refused("admins-too-few", IdentityError):
        world.invite("sock", "approver", signers=("admin",))
    with refused("admins-too-few", IdentityError):
        world.remove("second", "admin")
    with refused("enrolment-unvouched", IdentityError):
        envelope = world.enrolment("second", KEYS[8], "admin")
        propose_enrolment(world.state, envelope, world.now)


def test_an_admin_is_removed_by_as_many_as_would_add_one_and_others_by_one() -> None:
    world = stocked()
    world.invite("third", "admin")
    world.remove("third", "admin", "second")
    world.remove("approver", "admin")


def test_a_policy_that_says_one_admin_says_so() -> None:
    world = stocked(policy(admins_for_people=1))
    world.invite("rita", "admin", "approver", signers=("admin",))
    world.remove("rita", "admin")


def test_the_only_admin_gives_a_person_another_key() -> None:
    world = alone()
    envelope = world.enrolment("researcher", KEYS[8], "admin")
    world.append(propose_enrolment(world.state, envelope, world.now))


def test_two_accounts_of_one_admin_are_one_admin() -> None:
    world = stocked(policy(admins_for_people=2, same_person=(("admin", "second"),)))
    world.invite("third", "admin", signers=("admin", "second"))
    with refused("admins-too-few", IdentityError):
        world.invite("sock", "approver", signers=("admin", "second"))


def test_a_person_leaves_or_is_removed_and_the_name_is_never_given_again() -> None:
    world = stocked()
    world.remove("approver", "approver")
    with refused("person-removed", ConflictError):
        world.remove("approver")
    with refused("person-exists", ConflictError):
        world.invite("approver", "approver")
    with refused("not-admin", IdentityError):
        world.remove("second", "researcher")
    with refused("person-unknown", NotFoundError):
        world.remove("nobody")


def test_the_last_admin_stays_and_keeps_a_key() -> None:
    world = stocked()
    second = world.keys["second"].public.key_id
    world.revoke_key(second, "admin")
    with refused("last-admin", RefusedError):
        world.revoke_key(world.keys["admin"].public.key_id, "admin")
    with refused("last-admin", RefusedError):  # the other one cannot sign
        world.remove("admin")
    world = alone()
    with refused("last-admin", RefusedError):
        world.remove("admin")
    envelope = world.invitation("admin-2", "admin", signers=("admin",))
    world.append(propose_invitation(world.state, envelope, world.now))
    with refused("last-admin", RefusedError):  # the other one may never come
        world.remove("admin")


# Who signs for a second key of the researcher: signers, and the refusal if there is one.
VOUCHED = {
    "an enrolled key": (("researcher",), None),
    "two admins": (("admin", "second"), None),
    "one admin": (("admin",), "enrolment-unvouched"),
    "two others": (("admin", "approver"), "enrolment-unvouched"),
    "nobody": ((), "enrolment-unvouched"),
}


@pytest.mark.parametrize("who", VOUCHED)
def test_a_key_is_enrolled_by_an_enrolled_key_or_two_admins(who: str) -> None:
    world = stocked()
    signers, code = VOUCHED[who]
    envelope = world.enrolment("researcher", KEYS[8], *signers)
    if code:
        with refused(code, IdentityError):
            propose_enrolment(world.state, envelope, world.now)
        return
    world.append(propose_enrolment(world.state, envelope, world.now))
    world.keys["researcher"] = KEYS[8]
    assert world.ask()


def test_a_key_signs_its_own_enrolment_and_is_nobody_elses() -> None:
    world = stocked()
    other = world.enrolment("researcher", KEYS[8], "researcher")
    unsigned = sign(other.payload, other.payload_type, world.keys["researcher"])
    with refused("possession-unproved", IdentityError):
        propose_enrolment(world.state, unsigned, world.now)
    for key, code in [
        (world.keys["admin"], "key-enrolled"),
        (BROKER, "key-of-machine"),
        (SigningKey.generate("p256"), "malformed"),
    ]:
        with refused(code):
            envelope = world.enrolment("researcher", key, "researcher")
            propose_enrolment(world.state, envelope, world.now)


def test_a_kernels_key_is_not_enrolled() -> None:
    world = stocked()
    grant = world.ask()
    world.approve(grant)
    kernel = world.bind(grant)
    with refused("key-of-machine", IdentityError):
        envelope = world.enrolment("researcher", kernel.key, "researcher")
        propose_enrolment(world.state, envelope, world.now)


def test_a_token_enrols_one_key_of_the_person_it_was_given_to_in_its_time() -> None:
    world = stocked()
    world.append(propose_invitation(world.state, world.invitation("rita", "researcher"), world.now))
    token = "token of rita"
    envelope = world.enrolment("rita", KEYS[8], token=token)
    for wrong in (None, "another"):
        with refused("token-wrong", IdentityError):
            propose_enrolment(world.state, envelope, world.now, wrong)
    for_another = world.enrolment("researcher", KEYS[8], token=token)
    with refused("token-invalid", IdentityError):
        propose_enrolment(world.state, for_another, world.now, token)
    with refused("token-invalid", IdentityError):
        propose_enrolment(world.state, envelope, world.now + timedelta(days=1), token)
    unknown = world.enrolment("rita", KEYS[8], token="x")
    with refused("token-invalid", IdentityError):
        propose_enrolment(world.state, unknown, world.now, "x")
    world.append(propose_enrolment(world.state, envelope, world.now, token))
    again = world.enrolment("rita", KEYS[9], token=token)
    with refused("token-invalid", IdentityError):
        propose_enrolment(world.state, again, world.now, token)


def test_a_key_is_revoked_by_its_owner_or_an_admin_once_and_for_ever() -> None:
    world = stocked()
    key = world.keys["approver"].public.key_id
    with refused("not-admin", IdentityError):
        world.revoke_key(key, "researcher")
    world.revoke_key(key, "admin")
    world.later(seconds=1)
    with refused("key-unknown", NotFoundError):
        world.revoke_key(key, "admin")
    world.later(seconds=1)
    with refused("key-unknown", NotFoundError):
        world.revoke_key("sha256:none", "admin")
    with refused("key-enrolled", ConflictError):
        envelope = world.enrolment("approver", world.keys["approver"], "admin", "second")
        propose_enrolment(world.state, envelope, world.now)


def test_a_session_holds_until_it_expires_its_key_is_revoked_or_its_person_leaves() -> None:
    for ending in ("time", "key", "person", None):
        world = stocked()
        digest = world.sign_in("approver")
        assert world.state.session(digest, world.now).person == "approver"
        if ending == "time":
            world.later(hours=8)
        elif ending == "key":
            world.revoke_key(world.keys["approver"].public.key_id, "admin")
        elif ending == "person":
            world.remove("approver")
        else:
            digest = sha256("unknown")
        with refused("session-invalid", IdentityError):
            world.state.session(digest, world.now)


def test_a_log_in_is_fresh_bounded_and_used_once() -> None:
    world = stocked()
    digest, day = sha256("t"), timedelta(days=1)
    for minutes in (6, -6):
        stale = world.login("approver", at=format_time(world.now + timedelta(minutes=minutes)))
        with refused("login-stale", IdentityError):
            propose_login(world.state, stale, world.now, digest, day)
    envelope = world.login("approver")
    with refused("digest-invalid", MalformedError):
        propose_login(world.state, envelope, world.now, "t", day)
    for lifetime in (timedelta(0), 8 * day):
        with refused("expiry-invalid", MalformedError):
            propose_login(world.state, envelope, world.now, digest, lifetime)
    world.append(propose_login(world.state, envelope, world.now, digest, day))
    with refused("statement-recorded", ConflictError):
        propose_login(world.state, envelope, world.now, sha256("u"), day)
    with refused("token-used", ConflictError):
        propose_login(world.state, world.login("approver"), world.now, digest, day)


def bodies(world: World) -> dict[str, tuple[Body, dict[str, Any]]]:
    """One legal body of each kind, and a change that its signer did not sign."""
    world.append(propose_invitation(world.state, world.invitation("sam", "researcher"), world.now))
    key = world.keys["approver"].public.key_id
    state, now = world.state, world.now
    return {
        "invitation": (
            propose_invitation(state, world.invitation("rita", "researcher"), now),
            {"roles": ("admin",)},
        ),
        "removal": (
            propose_removal(state, world.removal("approver", "admin"), now),
            {"person": "second"},
        ),
        "enrolment": (
            propose_enrolment(
                state, world.enrolment("sam", KEYS[8], token="token of sam"), now, "token of sam"
            ),
            {"person": "approver"},
        ),
        "revocation": (
            propose_revocation(state, world.revocation(key, "admin"), now),
            {"key_id": world.keys["second"].public.key_id},
        ),
        "session": (
            propose_login(state, world.login("approver"), now, sha256("t"), timedelta(hours=1)),
            {"person": "admin"},
        ),
    }


@pytest.mark.parametrize("kind", ["invitation", "removal", "enrolment", "revocation", "session"])
def test_an_entry_that_differs_from_what_was_signed_is_refused(kind: str) -> None:
    world = stocked()
    body, change = bodies(world)[kind]
    with refused("entry-illegal", LedgerError):
        world.append(msgspec.structs.replace(body, **change))
    world.append(body)
    with pytest.raises(AisecError):
        world.append(body)
