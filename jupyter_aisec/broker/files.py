"""Small private files, replaced whole: after a crash the old content or the new, never half."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

__all__ = ["make_private_folder", "read_if_there", "write_private"]


def make_private_folder(folder: Path) -> None:
    """``folder`` exists and only its owner may enter (0700)."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)


def read_if_there(path: Path) -> bytes | None:
    """The content of ``path``, or None where there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def write_private(
    path: Path, content: bytes, *, before_rename: Callable[[], None] | None = None
) -> None:
    """Durably replaces ``path`` (0600): content, then the name, each flushed to the disk."""
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if before_rename is not None:
            before_rename()
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
