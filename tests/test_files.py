"""Replacing a local file: all of it or nothing, and on the disk."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from jupyter_aisec.files import replaced


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_it_is_the_old_file_until_it_is_the_new_one(path: Path, mode: int) -> None:
    with replaced(path, mode=mode) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_nothing_but_the_old_file(path: Path) -> None:
    def write() -> None:
        with replaced(path) as file:
            file.write(b"new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert [(one.name, one.read_bytes()) for one in path.parent.iterdir()] == [("file", b"old")]


def test_two_writers_do_not_meet(path: Path) -> None:
    with replaced(path) as first, replaced(path) as second:
        first.write(b"first")
        second.write(b"second")
    assert path.read_bytes() == b"first"  # whoever ended last
    assert list(path.parent.iterdir()) == [path]


def test_content_is_on_the_disk_before_the_name_and_the_name_before_it_returns(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[bool, bytes]] = []
    flush = os.fsync

    def watched(descriptor: int) -> None:
        is_folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        seen.append((is_folder, path.read_bytes()))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    with replaced(path) as file:
        file.write(b"new")
    assert seen == [(False, b"old"), (True, b"new")]
