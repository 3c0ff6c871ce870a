"""Files to countersign: what is not one, or was changed on the way, is not signed."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from jupyter_aisec.client import PersonClient, Unsent
from jupyter_aisec.client.countersign import (
    countersign,
    missing,
    prepare_invitation,
    prepare_policy,
    read_unsent,
    send,
    signers,
)
from jupyter_aisec.errors import ConflictError, MalformedError, SignatureError
from jupyter_aisec.grants.policy import DEFAULT_POLICY_TEXT
from jupyter_aisec.grants.statements import Invitation, Login
from jupyter_aisec.people.canonical import canonical
from jupyter_aisec.people.dsse import sign
from jupyter_aisec.people.keys import SigningKey

replace = msgspec.structs.replace
OTHER = DEFAULT_POLICY_TEXT.replace('longest = "4h"', 'longest = "9h"')


@pytest.fixture
def invitation(researcher: PersonClient) -> Unsent:
    return prepare_invitation(researcher, "newcomer", ["approver"])[0]


@pytest.fixture
def policy(researcher: PersonClient) -> Unsent:
    return prepare_policy(researcher, DEFAULT_POLICY_TEXT)


def test_it_is_read_as_it_was_written(invitation: Unsent, policy: Unsent) -> None:
    for unsent in (invitation, policy):
        assert read_unsent(unsent.to_bytes()) == unsent


NOT_ONE: dict[str, Callable[[Unsent, Unsent], Unsent]] = {
    "another format": lambda one, _: replace(one, format="jupyter-aisec/unsent/v2"),
    "a policy that nobody changes": lambda one, _: replace(one, policy=DEFAULT_POLICY_TEXT),
    "a change without its policy": lambda _, change: replace(change, policy=None),
    "another policy than signed": lambda _, change: replace(change, policy=OTHER),
    "another kind of statement": lambda one, _: replace(
        one, envelope=replace(one.envelope, payload_type=Login.payload_type)
    ),
    "a statement of another kind": lambda one, change: replace(
        one, envelope=replace(one.envelope, payload=change.envelope.payload)
    ),
}


@pytest.mark.parametrize("fault", NOT_ONE)
def test_what_is_not_one(fault: str, invitation: Unsent, policy: Unsent) -> None:
    with pytest.raises(MalformedError):
        read_unsent(NOT_ONE[fault](invitation, policy).to_bytes())


def test_what_was_changed_on_the_way_is_noticed(approver: PersonClient, invitation: Unsent) -> None:
    payload = invitation.envelope.payload.replace(b"newcomer", b"newcomes")
    changed = replace(invitation, envelope=replace(invitation.envelope, payload=payload))
    with pytest.raises(SignatureError):
        signers(approver, changed)


def test_a_signature_that_is_nobodys_is_noticed(approver: PersonClient, invitation: Unsent) -> None:
    envelope = invitation.envelope
    forged = sign(envelope.payload, envelope.payload_type, SigningKey.generate())
    with pytest.raises(SignatureError) as caught:
        signers(approver, replace(invitation, envelope=forged))
    assert caught.value.code == "signer-unknown"


def test_what_is_meant_for_another_broker_is_noticed(
    approver: PersonClient, researcher: PersonClient, invitation: Unsent
) -> None:
    said = invitation.envelope.read(Invitation, Invitation.payload_type, "It")
    elsewhere = researcher.sign(replace(said, origin="evil.example"))
    with pytest.raises(MalformedError, match=r"evil\.example"):
        signers(approver, replace(invitation, envelope=elsewhere))


def test_nobody_signs_twice(
    researcher: PersonClient, approver: PersonClient, invitation: Unsent
) -> None:
    with pytest.raises(ConflictError) as caught:
        countersign(researcher, invitation)
    assert caught.value.code == "signed-already"
    both = countersign(approver, invitation)
    assert signers(researcher, both) == ("researcher", "approver")
    assert missing(researcher, both) == 0
    for _ in range(2):  # the reply may be lost
        assert send(approver, both)["name"] == "newcomer"


def test_a_name_that_is_none_is_refused_before_others_are_asked(researcher: PersonClient) -> None:
    with pytest.raises(MalformedError):
        prepare_invitation(researcher, "../newcomer", ["approver"])


def test_a_file_is_canonical(invitation: Unsent) -> None:
    assert canonical(invitation) == invitation.to_bytes()
    with pytest.raises(MalformedError):
        read_unsent(b" " + invitation.to_bytes())
