"""C2SP signed notes: text with signature lines, as checkpoints of logs are published.

Spec: https://c2sp.org/signed-note, with Ed25519 (signature type 0x01) only. As the spec
asks, signatures by unknown keys are ignored, and a bad one by the known key is refused.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

import msgspec

from jupyter_aisec.errors import MalformedError, SignatureError
from jupyter_aisec.people.keys import PublicKey, SigningKey

__all__ = ["NoteSigner", "VerifierKey", "open_note", "parse_verifier_key", "sign_note"]

_ED25519 = b"\x01"
_KEY_ID_SIZE = 4
_MAX_SIGNATURES = 16  # what the spec makes every reader accept; we write one
_MAX_NOTE = 1 << 20


class VerifierKey(msgspec.Struct, frozen=True):
    """A public key for notes: its name, and the Ed25519 key."""

    name: str
    key: PublicKey

    @property
    def key_id(self) -> bytes:
        """The four bytes that name the key in a signature line; a hint, not a commitment."""
        data = self.name.encode() + b"\n" + _ED25519 + self.key.raw()
        return hashlib.sha256(data).digest()[:_KEY_ID_SIZE]

    def __str__(self) -> str:
        """The key as text (``name+hash+base64``), as Go's sumdb and C2SP write it."""
        return f"{self.name}+{self.key_id.hex()}+{_b64(_ED25519 + self.key.raw())}"


class NoteSigner:
    """Signs notes under a key name, which for a log is its origin."""

    def __init__(self, name: str, key: SigningKey) -> None:
        """Raises MalformedError for a name that a note cannot carry, or a P-256 key."""
        _check_name(name)
        key.public.raw()
        self.name = name
        self._key = key

    @property
    def verifier_key(self) -> str:
        """The text that others verify with: ``name+hash+base64``."""
        return str(VerifierKey(self.name, self._key.public))

    def sign_line(self, text: str) -> str:
        """The signature line over ``text``."""
        blob = VerifierKey(self.name, self._key.public).key_id + self._key.sign(text.encode())
        return f"— {self.name} {_b64(blob)}\n"


def parse_verifier_key(text: str) -> VerifierKey:
    """The inverse of ``str(VerifierKey)``; raises MalformedError for anything else."""
    try:
        name, _, key = text.split("+", 2)
        _check_name(name)
        data = _unb64(key)
        if data[:1] != _ED25519:
            raise ValueError("not Ed25519")
        parsed = VerifierKey(name, PublicKey.from_raw(data[1:]))
        if str(parsed) != text:
            raise ValueError("the hash is not that of the name and key")
    except (ValueError, MalformedError) as error:
        raise MalformedError(
            f"{text[:80]!r} is not a verifier key of a ledger (name+hash+base64).",
            code="verifier-key-malformed",
        ) from error
    return parsed


def sign_note(text: str, signer: NoteSigner) -> str:
    """``text``, which must end in a newline, as a note with one signature."""
    _check_text(text)
    if not text.endswith("\n"):
        raise MalformedError("The text of a note must end in a newline.", code="note-malformed")
    return f"{text}\n{signer.sign_line(text)}"


def open_note(note: str, verifier_key: str) -> str:
    """The text of ``note``, if the key (``name+hash+base64``) signed it.

    Raises SignatureError if it did not, MalformedError for what is not a signed note or
    not a key.
    """
    known = parse_verifier_key(verifier_key)
    text, lines = _split(note)
    verified = False
    for line in lines:
        name, key_id, signature = _parse_line(line)
        if (name, key_id) == (known.name, known.key_id):
            known.key.verify(signature, text.encode())
            verified = True
    if not verified:
        raise SignatureError(f"The note is not signed by {known.name}.", code="signature-missing")
    return text


def _split(note: str) -> tuple[str, list[str]]:
    _check_text(note)
    text, blank, signatures = note.rpartition("\n\n")
    lines = signatures.split("\n")
    if not blank or lines.pop() != "" or not 0 < len(lines) <= _MAX_SIGNATURES:
        raise MalformedError("This is not a signed note (C2SP).", code="note-malformed")
    return text + "\n", lines


def _parse_line(line: str) -> tuple[str, bytes, bytes]:
    try:
        dash, name, encoded = line.split(" ")
        _check_name(name)
        blob = _unb64(encoded)
        if dash != "—" or len(blob) <= _KEY_ID_SIZE:
            raise ValueError("not a signature line")
    except (ValueError, MalformedError) as error:
        raise MalformedError(
            "A signature line of a note cannot be read.", code="note-malformed"
        ) from error
    return name, blob[:_KEY_ID_SIZE], blob[_KEY_ID_SIZE:]


def _check_name(name: str) -> None:
    if not name or "+" in name or not name.isprintable() or name.split() != [name]:
        raise MalformedError(
            f"{name[:80]!r} cannot name a key of notes: no spaces, no plus, not empty.",
            code="note-name",
        )


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise MalformedError("A note is not valid UTF-8.", code="note-malformed") from error
    if len(text) > _MAX_NOTE or any(char < " " and char != "\n" for char in text):
        raise MalformedError(
            "A note is too long or holds control characters.", code="note-malformed"
        )


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: str) -> bytes:
    """Strict base64: one spelling for one byte string. Raises ValueError."""
    data = base64.b64decode(text, validate=True)
    if _b64(data) != text:
        raise binascii.Error("not canonical")
    return data
