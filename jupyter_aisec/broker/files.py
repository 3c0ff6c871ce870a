"""Small private files of the broker."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jupyter_aisec.sealed.replaced import replaced

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
    with replaced(path, mode=0o600) as file:
        file.write(content)
        if before_rename is not None:
            file.flush()
            before_rename()
