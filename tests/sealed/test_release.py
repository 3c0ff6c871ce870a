"""Key release: only the recipient, only for the purpose."""

from __future__ import annotations

import os

import pytest

from jupyter_aisec.errors import MalformedError, SealBrokenError, SealError, WrongKeyError
from jupyter_aisec.sealed.datakey import DataKey
from jupyter_aisec.sealed.release import (
    PRIVATE_SIZE,
    PUBLIC_SIZE,
    ReleaseKey,
    deposit_info,
    output_release_info,
    release_info,
    seal_key,
)

FACTS = {"grant": "g", "artifact": "dataset/x", "seal_id": "s", "key_id": "k", "kernel": "sha256:0"}
SECRET = os.urandom(32)


@pytest.fixture(scope="module")
def key() -> ReleaseKey:
    return ReleaseKey.generate()


def test_the_recipient_opens_it(key):
    info = release_info(**FACTS)
    sealed = seal_key(SECRET, key.public, info)
    assert len(sealed) == 1168
    assert key.open(sealed, info) == SECRET
    assert ReleaseKey(key.to_bytes()).open(sealed, info) == SECRET
    assert ReleaseKey(key.to_bytes()).public == key.public
    assert len(key.public) == PUBLIC_SIZE


@pytest.mark.parametrize("changed", sorted(FACTS))
def test_it_opens_for_no_other_purpose(key, changed):
    sealed = seal_key(SECRET, key.public, release_info(**FACTS))
    with pytest.raises(WrongKeyError):
        key.open(sealed, release_info(**FACTS | {changed: "other"}))


@pytest.mark.parametrize(
    "other",
    [{"ciphertext_sha256": "d2", "kernel": "k"}, {"ciphertext_sha256": "d", "kernel": "k2"}],
    ids=["another output", "another kernel"],
)
def test_an_outputs_content_key_opens_for_that_output_and_kernel(key, other):
    info = output_release_info(ciphertext_sha256="d", kernel="k")
    sealed = seal_key(SECRET, key.public, info)
    assert key.open(sealed, info) == SECRET
    with pytest.raises(WrongKeyError):
        key.open(sealed, output_release_info(**other))


def test_a_deposit_is_no_release(key):
    sealed = seal_key(SECRET, key.public, deposit_info(seal_id="s", key_id="k"))
    with pytest.raises(WrongKeyError) as caught:
        key.open(sealed, release_info(**FACTS))
    assert caught.value.code == "sealed-key-wrong"


FAULTS = {
    "a-bit-changed": lambda s: bytes([s[0] ^ 1]) + s[1:],
    "the-last-bit-changed": lambda s: s[:-1] + bytes([s[-1] ^ 1]),
    "cut-by-a-byte": lambda s: s[:-1],
    "a-byte-more": lambda s: s + b"\0",
    "zeros": lambda s: bytes(len(s)),
    "x25519-share-of-low-order": lambda s: s[:1088] + bytes(32) + s[1120:],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_changed_one_does_not_open(key, fault):
    sealed = seal_key(SECRET, key.public, b"")
    with pytest.raises(WrongKeyError):
        key.open(FAULTS[fault](sealed), b"")


def test_another_key_does_not_open_it(key):
    with pytest.raises(WrongKeyError):
        ReleaseKey.generate().open(seal_key(SECRET, key.public, b""), b"")


@pytest.mark.parametrize("length", [0, 16, 1135])
def test_one_cut_short_is_named(key, length):
    with pytest.raises(SealBrokenError) as caught:
        key.open(bytes(length), b"")
    assert caught.value.code == "sealed-key-truncated"


@pytest.mark.parametrize(
    "public",
    [b"", bytes(PUBLIC_SIZE - 1), b"\xff" * PUBLIC_SIZE, bytes(PUBLIC_SIZE)],
    ids=["empty", "short", "not-reduced", "low-order"],
)
def test_a_bad_public_key_is_named(public):
    with pytest.raises(MalformedError) as caught:
        seal_key(SECRET, public, b"")
    assert caught.value.code == "hpke-key-malformed"


@pytest.mark.parametrize(("make", "size"), [(ReleaseKey, PRIVATE_SIZE), (DataKey, 32)])
def test_a_key_of_the_wrong_size_is_named(make, size):
    with pytest.raises(WrongKeyError) as caught:
        make(bytes(size + 1))
    assert caught.value.code == "key-size-wrong"


def test_no_key_shows_itself(key):
    data_key = DataKey(SECRET)
    for shown in (repr(key), str(key), repr(data_key), f"{data_key}"):
        assert SECRET.hex() not in shown
        assert len(shown) < 20


def test_a_commitment_fits_one_key():
    key = DataKey(SECRET)
    key.check(key.commitment(), "key_1")
    with pytest.raises(WrongKeyError) as caught:
        DataKey.generate().check(key.commitment(), "key_1")
    assert "key_1" in str(caught.value)
    assert len(key.commitment()) == 64


def test_a_wiped_key_is_gone():
    key = DataKey(SECRET)
    key.wipe()
    with pytest.raises(SealError) as caught:
        key.commitment()
    assert caught.value.code == "memory-wiped"
