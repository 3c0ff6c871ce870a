"""Signed ledger checkpoints: C2SP's form, and nothing but it."""

from __future__ import annotations

import pytest

from jupyter_aisec.errors import MalformedError, SignatureError
from jupyter_aisec.ledger import (
    Checkpoint,
    NoteSigner,
    Tree,
    leaf_hash,
    open_checkpoint,
    parse_checkpoint,
    sign_checkpoint,
    sign_note,
)
from jupyter_aisec.people import SigningKey

ORIGIN = "example.com/behind-the-sofa"
SIGNER = NoteSigner(ORIGIN, SigningKey.generate())
ROOT = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I="
# The example of https://c2sp.org/tlog-checkpoint.
TEXT = f"{ORIGIN}\n20852163\n{ROOT}\n"
CHECKPOINT = parse_checkpoint(TEXT)


def test_the_example_of_the_spec_is_read_and_written() -> None:
    assert (CHECKPOINT.origin, CHECKPOINT.size) == (ORIGIN, 20852163)
    assert CHECKPOINT.text == TEXT
    assert CHECKPOINT.brief == f"20852163:{ROOT}"
    assert Checkpoint.from_brief(ORIGIN, CHECKPOINT.brief) == CHECKPOINT


@pytest.mark.parametrize("brief", ["", "1", f"1:{ROOT}:", f"1:{ROOT}\n", f"01:{ROOT}", ":"])
def test_a_malformed_brief_is_refused(brief: str) -> None:
    with pytest.raises(MalformedError):
        Checkpoint.from_brief(ORIGIN, brief)


def test_a_signed_checkpoint_opens() -> None:
    note = sign_checkpoint(CHECKPOINT, SIGNER)
    assert note.startswith(f"{TEXT}\n— {ORIGIN} ")
    assert open_checkpoint(note, SIGNER.verifier_key) == CHECKPOINT


def test_the_empty_ledger_has_a_checkpoint() -> None:
    empty = Checkpoint(ORIGIN, 0, Tree().root())
    assert open_checkpoint(sign_checkpoint(empty, SIGNER), SIGNER.verifier_key) == empty


def test_a_checkpoint_by_another_key_is_refused() -> None:
    forger = NoteSigner(ORIGIN, SigningKey.generate())
    with pytest.raises(SignatureError):
        open_checkpoint(sign_checkpoint(CHECKPOINT, forger), SIGNER.verifier_key)


def test_a_key_speaks_for_its_own_log_only() -> None:
    other = Checkpoint("example.com/other", 1, leaf_hash(b""))
    with pytest.raises(MalformedError) as caught:
        sign_checkpoint(other, SIGNER)
    assert caught.value.code == "checkpoint-origin"
    with pytest.raises(MalformedError) as caught:
        open_checkpoint(sign_note(other.text, SIGNER), SIGNER.verifier_key)
    assert caught.value.code == "checkpoint-origin"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(f"{ORIGIN}\n1\n", id="no-root"),
        pytest.param(f"{ORIGIN}\n01\n{ROOT}\n", id="leading-zero"),
        pytest.param(f"{ORIGIN}\n+1\n{ROOT}\n", id="sign"),
        pytest.param(f"{ORIGIN}\n-1\n{ROOT}\n", id="negative"),
        pytest.param(f"{ORIGIN}\n1_0\n{ROOT}\n", id="underscore"),
        pytest.param(f"{ORIGIN}\n１\n{ROOT}\n", id="digit-of-another-script"),  # noqa: RUF001
        pytest.param(f"{ORIGIN}\nmany\n{ROOT}\n", id="not-a-number"),
        pytest.param(f"{ORIGIN}\n{'9' * 5000}\n{ROOT}\n", id="very-long-number"),
        pytest.param(f"\n1\n{ROOT}\n", id="no-origin"),
        pytest.param(f"{ORIGIN}\n1\n{ROOT[:-4]}\n", id="short-root"),
        pytest.param(f"{ORIGIN}\n1\n{ROOT[:-2]}J=\n", id="root-respelled"),
        pytest.param(f"{ORIGIN}\n1\n!{ROOT}\n", id="not-base64"),
        pytest.param(f"{ORIGIN}\n1\n{ROOT}", id="no-newline"),
        pytest.param(f"{ORIGIN}\n1\n{ROOT}\nextension\n", id="extension-line"),
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_checkpoint(text)


@pytest.mark.parametrize(
    "checkpoint",
    [
        pytest.param(Checkpoint(ORIGIN, -1, leaf_hash(b"")), id="negative"),
        pytest.param(Checkpoint(ORIGIN, 1, b"short"), id="short-root"),
    ],
)
def test_what_nobody_could_open_is_not_signed(checkpoint: Checkpoint) -> None:
    with pytest.raises(MalformedError):
        sign_checkpoint(checkpoint, SIGNER)
