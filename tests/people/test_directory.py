"""The directory answers for any entry of the ledger what it would have answered then."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_aisec.errors import (
    ConflictError,
    IdentityError,
    MalformedError,
    NotFoundError,
    SignatureError,
)
from jupyter_aisec.people import Directory, Envelope, SigningKey, sign, sign_again
from tests.effort import examples

ADA, BO, STRANGER = SigningKey.generate(), SigningKey.generate(), SigningKey.generate()
SPARE = SigningKey.generate()


def _signed(*keys: SigningKey) -> Envelope:
    envelope = sign({"say": "this"}, "text/plain", keys[0])
    for key in keys[1:]:
        envelope = sign_again(envelope, key)
    return envelope


def _two_people() -> Directory:
    return (
        Directory()
        .add("ada", ("researcher", "admin"), 0)
        .add("bo", ("approver",), 0)
        .enrol("ada", ADA.public, 0)
        .enrol("bo", BO.public, 3)
    )


def test_an_enrolled_key_signs_for_its_person() -> None:
    directory = _two_people()
    assert directory.signer(_signed(ADA), 1) == "ada"
    assert directory.signer(_signed(BO), 4) == "bo"
    assert directory.owner(ADA.public.key_id) == "ada"
    assert directory.owner(STRANGER.public.key_id) is None
    assert [person.name for person in directory.people] == ["ada", "bo"]


def test_nothing_changes_in_place() -> None:
    before = _two_people()
    before.remove("bo", 9)
    before.enrol("ada", SPARE.public, 9)
    assert before.person("bo").removed is None
    assert before.owner(SPARE.public.key_id) is None


def test_roles_are_those_of_the_moment() -> None:
    directory = _two_people().remove("bo", 7)
    assert directory.holders("approver", 0) == ()
    assert directory.holders("approver", 7) == ("bo",)
    assert directory.holders("approver", 8) == ()
    assert directory.has_role("ada", "admin", 5)
    assert not directory.has_role("ada", "approver", 5)
    assert not directory.has_role("nobody", "admin", 5)


@pytest.mark.parametrize(
    ("index", "valid"), [(3, False), (4, True), (6, True), (7, False), (100, False)]
)
def test_a_revoked_key_signed_only_between_its_entries(index: int, valid: bool) -> None:
    directory = _two_people().revoke("bo", BO.public.key_id, 6)
    if valid:
        assert directory.signer(_signed(BO), index) == "bo"
    else:
        with pytest.raises(IdentityError) as caught:
            directory.signer(_signed(BO), index)
        assert caught.value.code == "key-not-valid"


def test_nobody_signs_after_being_removed() -> None:
    directory = _two_people().remove("bo", 6)
    assert directory.signer(_signed(BO), 6) == "bo"
    with pytest.raises(IdentityError) as caught:
        directory.signer(_signed(BO), 7)
    assert caught.value.code == "key-not-valid"


def test_a_revoked_key_leaves_the_persons_other_keys() -> None:
    directory = _two_people().enrol("ada", SPARE.public, 4).revoke("ada", ADA.public.key_id, 5)
    assert directory.signer(_signed(SPARE), 9) == "ada"
    with pytest.raises(IdentityError):
        directory.signer(_signed(ADA), 9)


def test_signatures_that_are_nobodys_are_left_aside() -> None:
    assert _two_people().signer(_signed(STRANGER, ADA), 5) == "ada"


def test_a_person_counts_once_whatever_keys_they_use() -> None:
    directory = _two_people().enrol("ada", SPARE.public, 4)
    assert directory.signers(_signed(ADA, SPARE, ADA), 5) == ("ada",)
    assert directory.signers(_signed(ADA, SPARE, BO), 5) == ("ada", "bo")


@pytest.mark.parametrize(
    ("keys", "code"),
    [
        pytest.param((STRANGER,), "signer-unknown", id="stranger"),
        pytest.param((ADA, BO), "signers-many", id="two-people"),
    ],
)
def test_who_signed_must_be_one_known_person(keys: tuple[SigningKey, ...], code: str) -> None:
    with pytest.raises(IdentityError) as caught:
        _two_people().signer(_signed(*keys), 5)
    assert caught.value.code == code


def test_a_signature_that_does_not_verify_is_refused() -> None:
    broken = msgspec.structs.replace(_signed(ADA), payload=b"{}")
    with pytest.raises(SignatureError):
        _two_people().signer(broken, 5)


def test_one_broken_signature_among_valid_ones_is_refused() -> None:
    good = _signed(ADA, BO)
    swapped = msgspec.structs.replace(good.signatures[1], sig=good.signatures[0].sig)
    with pytest.raises(SignatureError):
        _two_people().signers(
            msgspec.structs.replace(good, signatures=(good.signatures[0], swapped)), 5
        )


def test_changes_that_make_no_sense_are_refused_by_name() -> None:
    directory = _two_people().remove("bo", 6)
    refusals = [
        (ConflictError, "person-exists", lambda: directory.add("ada", (), 9)),
        (ConflictError, "person-exists", lambda: directory.add("bo", (), 9)),
        (ConflictError, "person-removed", lambda: directory.remove("bo", 9)),
        (ConflictError, "person-removed", lambda: directory.enrol("bo", SPARE.public, 9)),
        (ConflictError, "person-removed", lambda: directory.revoke("bo", BO.public.key_id, 9)),
        (ConflictError, "key-enrolled", lambda: directory.enrol("ada", BO.public, 9)),
        (NotFoundError, "person-unknown", lambda: directory.person("cy")),
        (NotFoundError, "person-unknown", lambda: directory.enrol("cy", SPARE.public, 9)),
        (NotFoundError, "key-unknown", lambda: directory.revoke("ada", BO.public.key_id, 9)),
    ]
    for error, code, change in refusals:
        with pytest.raises(error) as caught:
            change()
        assert caught.value.code == code


def test_a_key_is_revoked_once_and_never_enrolled_again() -> None:
    directory = _two_people().revoke("ada", ADA.public.key_id, 5)
    with pytest.raises(NotFoundError):
        directory.revoke("ada", ADA.public.key_id, 6)
    with pytest.raises(ConflictError):
        directory.enrol("ada", ADA.public, 6)


def test_people_sign_with_ed25519() -> None:
    with pytest.raises(MalformedError):
        _two_people().enrol("ada", SigningKey.generate("p256").public, 9)


POOL = tuple(SigningKey.generate() for _ in range(4))
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(("add", "remove", "enrol", "revoke")),
        st.integers(0, 1),
        st.integers(0, len(POOL) - 1),
    ),
    max_size=12,
)


@given(CHANGES)
@settings(max_examples=examples(60), deadline=None)
def test_todays_directory_answers_as_that_of_the_moment(
    changes: list[tuple[str, int, int]],
) -> None:
    history = [Directory()]
    for index, (what, person, key) in enumerate(changes):
        name, now = f"p{person}", history[-1]
        try:
            if what == "add":
                now = now.add(name, ("approver",), index)
            elif what == "remove":
                now = now.remove(name, index)
            elif what == "enrol":
                now = now.enrol(name, POOL[key].public, index)
            else:
                now = now.revoke(name, POOL[key].public.key_id, index)
        except (ConflictError, NotFoundError):
            pass
        history.append(now)
    today = history[-1]
    for index, then in enumerate(history):
        assert today.holders("approver", index) == then.holders("approver", index)
        for key_ in POOL:
            assert _answer(today, key_, index) == _answer(then, key_, index)


def _answer(directory: Directory, key: SigningKey, index: int) -> str | None:
    try:
        return directory.signer(_signed(key), index)
    except IdentityError:
        return None
