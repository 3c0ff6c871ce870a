"""DSSE envelopes: the spec's vector, other people's verifiers, and every tampered byte."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope as OtherEnvelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from jupyter_aisec.errors import MalformedError, SignatureError
from jupyter_aisec.people import (
    Envelope,
    KeyKind,
    PublicKey,
    SigningKey,
    canonical,
    pae,
    parse_canonical,
    sign,
    sign_again,
    verify,
)
from tests.effort import examples

KIND = "application/vnd.jupyter-aisec.test+json"


class Note(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    text: str


KEY = SigningKey.generate()
ENVELOPE = sign(Note("hello"), KIND, KEY)


def other_key(key: PublicKey) -> SSlibKey:
    """Our key as securesystemslib has it, under our key id."""
    return SSlibKey.from_crypto(key.load(), keyid=key.key_id)


def as_seen_by_others(envelope: Envelope) -> OtherEnvelope:
    data: dict[str, Any] = json.loads(canonical(envelope))
    return OtherEnvelope.from_dict(data)


def test_the_encoding_is_the_example_of_the_spec() -> None:
    assert pae("http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_lengths_count_bytes_not_characters() -> None:
    assert pae("é", "ü".encode()) == "DSSEv1 2 é 2 ü".encode()


def test_what_was_signed_is_read_back() -> None:
    verify(ENVELOPE, KEY.public)
    assert ENVELOPE.read(Note, KIND, "The note") == Note("hello")
    again = parse_canonical(canonical(ENVELOPE), Envelope, "The envelope")
    assert again == ENVELOPE


def test_bytes_are_signed_as_they_are() -> None:
    envelope = sign(b"not json", "text/plain", KEY)
    assert envelope.payload == b"not json"
    verify(envelope, KEY.public)
    with pytest.raises(MalformedError):
        envelope.read(Note, "text/plain", "The note")


def test_another_payload_type_is_refused() -> None:
    with pytest.raises(SignatureError, match="not as") as caught:
        ENVELOPE.read(Note, KIND + "x", "The note")
    assert caught.value.code == "payload-type-wrong"


def test_a_countersignature_leaves_the_first_one_valid() -> None:
    broker = SigningKey.generate()
    both = sign_again(ENVELOPE, broker)
    assert both.payload == ENVELOPE.payload
    verify(both, KEY.public)
    verify(both, broker.public)


def test_a_key_that_did_not_sign_is_missing() -> None:
    with pytest.raises(SignatureError) as caught:
        verify(ENVELOPE, SigningKey.generate().public)
    assert caught.value.code == "signature-missing"


def test_a_signature_cannot_be_claimed_for_another_key() -> None:
    other = SigningKey.generate().public
    renamed = msgspec.structs.replace(
        ENVELOPE,
        signatures=(msgspec.structs.replace(ENVELOPE.signatures[0], keyid=other.key_id),),
    )
    with pytest.raises(SignatureError):
        verify(renamed, other)


@pytest.mark.parametrize("kind", ["ed25519", "p256"])
def test_securesystemslib_accepts_ours_and_rejects_a_tampered_one(kind: KeyKind) -> None:
    key = SigningKey.generate(kind)
    envelope = sign(Note("hello"), KIND, key)
    accepted = as_seen_by_others(envelope).verify([other_key(key.public)], 1)
    assert list(accepted) == [key.public.key_id]
    for tampered in (
        msgspec.structs.replace(envelope, payload=canonical(Note("hellp"))),
        msgspec.structs.replace(envelope, payload_type=KIND.replace("test", "tesu")),
    ):
        with pytest.raises(VerificationError):
            as_seen_by_others(tampered).verify([other_key(key.public)], 1)


@given(st.data())
@settings(max_examples=examples(60), deadline=None)
def test_any_flipped_bit_is_refused(data: st.DataObject) -> None:
    raw = bytearray(canonical(ENVELOPE))
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((MalformedError, SignatureError)):  # noqa: PT012  either step may refuse
        envelope = parse_canonical(bytes(raw), Envelope, "The envelope")
        verify(envelope, KEY.public)
        envelope.read(Note, KIND, "The note")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"{}", id="empty"),
        pytest.param(b'{"payload":"","payloadType":"","signatures":null}', id="no-signatures"),
        pytest.param(b'{"payload":1,"payloadType":"","signatures":[]}', id="payload-not-text"),
        pytest.param(
            b'{"extra":1,"payload":"","payloadType":"","signatures":[]}', id="unknown-field"
        ),
    ],
)
def test_a_malformed_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_canonical(data, Envelope, "The envelope")


def test_an_envelope_without_signatures_verifies_with_no_key() -> None:
    bare = Envelope(payload=b"", payload_type="", signatures=())
    with pytest.raises(SignatureError):
        verify(bare, KEY.public)
