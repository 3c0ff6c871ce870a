"""Stores: a version is there as a whole or not at all."""

from __future__ import annotations

import errno
import os
import uuid

import pytest

from jupyter_aisec.errors import MalformedError, NotFoundError, SealError
from jupyter_aisec.people.dsse import Envelope, Signature
from jupyter_aisec.sealed import store
from jupyter_aisec.sealed.manifest import BUNDLE_FILE, MANIFEST_FILE
from jupyter_aisec.sealed.store import UrlFolder


@pytest.fixture(params=["path", "file-url", "memory"])
def folder(request, tmp_path) -> UrlFolder:
    url = {
        "path": str(tmp_path / "new" / "v"),
        "file-url": f"file://{tmp_path}/new/v",
        "memory": f"memory://{uuid.uuid4()}/v/",
    }[request.param]
    return UrlFolder(url)


def write(folder: UrlFolder, name: str, data: bytes) -> None:
    with folder.create(name) as file:
        file.write(data)


def read(folder: UrlFolder, name: str) -> bytes:
    source = folder.source(name)
    return bytes(source.fetch(0, source.size, memoryview(bytearray(source.size))))


def test_what_is_written_is_read(folder):
    write(folder, "0000.sealed", b"abc")
    assert read(folder, "0000.sealed") == b"abc"


def test_what_fails_is_not_there(folder):
    def write_half() -> None:
        with folder.create("0000.sealed") as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    with pytest.raises(NotFoundError):
        folder.source("0000.sealed")
    write(folder, "0000.sealed", b"whole")
    assert read(folder, "0000.sealed") == b"whole"


def test_a_version_never_changes(folder):
    write(folder, "0000.sealed", b"abc")
    with pytest.raises(SealError) as caught:
        write(folder, "0000.sealed", b"other")
    assert caught.value.code == "store-exists"
    assert read(folder, "0000.sealed") == b"abc"


def test_a_file_that_is_not_there_is_named(folder):
    with pytest.raises(NotFoundError) as caught:
        folder.source("0007.sealed")
    assert "0007.sealed" in caught.value.what
    assert caught.value.code == "sealed-file-missing"


def test_a_local_file_that_is_there_but_unreadable(tmp_path):
    (tmp_path / "0000.sealed").mkdir()
    with pytest.raises(SealError) as caught:
        UrlFolder(str(tmp_path)).source("0000.sealed")
    assert caught.value.code == "store-unreadable"


def test_nothing_but_the_file_is_left(tmp_path):
    folder = UrlFolder(str(tmp_path))
    write(folder, "0000.sealed", b"abc")
    with pytest.raises(ZeroDivisionError), folder.create("0001.sealed"):
        raise ZeroDivisionError
    assert os.listdir(tmp_path) == ["0000.sealed"]


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path, monkeypatch):
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SealError) as caught:
        write(UrlFolder(str(tmp_path)), "0000.sealed", b"abc")
    assert caught.value.code == "store-unwritable"
    assert "No space" in caught.value.what
    assert os.listdir(tmp_path) == []


def test_a_remote_write_that_cannot_start(monkeypatch):
    folder = UrlFolder(f"memory://{uuid.uuid4()}/v")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("denied")

    monkeypatch.setattr(folder._fs, "open", refuse)
    with pytest.raises(SealError) as caught:
        write(folder, "0000.sealed", b"abc")
    assert caught.value.code == "store-unwritable"


def test_a_store_whose_package_is_not_there_is_named(monkeypatch):
    def missing(*_: object, **__: object) -> None:
        raise ImportError("install s3fs")

    monkeypatch.setattr(store.fsspec.core, "url_to_fs", missing)
    with pytest.raises(SealError, match="install s3fs") as caught:
        UrlFolder("s3://bucket/x")
    assert caught.value.code == "store-unknown"


@pytest.mark.parametrize("url", ["nosuch://bucket/x", "reference://d::file:///x", "relative/x"])
def test_nothing_but_a_plain_place_is_opened(url):
    with pytest.raises(MalformedError) as caught:
        UrlFolder(url)
    assert caught.value.code == "url-refused"


def test_envelopes_round_trip(folder):
    envelope = Envelope(
        payload=b"x", payload_type="t", signatures=(Signature(keyid="k", sig=b"s"),)
    )
    store.write_envelope(folder, BUNDLE_FILE, envelope)
    assert store.read_envelope(folder, BUNDLE_FILE) == envelope


def test_a_version_that_nobody_took_is_taken_away(folder):
    write(folder, "0000.sealed", b"abc")
    folder.discard()
    with pytest.raises(NotFoundError):
        folder.source("0000.sealed")


@pytest.mark.parametrize("content", [b"", b"{}", b"not json"])
def test_a_manifest_that_is_none_is_refused(folder, content):
    write(folder, MANIFEST_FILE, content)
    with pytest.raises(MalformedError):
        store.read_envelope(folder)


def test_an_enormous_manifest_is_not_even_read(folder, monkeypatch):
    monkeypatch.setattr(store, "MAX_MANIFEST_SIZE", 1)
    write(folder, MANIFEST_FILE, b"abc")
    with pytest.raises(MalformedError, match="larger"):
        store.read_envelope(folder)


def test_where_a_version_lies():
    assert store.version_url("s3://b/p/", "weights/x", "seal_1") == "s3://b/p/weights/x/seal_1"
