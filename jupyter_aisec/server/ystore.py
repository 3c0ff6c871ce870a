"""For jupyter-collaboration: no history of documents on disk.

Its default store keeps every change of a notebook, outputs included, in
``.jupyter_ystore.db``, past the output guard. Import this only where
``jupyter_server_ydoc`` is installed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from pycrdt.store import BaseYStore, YDocNotFound

__all__ = ["NullYStore"]


class NullYStore(BaseYStore):  # type: ignore[misc]
    """Remembers nothing; a document is then always read from its file."""

    def __init__(self, path: str, *_: Any, **__: Any) -> None:
        self.path = path
        self.metadata_callback = None

    async def write(self, data: bytes) -> None:
        """Drop a change."""

    async def read(self) -> AsyncIterator[tuple[bytes, bytes, float]]:
        """There is nothing to read."""
        nothing: tuple[tuple[bytes, bytes, float], ...] = ()
        for change in nothing:  # makes this the generator that callers iterate over
            yield change
        raise YDocNotFound
