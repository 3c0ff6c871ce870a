"""``aisec://`` through fsspec, as other libraries use it."""

from __future__ import annotations

import fsspec
import pandas as pd
import pytest

from jupyter_aisec.errors import NotFoundError, UsageError
from jupyter_aisec.sealed.filesystem import AisecFileSystem
from jupyter_aisec.sealed.provider import get_provider, set_provider

FILES = {"part-0.jsonl": b'{"a": 1}\n{"a": 2}\n', "deep/er/x.txt": b"hello", "deep/y.txt": b"y"}


@pytest.fixture
def fs(sealed):
    opened = sealed(FILES).open()

    def provider(name: str):
        if name != "dataset/corpus":
            raise NotFoundError(f"There is no {name}.")
        return opened

    fsspec.register_implementation("aisec", AisecFileSystem, clobber=True)
    set_provider(provider)
    yield fsspec.filesystem("aisec")
    set_provider(None)


def test_pandas_reads_it(fs):
    frame = pd.read_json("aisec://dataset/corpus/part-0.jsonl", lines=True)
    assert frame["a"].tolist() == [1, 2]


def test_fsspec_opens_it_as_text_and_bytes(fs):
    with fsspec.open("aisec://dataset/corpus/deep/er/x.txt", "r") as file:
        assert file.read() == "hello"
    assert fs.cat_file("dataset/corpus/deep/er/x.txt", start=1, end=3) == b"el"
    assert fs.size("aisec://dataset/corpus/deep/y.txt") == 1


def test_it_lists_files_and_folders(fs):
    assert fs.ls("aisec://dataset/corpus", detail=False) == [
        "dataset/corpus/deep",
        "dataset/corpus/part-0.jsonl",
    ]
    assert fs.ls("dataset/corpus/deep")[0]["type"] == "directory"
    assert fs.ls("dataset/corpus/deep/y.txt", detail=False) == ["dataset/corpus/deep/y.txt"]
    assert fs.find("dataset/corpus") == [f"dataset/corpus/{name}" for name in sorted(FILES)]
    assert fs.glob("dataset/corpus/**/*.txt") == [
        "dataset/corpus/deep/er/x.txt",
        "dataset/corpus/deep/y.txt",
    ]
    assert fs.exists("dataset/corpus/deep")
    assert not fs.exists("dataset/corpus/nope")


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("aisec://dataset/corpus/nope", FileNotFoundError),
        ("aisec://dataset", FileNotFoundError),
        ("aisec://", FileNotFoundError),
        ("aisec://dataset/corpus/deep", IsADirectoryError),
        ("aisec://dataset/other/x", NotFoundError),
    ],
)
def test_what_is_not_a_file(fs, path, error):
    with pytest.raises(error):
        fs.open(path)


def test_it_is_read_only(fs):
    with pytest.raises(UsageError) as caught:
        pd.DataFrame({"a": [1]}).to_csv("aisec://dataset/corpus/new.csv")
    assert caught.value.code == "read-only"


def test_without_a_provider_it_says_what_to_do():
    set_provider(None)
    assert get_provider() is None
    with pytest.raises(UsageError) as caught:
        AisecFileSystem().info("dataset/corpus")
    assert caught.value.code == "no-provider"
    assert "%grant request" in caught.value.next
