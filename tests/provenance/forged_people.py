"""Entries about people that a dishonest broker wrote, by the check that notices them."""

from __future__ import annotations

from jupyter_aisec.grants.statements import Enrolment, Invitation, Removal
from jupyter_aisec.ledger import bodies as b
from jupyter_aisec.people import SigningKey, sign_again
from tests.provenance.forger import Forger, forgery, replace


@forgery("people")
def invited_by_one_who_is_no_admin(f: Forger) -> None:
    index, body = f.find(b.PersonInvited, 1)
    by = f.resign(body.by, Invitation, "approver", person="approver")
    f.changes[index] = replace(body, by=by)


@forgery("people")
def invited_with_other_roles_than_signed(f: Forger) -> None:
    f.change(b.PersonInvited, roles=("admin", "approver"))


@forgery("people")
def invited_until_another_time_than_signed(f: Forger) -> None:
    f.change(b.PersonInvited, expires="2036-11-22T09:00:00.000Z")


@forgery("people")
def enrolled_with_a_token_that_nobody_gave(f: Forger) -> None:
    _, body = f.find(b.KeyEnrolled)
    by = f.resign(body.by, Enrolment, "approver", token_sha256="0" * 64)
    f.change(b.KeyEnrolled, by=by, token_sha256="0" * 64)


@forgery("people")
def enrolled_with_somebody_elses_token(f: Forger) -> None:
    _, body = f.find(b.KeyEnrolled)
    by = f.resign(body.by, Enrolment, "approver", person="admin")
    f.change(b.KeyEnrolled, by=by, person="admin")


@forgery("people")
def enrolled_after_the_invitation_expired(f: Forger) -> None:
    index, body = f.find(b.PersonInvited)
    expires = f.world.entries[index].at
    by = f.resign(body.by, Invitation, "admin", expires=expires)
    f.changes[index] = replace(body, by=by, expires=expires)


@forgery("people")
def enrolled_without_possession_of_the_key(f: Forger) -> None:
    _, body = f.find(b.KeyEnrolled)
    f.change(b.KeyEnrolled, by=f.resign(body.by, Enrolment, "admin"))


@forgery("people")
def enrolled_with_nobodys_word_for_it(f: Forger) -> None:
    _, body = f.find(b.KeyEnrolled)
    by = f.resign(body.by, Enrolment, "approver", token_sha256=None)
    f.change(b.KeyEnrolled, by=by, token_sha256=None)


@forgery("people")
def enrolled_on_the_word_of_one_who_is_no_admin(f: Forger) -> None:
    key = SigningKey.generate()
    honest = f.world.sign(Enrolment, "approver", key=key.public)
    by = sign_again(f.resign(honest, Enrolment, "approver", person="researcher"), key)
    f.changes[f.spare] = b.KeyEnrolled(person="researcher", key=key.public, by=by)


@forgery("policy")
def enrolled_on_the_word_of_one_admin(f: Forger) -> None:
    _, body = f.find(b.KeyEnrolled)
    by = f.resign(body.by, Enrolment, "approver", "admin", token_sha256=None)
    f.change(b.KeyEnrolled, by=by, token_sha256=None)


@forgery("policy")
def invited_by_one_admin_of_two(f: Forger) -> None:
    _, body = f.find(b.PersonInvited)
    f.change(b.PersonInvited, by=f.resign(body.by, Invitation, "admin"))


@forgery("policy")
def an_admin_removed_by_another_alone(f: Forger) -> None:
    by = f.world.sign(Removal, "admin", removes="researcher")
    f.changes[f.spare] = b.PersonRemoved(person="researcher", by=by)


@forgery("people")
def enrolled_another_key_than_signed(f: Forger) -> None:
    f.change(b.KeyEnrolled, key=f.world.keys["bystander"].public)


@forgery("people")
def signed_for_another_broker(f: Forger) -> None:
    _, body = f.find(b.PersonInvited)
    f.change(b.PersonInvited, by=f.resign(body.by, Invitation, "admin", origin="evil.example"))


@forgery("people")
def removed_by_one_who_is_no_admin(f: Forger) -> None:
    by = f.world.sign(Removal, "approver", removes="researcher")
    f.changes[f.spare] = b.PersonRemoved(person="researcher", by=by)
