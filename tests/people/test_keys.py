"""Signing keys: ids that anyone can recompute, one encoding for each key, strict reading."""

from __future__ import annotations

import hashlib

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, x25519
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_aisec.errors import MalformedError, SignatureError
from jupyter_aisec.people import KeyKind, PublicKey, SigningKey
from tests.effort import examples

KINDS: tuple[KeyKind, ...] = ("ed25519", "p256")

# RFC 8032 §7.1, TEST 2.
RFC8032_SECRET = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"
RFC8032_PUBLIC = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
RFC8032_SIGNATURE = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def _spki(key: object) -> bytes:
    return key.public_bytes(  # type: ignore[attr-defined, no-any-return]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _pkcs8(key: object) -> bytes:
    return key.private_bytes(  # type: ignore[attr-defined, no-any-return]
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def test_ed25519_signs_as_rfc_8032() -> None:
    secret = ed25519.Ed25519PrivateKey.from_private_bytes(bytes.fromhex(RFC8032_SECRET))
    key = SigningKey(secret)
    assert key.public.raw().hex() == RFC8032_PUBLIC
    assert key.sign(b"\x72").hex() == RFC8032_SIGNATURE
    assert PublicKey.from_raw(bytes.fromhex(RFC8032_PUBLIC)) == key.public


@pytest.mark.parametrize("kind", KINDS)
def test_a_signature_verifies_and_no_other_message_or_key_does(kind: KeyKind) -> None:
    key, other = SigningKey.generate(kind), SigningKey.generate(kind)
    signature = key.sign(b"message")
    key.public.verify(signature, b"message")
    for public, sig, message in (
        (key.public, signature, b"another"),
        (other.public, signature, b"message"),
        (key.public, signature[:-1], b"message"),
        (key.public, b"", b"message"),
    ):
        with pytest.raises(SignatureError):
            public.verify(sig, message)


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_survives_storage(kind: KeyKind) -> None:
    key = SigningKey.generate(kind)
    again = SigningKey.from_bytes(key.to_bytes())
    assert again.public == key.public
    key.public.verify(again.sign(b"m"), b"m")
    assert _pkcs8(again.private) == key.to_bytes()


def test_the_id_is_the_digest_of_the_public_key() -> None:
    key = SigningKey.generate().public
    assert key.key_id == "sha256:" + hashlib.sha256(key.spki).hexdigest()
    assert serialization.load_pem_public_key(key.pem()) == key.load()


def test_a_repr_shows_no_secret() -> None:
    key = SigningKey.generate()
    assert repr(key) == f"<SigningKey {key.public.key_id[:19]}…>"


P256 = ec.derive_private_key(7, ec.SECP256R1())
COMPRESSED = P256.public_key().public_bytes(
    serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
)
COMPRESSED_SPKI = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + COMPRESSED


@pytest.mark.parametrize(
    "key",
    [
        pytest.param(PublicKey(kind="ed25519", spki=b"junk"), id="not-der"),
        pytest.param(PublicKey(kind="p256", spki=b""), id="empty"),
        pytest.param(PublicKey(kind="ed25519", spki=_spki(P256.public_key())), id="kind-swapped"),
        pytest.param(
            PublicKey(kind="p256", spki=_spki(ed25519.Ed25519PrivateKey.generate().public_key())),
            id="kind-swapped-back",
        ),
        pytest.param(
            PublicKey(
                kind="p256", spki=_spki(ec.derive_private_key(7, ec.SECP384R1()).public_key())
            ),
            id="another-curve",
        ),
        pytest.param(
            PublicKey(kind="ed25519", spki=_spki(x25519.X25519PrivateKey.generate().public_key())),
            id="a-key-that-cannot-sign",
        ),
        pytest.param(PublicKey(kind="p256", spki=COMPRESSED_SPKI), id="second-encoding"),
    ],
)
def test_a_public_key_that_is_not_what_it_says_is_refused(key: PublicKey) -> None:
    for use in (key.load, key.raw, key.pem, lambda: key.verify(b"", b"")):
        with pytest.raises(MalformedError):
            use()


def test_the_second_encoding_is_one_that_the_library_would_read() -> None:
    assert serialization.load_der_public_key(COMPRESSED_SPKI) == P256.public_key()


def test_only_ed25519_has_a_raw_form() -> None:
    with pytest.raises(MalformedError):
        SigningKey.generate("p256").public.raw()
    with pytest.raises(MalformedError):
        PublicKey.from_raw(b"\x00" * 31)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"junk", id="not-der"),
        pytest.param(_pkcs8(x25519.X25519PrivateKey.generate()), id="cannot-sign"),
        pytest.param(_pkcs8(ec.derive_private_key(7, ec.SECP384R1())), id="another-curve"),
    ],
)
def test_a_private_key_of_another_kind_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        SigningKey.from_bytes(data)


@given(st.binary(max_size=120))
@settings(max_examples=examples(60), deadline=None)
def test_no_bytes_make_a_key_reader_fail_otherwise(data: bytes) -> None:
    with pytest.raises(MalformedError):
        SigningKey.from_bytes(data)
    with pytest.raises(MalformedError):
        PublicKey(kind="ed25519", spki=data).load()
