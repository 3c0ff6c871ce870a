"""Local files: replaced whole, and private where it is asked."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

__all__ = ["make_private_folder", "read_if_there", "replaced", "write_private"]


@contextmanager
def replaced(path: Path, *, mode: int = 0o666) -> Iterator[BinaryIO]:
    """A file to write, which is ``path`` once the context ends without an error.

    After a crash the old content is there or the new, never half of either: content and name
    are flushed to the disk, each before anything relies on it. ``mode`` is that of the new
    file, less the process's umask. Raises OSError.
    """
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_private(
    path: Path, content: bytes, *, before_rename: Callable[[], None] | None = None
) -> None:
    """Durably replaces ``path`` by a file of mode 0600; raises OSError."""
    with replaced(path, mode=0o600) as file:
        file.write(content)
        if before_rename is not None:
            file.flush()
            before_rename()


def read_if_there(path: Path) -> bytes | None:
    """The content of ``path``, or None where there is no such file; raises OSError."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def make_private_folder(folder: Path) -> None:
    """``folder`` is there and only its owner may enter (0700); so are the parents it lacked.

    Raises OSError.
    """
    # Not mkdir's ``parents=True``: it gives the parents the usual mode.
    if not folder.parent.is_dir():
        make_private_folder(folder.parent)
    folder.mkdir(mode=0o700, exist_ok=True)
    folder.chmod(0o700)
