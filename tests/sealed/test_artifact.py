"""Artifacts: sealed from files and memory, opened lazily, every fault by name."""

from __future__ import annotations

import io
import os
import shutil
import struct
import threading
from pathlib import Path

import pytest
from tink import TinkError

from jupyter_aisec.errors import (
    MalformedError,
    NotFoundError,
    PickleRefusedError,
    PlaintextError,
    SealBrokenError,
    SealError,
    UsageError,
    WrongKeyError,
)
from jupyter_aisec.ids import new_id
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.sealed import artifact as a
from jupyter_aisec.sealed.contents import files_at
from jupyter_aisec.sealed.datakey import DataKey
from jupyter_aisec.sealed.release import ReleaseKey, deposit_info
from jupyter_aisec.sealed.store import UrlFolder, version_url

from .conftest import tinks

BIG = os.urandom(3 << 20)
SOURCES = {"b/notes.txt": b"hello", "a.jsonl": BIG}


def test_what_is_sealed_opens(sealed):
    made = sealed(SOURCES)
    with made.open() as opened:
        assert opened.names == ("a.jsonl", "b/notes.txt")
        assert opened.read("a.jsonl") == BIG
        with opened.open("b/notes.txt") as file:
            assert file.read() == b"hello"
        assert opened.reader("a.jsonl") is opened.reader("a.jsonl")
    assert a.open_folder(made.folder) == (made.result.envelope, made.result.manifest)


def test_tink_opens_a_file_of_an_artifact_and_in_no_other_place(sealed, tmp_path):
    """By the spec alone: what is authenticated beside a file is its seal id and its index."""
    made = sealed(SOURCES)
    manifest = made.result.manifest
    (key,) = made.result.keys.values()
    tink = tinks(bytes(key.secret))
    other = new_id("seal")
    for index, name in enumerate(sorted(SOURCES)):
        data = (tmp_path / "store" / f"{index:04d}.sealed").read_bytes()

        def opened(seal_id: str, at: int, data: bytes = data) -> bytes:
            place = seal_id.encode() + struct.pack(">I", at)
            with tink.new_decrypting_stream(io.BytesIO(data), place) as stream:
                return bytes(stream.read())

        assert opened(manifest.seal_id, index) == SOURCES[name]
        for seal_id, at in ((manifest.seal_id, 1 - index), (other, index)):
            with pytest.raises(TinkError):
                opened(seal_id, at)


def test_names_and_content_do_not_appear_at_the_store(sealed, tmp_path):
    sealed({"patients.jsonl": b"needle" * 100})
    names = sorted(path.name for path in (tmp_path / "store").iterdir())
    assert names == ["0000.sealed", "manifest.json"]
    assert b"needle" not in (tmp_path / "store" / "0000.sealed").read_bytes()


def test_nothing_is_asked_for_before_a_file_is_opened(sealed):
    made = sealed(SOURCES)
    asked = []

    def keys_for(manifest):
        asked.append(manifest.seal_id)
        return made.keys_for(manifest)

    opened = a.open_artifact(made.result.envelope, keys_for, made.folder)
    assert asked == []
    opened.read("a.jsonl")
    opened.read("b/notes.txt")
    assert len(asked) == 1
    opened.close()
    opened.read("a.jsonl")
    assert len(asked) == 2


def test_the_secrets_go_to_the_broker_only(sealed):
    made, broker = sealed(SOURCES), ReleaseKey.generate()
    result = made.result
    deposit = result.deposit(broker.public)
    ((key_id, wrapped),) = deposit.keys.items()
    seal_id = result.manifest.seal_id
    assert broker.open(wrapped, deposit_info(seal_id=seal_id, key_id=key_id)) == bytes(
        result.keys[key_id].secret
    )
    output = broker.open(deposit.output_key, deposit_info(seal_id=seal_id, key_id=a.OUTPUT_KEY_ID))
    assert ReleaseKey(output).public == result.manifest.output_key
    assert bytes(result.keys[key_id].secret).hex() not in repr(result)
    assert repr(made.open()) == f"<OpenArtifact dataset/corpus {seal_id}>"


@pytest.mark.parametrize(
    ("names", "media_type"),
    [
        (["m.safetensors", "tokenizer.json"], "weights"),
        (["a.parquet", "b.CSV"], "table"),
        (["a.parquet", "readme.md"], "files"),
    ],
)
def test_the_media_type_follows_the_names(names, media_type, sealed):
    ends = {".safetensors": b"\x02\0\0\0\0\0\0\0{}", ".parquet": b"PAR1\0\0\0\0PAR1"}
    files = {name: ends.get(Path(name).suffix, b"x") for name in names}
    assert sealed(files).result.manifest.media_type == media_type


def test_what_the_caller_says_is_kept(tmp_path):
    done: list[int] = []
    parent = "seal_01M82GYGN5TYJG8PDMM1GNQTAM"
    result = a.seal_artifact(
        "results/plots",
        {"x.csv": b"12345"},
        UrlFolder(version_url(str(tmp_path), "results/plots", parent)),
        SigningKey.generate(),
        seal_id=parent,
        labels=("b", "a", "b"),
        parents=(parent,),
        media_type="files",
        progress=done.append,
    )
    manifest = result.manifest
    assert (manifest.labels, manifest.parents) == (("a", "b"), (parent,))
    assert (manifest.seal_id, manifest.media_type) == (parent, "files")
    assert done == [5]
    assert (tmp_path / "results" / "plots" / parent / "manifest.json").exists()


FAULTS = {
    "truncated": (lambda f: f.write_bytes(f.read_bytes()[:-9]), SealBrokenError, "seal-truncated"),
    "oversized": (
        lambda f: f.write_bytes(f.read_bytes() + b"9"),
        SealBrokenError,
        "seal-oversized",
    ),
    "plaintext": (lambda f: f.write_bytes(BIG[:0] + b"{}"), PlaintextError, "plaintext-not-sealed"),
    "missing": (lambda f: f.unlink(), NotFoundError, "sealed-file-missing"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_sealed_file_is_named(fault, sealed, tmp_path):
    made = sealed(SOURCES)
    change, error, code = FAULTS[fault]
    change(tmp_path / "store" / "0000.sealed")
    with made.open() as opened:
        with pytest.raises(error) as caught:
            opened.read("a.jsonl")
        assert caught.value.code == code
        assert caught.value.next
        assert opened.read("b/notes.txt") == b"hello"


@pytest.mark.parametrize("other", ["file", "version"])
def test_a_swapped_file_does_not_open(other, tmp_path):
    signer = SigningKey.generate()
    folders = [UrlFolder(str(tmp_path / name)) for name in ("one", "two")]
    results = [
        a.seal_artifact("dataset/x", {"a": BIG, "b": BIG[::-1]}, folder, signer)
        for folder in folders
    ]
    source = (
        tmp_path / "one" / "0001.sealed" if other == "file" else tmp_path / "two" / "0000.sealed"
    )
    shutil.copy(source, tmp_path / "one" / "0000.sealed")
    opened = a.open_artifact(results[0].envelope, lambda _: dict(results[0].keys), folders[0])
    with pytest.raises(SealBrokenError) as caught:
        opened.read("a")
    assert caught.value.code == "seal-swapped"


def test_a_wrong_key_is_found_before_anything_is_decrypted(sealed, monkeypatch):
    made = sealed(SOURCES)
    (key_id,) = made.result.keys
    fetched = []
    monkeypatch.setattr(made.folder, "source", fetched.append)
    opened = a.open_artifact(
        made.result.envelope, lambda _: {key_id: DataKey.generate()}, made.folder
    )
    with pytest.raises(WrongKeyError) as caught:
        opened.read("a.jsonl")
    assert caught.value.code == "wrong-key"
    assert fetched == []


def test_a_missing_key_is_named(sealed):
    made = sealed(SOURCES)
    with pytest.raises(WrongKeyError) as caught:
        a.open_artifact(made.result.envelope, lambda _: {}, made.folder).read("a.jsonl")
    assert caught.value.code == "key-missing"


def test_a_wipe_ends_it(sealed):
    opened = sealed(SOURCES).open()
    reader = opened.reader("a.jsonl")
    opened.memory.wipe("revoked")
    with pytest.raises(SealError) as caught:
        opened.read("a.jsonl")
    assert caught.value.code == "memory-wiped"
    with pytest.raises(SealError):
        reader.read(0, 1)


@pytest.mark.parametrize(
    ("name", "sources", "error"),
    [
        ("corpus", {"a": b""}, MalformedError),
        ("dataset/x", {"../a": b""}, MalformedError),
        ("weights/x", {"a.bin": b"\x80\x04\x95\x05\0\0\0\0\0\0\0]\x94K\x01a."}, PickleRefusedError),
        ("dataset/x", {"a": "nowhere.txt"}, UsageError),
        ("dataset/x", {}, UsageError),
    ],
    ids=["artifact-name", "file-name", "pickle", "no-such-file", "nothing"],
)
def test_a_refused_sealing_leaves_no_version(name, sources, error, tmp_path):
    with pytest.raises(error):
        a.seal_artifact(name, sources, UrlFolder(str(tmp_path / "s")), SigningKey.generate())
    left = list((tmp_path / "s").iterdir()) if (tmp_path / "s").exists() else []
    assert left == []


@pytest.mark.parametrize("fault", [KeyboardInterrupt, MemoryError])
def test_an_interrupted_sealing_leaves_no_version_and_no_thread(fault, tmp_path):
    def interrupt(_: int) -> None:
        raise fault

    before = threading.active_count()
    with pytest.raises(fault):
        a.seal_artifact(
            "dataset/x",
            {"a": BIG},
            UrlFolder(str(tmp_path / "s")),
            SigningKey.generate(),
            progress=interrupt,
        )
    assert threading.active_count() == before
    assert list((tmp_path / "s").iterdir()) == []


def test_a_file_longer_than_a_piece_round_trips(tmp_path, sealed):
    plain = os.urandom(1 << 20) * 9 + b"end"
    (tmp_path / "a.txt").write_bytes(plain)
    with sealed(files_at(tmp_path / "a.txt")).open() as opened:
        assert opened.read("a.txt") == plain


def test_a_folder_of_files_round_trips(tmp_path, sealed):
    root = tmp_path / "src"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_bytes(b"a")
    (root / "sub" / "b.bin").write_bytes(BIG)
    (root / "link.txt").symlink_to(root / "a.txt")
    with sealed(files_at(root)).open() as opened:
        assert opened.names == ("a.txt", "link.txt", "sub/b.bin")
        assert opened.read("sub/b.bin") == BIG
        assert opened.read("link.txt") == b"a"
