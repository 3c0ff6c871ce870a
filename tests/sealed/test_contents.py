"""What is sealed: files there are, and pickles found by content."""

from __future__ import annotations

import io
import os
import pickle
import zipfile

import pytest
import torch

from jupyter_aisec.errors import PickleRefusedError, UsageError
from jupyter_aisec.sealed import contents

RUN = {"weights": [1.5, 2.5], "name": "x"}


def torch_zip() -> bytes:
    sink = io.BytesIO()
    torch.save({"w": torch.ones(1000)}, sink)
    return sink.getvalue()


def torch_legacy() -> bytes:
    sink = io.BytesIO()
    torch.save({"w": torch.ones(10)}, sink, _use_new_zipfile_serialization=False)
    return sink.getvalue()


def late_pickle() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as file:
        file.writestr("first.bin", os.urandom(200_000))
        file.writestr("archive/data.pkl", b"x")
    return sink.getvalue()


PICKLES = {
    "torch-zip.pt": torch_zip(),
    "torch-zip-under-another-name.safetensors": torch_zip(),
    "torch-legacy.pth": torch_legacy(),
    "zip-with-a-late-pickle.dat": late_pickle(),
    "protocol-5.pkl": pickle.dumps(RUN, 5),
    "protocol-4-hidden.jsonl": pickle.dumps(RUN, 4),
    "protocol-2.bin": pickle.dumps(RUN, 2),
    "protocol-0.pkl": pickle.dumps(RUN, 0),
    "one-long-argument.bin": pickle.dumps(os.urandom(1 << 20), 4),
    "numpy-joblib.joblib": pickle.dumps({"a": bytes(100)}, 3),
}


@pytest.mark.parametrize("name", PICKLES)
@pytest.mark.parametrize("kind", ["path", "bytes", "bytearray", "memoryview"])
def test_a_pickle_is_refused_with_the_command_that_helps(name, kind, tmp_path):
    path = tmp_path / name
    path.write_bytes(PICKLES[name])
    source = (
        path
        if kind == "path"
        else {"bytes": bytes, "bytearray": bytearray, "memoryview": memoryview}[kind](PICKLES[name])
    )
    with pytest.raises(PickleRefusedError) as caught:
        list(contents.as_content(source).chunks(name))
    assert "weights_only=True" in caught.value.next
    assert name in caught.value.next


HARMLESS = {
    "text.pkl": b"just some text\n",
    "raw.bin": bytes(1000),
    "text.txt": pickle.dumps(RUN, 0),  # text of a kind: nothing unpickles it by its name
    "other.zip": b"PK\x03\x04" + bytes(100),
    "marked-only.dat": b"\x80\x04\xff\xff\xff\xff",
    "empty.pt": b"",
    "model.safetensors": b"\x08\0\0\0\0\0\0\0{}      ",
}


@pytest.mark.parametrize("name", HARMLESS)
def test_other_files_are_not(name):
    data = HARMLESS[name]
    assert b"".join(bytes(c) for c in contents.as_content(data).chunks(name)) == data


def test_the_conversion_command_converts(tmp_path):
    import shlex
    import subprocess
    import sys

    path = tmp_path / "model.pt"
    path.write_bytes(torch_zip())
    with pytest.raises(PickleRefusedError) as caught:
        list(contents.as_content(path).chunks("model.pt"))
    command = caught.value.next.split("`")[1]
    words = shlex.split(command)
    assert words[0] == "python"
    subprocess.run([sys.executable, *words[1:]], cwd=tmp_path, check=True)
    assert (tmp_path / "model.safetensors").exists()


def test_a_file_is_one_content(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"x")
    assert contents.files_at(path) == {"a.txt": path}


def test_what_is_no_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(UsageError) as caught:
            contents.files_at(path)
        assert caught.value.code == "source-not-a-file"


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(UsageError) as caught:
        contents.files_at(tmp_path)
    assert caught.value.code == "source-empty"


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "MAX_FILES", 2)
    for name in "abc":
        (tmp_path / name).touch()
    with pytest.raises(UsageError) as caught:
        contents.files_at(tmp_path)
    assert caught.value.code == "source-count"


def test_an_unreadable_file_is_named(tmp_path):
    with pytest.raises(UsageError) as caught:
        list(contents.as_content(tmp_path / "gone").chunks("gone"))
    assert caught.value.code == "source-unreadable"
