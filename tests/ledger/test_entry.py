"""Entries: what the tree commits to, and that no column can be changed without notice."""

from __future__ import annotations

import hashlib
import hmac
import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_aisec.errors import LedgerError, MalformedError
from jupyter_aisec.ledger import ENTRY_TYPES, Body, Entry, leaf_hash, make_entry
from jupyter_aisec.ledger.bodies import EndingConfirmed, PersonRemoved
from jupyter_aisec.people import SigningKey, sign
from tests.effort import examples

AT = "2026-11-22T20:35:16.250Z"
SALT = bytes(range(32))
BODY = EndingConfirmed(grant="grant_1", kernel="sha256:00", how="wiped")
ENTRY = make_entry(7, AT, BODY, SALT)


def test_the_leaf_is_canonical_json_of_time_type_and_commitment() -> None:
    commitment = hmac.new(SALT, ENTRY.body, hashlib.sha256).digest()
    assert ENTRY.commitment == commitment
    leaf = json.loads(ENTRY.leaf)
    assert leaf == {
        "at": AT,
        "commitment": msgspec.json.decode(msgspec.json.encode(commitment)),
        "type": "ending.confirmed",
        "v": 1,
    }
    assert ENTRY.leaf == json.dumps(leaf, sort_keys=True, separators=(",", ":")).encode()
    assert ENTRY.leaf_hash == leaf_hash(ENTRY.leaf)


def test_the_leaf_tells_nothing_of_the_body() -> None:
    assert b"grant_1" not in ENTRY.leaf
    assert make_entry(7, AT, BODY, bytes(32)).leaf != ENTRY.leaf


def test_the_body_comes_back_and_is_read_once() -> None:
    stored = Entry(7, AT, "ending.confirmed", SALT, ENTRY.body)
    assert stored == ENTRY
    assert stored.content() == BODY
    assert stored.content() is stored.content()


def test_every_type_has_one_name() -> None:
    assert len(set(ENTRY_TYPES.values())) == len(ENTRY_TYPES)
    removed = PersonRemoved(person="approver", by=sign({}, "t", SigningKey.generate()))
    entry = make_entry(1, AT, removed, SALT)
    assert entry.type == "person.removed"
    assert entry.content() == removed


CHANGES = {
    "time": {"at": "2026-11-22T20:35:16.251Z"},
    "type": {"type": "person.removed"},
    "salt": {"salt": SALT[:-1] + b"\x00"},
    "body": {"body": ENTRY.body.replace(b"wiped", b"wiper")},
    "body-respelled": {"body": ENTRY.body + b" "},
}


@pytest.mark.parametrize("change", CHANGES)
def test_no_column_changes_without_another_leaf(change: str) -> None:
    assert msgspec.structs.replace(ENTRY, **CHANGES[change]).leaf_hash != ENTRY.leaf_hash


@pytest.mark.parametrize(
    "salt",
    [
        pytest.param(SALT[:-1], id="shorter"),
        pytest.param(SALT + b"\x00", id="padded-as-hmac-pads"),
        pytest.param(b"", id="empty"),
    ],
)
def test_a_salt_of_another_length_is_refused(salt: bytes) -> None:
    with pytest.raises(LedgerError, match="salt"):
        _ = msgspec.structs.replace(ENTRY, salt=salt).leaf_hash
    with pytest.raises(LedgerError, match="salt"):
        make_entry(7, AT, BODY, salt)


def test_hmac_alone_would_not_see_a_padded_salt() -> None:
    assert hmac.digest(SALT, b"x", "sha256") == hmac.digest(SALT + b"\x00", b"x", "sha256")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        pytest.param({"type": "from.the.future"}, "entry-type-unknown", id="unknown-type"),
        pytest.param({"type": "person.removed"}, "malformed", id="type-of-another-body"),
        pytest.param({"body": b"{}"}, "malformed", id="field-missing"),
        pytest.param({"body": ENTRY.body + b"\n"}, "malformed", id="not-canonical"),
        pytest.param({"body": ENTRY.body.replace(b"wiped", b"eaten")}, "malformed", id="value"),
        pytest.param({"at": "yesterday"}, "malformed", id="not-a-time"),
    ],
)
def test_content_that_is_not_of_its_form_is_refused(change: dict[str, object], code: str) -> None:
    with pytest.raises(MalformedError) as caught:
        msgspec.structs.replace(ENTRY, **change).content()
    assert caught.value.code == code


def test_a_time_that_is_not_one_is_never_logged() -> None:
    with pytest.raises(MalformedError):
        make_entry(7, "2026-11-22 20:35", BODY, SALT)


def test_only_bodies_of_known_types_are_logged() -> None:
    with pytest.raises(KeyError):
        make_entry(7, AT, Body(), SALT)


@given(st.text(max_size=30), st.binary(min_size=32, max_size=32))
@settings(max_examples=examples(60), deadline=None)
def test_any_text_survives(text: str, salt: bytes) -> None:
    body = EndingConfirmed(grant=text, kernel="k", how="killed")
    entry = make_entry(0, AT, body, salt)
    assert Entry(0, AT, entry.type, salt, entry.body).content() == body
