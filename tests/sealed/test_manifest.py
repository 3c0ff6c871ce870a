"""Manifests: what a good one says, and each rule broken by itself."""

from __future__ import annotations

import msgspec
import pytest

from jupyter_aisec.errors import MalformedError, SignatureError, UsageError
from jupyter_aisec.ids import new_id
from jupyter_aisec.people import dsse
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.sealed import manifest as m
from jupyter_aisec.sealed.stream import sealed_size

SIGNER = SigningKey.generate()
KEY_ID, SEAL_ID = new_id("key"), new_id("seal")


def file(index: int = 0, **changes: object) -> m.SealedFile:
    fields = {
        "name": f"part-{index}.jsonl",
        "index": index,
        "size": 10,
        "sealed_size": sealed_size(10),
        "sha256": "0" * 64,
        "key_id": KEY_ID,
    }
    return m.SealedFile(**fields | changes)


def manifest(**changes: object) -> m.Manifest:
    fields = {
        "artifact": "dataset/corpus",
        "seal_id": SEAL_ID,
        "created": "2026-11-22T20:35:16.250Z",
        "media_type": "table",
        "files": (file(0), file(1)),
        "keys": (m.KeyEntry(key_id=KEY_ID, commitment=bytes(64)),),
        "output_key": bytes(1216),
        "labels": ("patients", "secret"),
        "parents": (),
    }
    return m.Manifest(**fields | changes)


def test_a_good_one_is_read_as_it_was_signed():
    envelope = m.sign_manifest(manifest(), SIGNER)
    dsse.verify(envelope, SIGNER.public)
    assert m.read_manifest(envelope) == manifest()
    assert manifest().file("part-1.jsonl").stored_as == "0001.sealed"
    assert manifest().commitment(KEY_ID) == bytes(64)


BROKEN = {
    "other-format": {"format": "x/v2"},
    "artifact-name": {"artifact": "dataset/../x"},
    "seal-id": {"seal_id": "seal_1"},
    "created": {"created": "yesterday"},
    "output-key": {"output_key": b"short"},
    "label": {"labels": ("No Spaces",)},
    "labels-unsorted": {"labels": ("b", "a")},
    "labels-twice": {"labels": ("a", "a")},
    "parent": {"parents": ("x",)},
    "parents-unsorted": {"parents": tuple(sorted([new_id("seal"), new_id("seal")])[::-1])},
    "key-id": {"keys": (m.KeyEntry(key_id="k", commitment=bytes(64)),)},
    "key-twice": {"keys": (m.KeyEntry(key_id=KEY_ID, commitment=bytes(64)),) * 2},
    "commitment": {"keys": (m.KeyEntry(key_id=KEY_ID, commitment=bytes(32)),)},
    "file-twice": {"files": (file(0), file(1, name="part-0.jsonl"))},
    "file-name": {"files": (file(0, name="../x"),)},
    "files-unordered": {"files": (file(1), file(0))},
    "size-negative": {"files": (file(0, size=-1),)},
    "size-impossible": {"files": (file(0, size=1 << 53),)},
    "sizes-disagree": {"files": (file(0, sealed_size=11),)},
    "digest": {"files": (file(0, sha256="0" * 63),)},
    "key-unlisted": {"files": (file(0, key_id=new_id("key")),)},
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_rule_is_refused(fault):
    bad = manifest(**BROKEN[fault])
    with pytest.raises(MalformedError):
        m.sign_manifest(bad, SIGNER)
    with pytest.raises(MalformedError):
        m.read_manifest(dsse.sign(bad, m.PAYLOAD_TYPE, SIGNER))


@pytest.mark.parametrize(
    "changes", [{"files": ()}, {"keys": ()}, {"media_type": "pickle"}, {"labels": ("a",) * 65}]
)
def test_a_shape_that_no_manifest_has_is_refused(changes):
    fields = msgspec.to_builtins(manifest()) | changes
    with pytest.raises(MalformedError):
        m.read_manifest(dsse.sign(fields, m.PAYLOAD_TYPE, SIGNER))


def test_another_payload_type_is_refused():
    with pytest.raises(SignatureError):
        m.read_manifest(dsse.sign(manifest(), "application/json", SIGNER))


def test_an_enormous_one_is_refused():
    with pytest.raises(MalformedError):
        m.read_manifest(dsse.sign(b" " * (m.MAX_MANIFEST_SIZE + 1), m.PAYLOAD_TYPE, SIGNER))


@pytest.mark.parametrize("count", [1, 9])
def test_an_unknown_file_is_named_with_those_there_are(count):
    with pytest.raises(UsageError) as caught:
        manifest(files=tuple(file(n) for n in range(count))).file("nope")
    assert "nope" in caught.value.what
    assert "part-0.jsonl" in caught.value.next


@pytest.mark.parametrize(
    "name", ["a", "part-0.jsonl", "a/b/c.txt", "Ünïcode.csv", ".hidden", "a b", "...x"]
)
def test_a_safe_file_name(name):
    assert m.check_file_name(name) == name


UNSAFE = {
    "empty": "",
    "absolute": "/etc/passwd",
    "parent": "..",
    "parent-inside": "a/../b",
    "here": "./a",
    "folder": "a/",
    "double-slash": "a//b",
    "backslash": "a\\b",
    "drive": "C:a",
    "newline": "a\nb",
    "nul": "a\0b",
    "bidi": "a\u202etxt.exe",
    "zero-width": "a\u200bb",
    "line-separator": "a\u2028b",
    "lone-surrogate": "a\ud800",
    "not-nfc": "e\u0301",
    "part-too-long": "a" * 256,
    "too-long": "/".join(["a" * 200] * 6),
}


@pytest.mark.parametrize("fault", UNSAFE)
def test_an_unsafe_file_name(fault):
    with pytest.raises(MalformedError) as caught:
        m.check_file_name(UNSAFE[fault])
    assert caught.value.code == "file-name-unsafe"
    assert caught.value.what.isascii()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "corpus",
        "models/x",
        "dataset/",
        "dataset/a/b",
        "dataset/.x",
        "dataset/a\n",
        "weights/" + "a" * 129,
    ],
)
def test_a_bad_artifact_name(name):
    with pytest.raises(MalformedError) as caught:
        m.check_artifact_name(name)
    assert caught.value.code == "artifact-name-invalid"


def test_associated_data_binds_version_and_place():
    assert m.associated_data(SEAL_ID, 258) == SEAL_ID.encode() + b"\0\0\1\2"
