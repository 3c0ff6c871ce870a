"""Signed notes: Go's and C2SP's own vectors, and hostile notes."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_aisec.errors import AisecError, MalformedError, SignatureError
from jupyter_aisec.ledger import NoteSigner, open_note, parse_verifier_key, sign_note
from jupyter_aisec.people import SigningKey
from tests.effort import examples

# golang.org/x/mod/sumdb/note: the example of its documentation and tests.
GO_SECRET = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
GO_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXg"
    "KvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
GO_NOTE = f"{GO_TEXT}\n{GO_LINE}"

SIGNER = NoteSigner("example.com/log", SigningKey.generate())
KEY = SIGNER.verifier_key
TEXT = "a line\n\nanother after an empty one\n"
NOTE = sign_note(TEXT, SIGNER)
OTHER = NoteSigner("witness.example", SigningKey.generate())


def test_gos_example_is_signed_byte_for_byte() -> None:
    private = Ed25519PrivateKey.from_private_bytes(base64.b64decode(GO_SECRET)[1:])
    signer = NoteSigner("PeterNeumann", SigningKey(private))
    assert signer.verifier_key == GO_KEY
    assert sign_note(GO_TEXT, signer) == GO_NOTE


def test_gos_example_opens() -> None:
    assert open_note(GO_NOTE, GO_KEY) == GO_TEXT


@pytest.mark.parametrize("start", range(0, len(GO_KEY), 3))
def test_no_part_of_a_key_is_a_key(start: int) -> None:
    for end in range(start + 1, len(GO_KEY) + 1):
        if (start, end) != (0, len(GO_KEY)):
            with pytest.raises(MalformedError):
                parse_verifier_key(GO_KEY[start:end])


@pytest.mark.parametrize("at", range(len(GO_KEY)))
def test_no_changed_key_is_a_key(at: int) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_verifier_key(GO_KEY[:at] + chr(ord(GO_KEY[at]) + 1) + GO_KEY[at + 1 :])
    assert caught.value.code == "verifier-key-malformed"


def test_a_key_of_another_type_is_refused() -> None:
    name, hash_, _ = GO_KEY.split("+", 2)
    witness = base64.b64encode(b"\x04" + bytes(32)).decode()
    with pytest.raises(MalformedError):
        parse_verifier_key(f"{name}+{hash_}+{witness}")


def test_empty_lines_belong_to_the_text() -> None:
    assert open_note(NOTE, KEY) == TEXT


def test_signatures_by_unknown_keys_are_ignored() -> None:
    assert open_note(NOTE + OTHER.sign_line(TEXT), KEY) == TEXT
    assert open_note(NOTE + OTHER.sign_line("something else\n"), KEY) == TEXT
    namesake = NoteSigner(SIGNER.name, SigningKey.generate())
    assert open_note(NOTE + namesake.sign_line(TEXT), KEY) == TEXT


def test_a_bad_signature_by_the_known_key_spoils_a_good_one() -> None:
    with pytest.raises(SignatureError):
        open_note(NOTE + SIGNER.sign_line("something else\n"), KEY)


def test_sixteen_signatures_are_accepted_and_more_are_not() -> None:
    note = NOTE + OTHER.sign_line(TEXT) * 15
    assert open_note(note, KEY) == TEXT
    with pytest.raises(MalformedError):
        open_note(note + OTHER.sign_line(TEXT), KEY)


def test_a_note_that_somebody_else_signed_is_refused() -> None:
    with pytest.raises(SignatureError) as caught:
        open_note(sign_note(TEXT, OTHER), KEY)
    assert caught.value.code == "signature-missing"


LINE = SIGNER.sign_line(TEXT)
BLOB = LINE.split(" ")[2]


@pytest.mark.parametrize(
    "note",
    [
        pytest.param("", id="empty"),
        pytest.param(TEXT, id="no-signature"),
        pytest.param(f"{TEXT}\n", id="blank-line-and-nothing"),
        pytest.param(f"{TEXT}\n{LINE}"[:-1], id="no-newline-at-the-end"),
        pytest.param(f"{TEXT}{LINE}", id="no-blank-line"),
        pytest.param(f"{TEXT}\n{LINE}\n", id="blank-line-after"),
        pytest.param(f"{TEXT}\n{LINE}junk\n", id="junk-line"),
        pytest.param(f"{TEXT}\n{LINE.replace('—', '-')}", id="hyphen-for-dash"),
        pytest.param(f"{TEXT}\n{LINE.replace('— ', '—  ')}", id="two-spaces"),
        pytest.param(f"{TEXT}\n— a+b {BLOB}", id="plus-in-the-name"),
        pytest.param(f"{TEXT}\n—  {BLOB}", id="no-name"),
        pytest.param(f"{TEXT}\n— a\u00a0b {BLOB}", id="space-in-the-name"),
        pytest.param(f"{TEXT}\n— {SIGNER.name} AAAA\n", id="no-bytes-after-the-id"),
        pytest.param(f"{TEXT}\n— {SIGNER.name} !{BLOB}", id="not-base64"),
        pytest.param(f"{TEXT}\n— {SIGNER.name} {BLOB.rstrip(chr(10))}=\n", id="padding-doubled"),
        pytest.param(NOTE.replace("a line", "a\tline"), id="control-character"),
        pytest.param(NOTE.replace("\n", "\r\n"), id="other-line-ends"),
        pytest.param(NOTE.replace("a line", "a \ud800 line"), id="lone-surrogate"),
        pytest.param("x" * (1 << 20) + NOTE, id="too-long"),
    ],
)
def test_a_hostile_note_is_refused(note: str) -> None:
    with pytest.raises(MalformedError):
        open_note(note, KEY)


def test_one_signature_has_one_spelling() -> None:
    # 68 bytes leave two bits of the last digit unused; another digit decodes to the same.
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    last = NOTE[-3]
    twin = digits[digits.index(last) ^ 1]
    respelled = NOTE[:-3] + twin + NOTE[-2:]
    assert base64.b64decode(respelled.split(" ")[-1]) == base64.b64decode(BLOB)
    with pytest.raises(MalformedError):
        open_note(respelled, KEY)


@given(st.data())
@settings(max_examples=examples(60), deadline=None)
def test_any_flipped_bit_is_refused(data: st.DataObject) -> None:
    raw = bytearray(NOTE.encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(AisecError):
        open_note(raw.decode(errors="surrogateescape"), KEY)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u2003b", " a", "a\x7f"])
def test_a_name_that_a_note_cannot_carry_is_refused(name: str) -> None:
    with pytest.raises(MalformedError):
        NoteSigner(name, SigningKey.generate())


def test_notes_are_signed_with_ed25519_only() -> None:
    with pytest.raises(MalformedError):
        NoteSigner("log", SigningKey.generate("p256"))


def test_a_text_without_its_newline_is_not_signed() -> None:
    with pytest.raises(MalformedError):
        sign_note("no newline", SIGNER)
