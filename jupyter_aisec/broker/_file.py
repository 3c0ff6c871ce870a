"""Secrets in files of their own, readable by their owner alone: where there is no OS keyring."""

from __future__ import annotations

from pathlib import Path

from jupyter_aisec.broker.files import make_private_folder, read_if_there, write_private
from jupyter_aisec.errors import KeyStoreError

__all__ = ["FileSecrets"]


class FileSecrets:
    """One 0600 file per secret in a 0700 folder."""

    kind = "file"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def where(self) -> str:
        return f"files that only this account may read, in {self._folder}"

    def read(self, name: str) -> bytes | None:
        """The secret, or None; raises KeyStoreError if others could have read it too."""
        path = self._folder / name
        content = read_if_there(path)
        if content is not None and path.stat().st_mode & 0o077:
            raise KeyStoreError(
                f"The key file {path} can be read by other accounts.",
                next=f"Close it: `chmod 600 {path}`, and think about who may have read it.",
                code="key-file-open",
            )
        return content

    def write(self, name: str, secret: bytes) -> None:
        make_private_folder(self._folder)
        try:
            write_private(self._folder / name, secret)
        except OSError as error:
            raise KeyStoreError(
                f"A key cannot be written to {self._folder}: {error.strerror}.",
                next="Make room or give write permission, then try again.",
                code="key-store-write",
            ) from error
