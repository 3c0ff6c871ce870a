"""Copies of the newest signed ledger checkpoint, kept outside the database.

Whoever cuts entries off the end of the database and puts an older signed checkpoint back
has a database that is right in itself. These copies remember that there was more.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from jupyter_aisec.broker.failpoints import failpoint
from jupyter_aisec.broker.keystore import KeyStore
from jupyter_aisec.errors import LedgerError
from jupyter_aisec.files import read_if_there, write_private

__all__ = ["OutsideCopies", "read_copy"]

_FILE = "checkpoint"


class OutsideCopies:
    """One copy in a file of the home, one in the key store."""

    def __init__(self, home: Path, key_store: KeyStore) -> None:
        self._path = home / _FILE
        self._key_store = key_store

    def write(self, note: str) -> None:
        """Replaces both copies durably; raises LedgerError or KeyStoreError."""
        try:
            write_private(
                self._path,
                note.encode(),
                before_rename=lambda: failpoint("outside.file-written"),
            )
        except OSError as error:
            raise LedgerError(
                f"The ledger checkpoint cannot be copied to {self._path}: {error.strerror}.",
                next=f"Make room in {self._path.parent}, or give write permission: it goes on by "
                "itself, and nothing is answered until then. Then check: `aisec audit verify`.",
                code="checkpoint-copy-failed",
            ) from error
        failpoint("append.between-outside-copies")
        self._key_store.remember_checkpoint(note)

    def set_aside(self, when: datetime) -> None:
        """Keeps the copies as they are in a file of their own, before others replace them."""
        path = self._path.with_name(f"checkpoint.{when:%Y%m%dT%H%M%S%f}.lost")
        write_private(path, "\n".join(filter(None, self.read().values())).encode())

    def read(self) -> dict[str, str | None]:
        """The copies as they are, unchecked, by the name of their place."""
        return {
            "home": read_copy(self._path.parent),
            "key store": self._key_store.remembered_checkpoint(),
        }


def read_copy(home: Path) -> str | None:
    """The copy in the file of a home, unchecked; None if there is none."""
    content = read_if_there(home / _FILE)
    return None if content is None else content.decode(errors="replace")
