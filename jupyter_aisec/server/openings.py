"""Kernels in which something was opened, and the notebooks that used them.

From the first mark on, everything that such a notebook shows may be made from an artifact,
whatever cell it stands in and whatever became of its mark. This lasts as long as the server:
a page keeps its outputs when a kernel ends.
"""

from __future__ import annotations

from typing import Protocol

from jupyter_aisec.server.marks import Mark, union

__all__ = ["Openings", "Sessions", "plain_path"]


class Sessions(Protocol):
    """Which notebook uses which kernel now; paths as the contents manager has them."""

    def kernels_of(self, path: str) -> list[str]: ...

    def notebooks_of(self, kernel: str) -> list[str]: ...


class Openings:
    """Remembers the marks of kernels and of the notebooks that used them."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._kernels: dict[str, Mark] = {}
        self._notebooks: dict[str, Mark] = {}

    def came(self, kernel: str, mark: Mark) -> None:
        """A message with ``mark`` came out of ``kernel``."""
        known = self._kernels.get(kernel)
        joined = union(known, mark)
        if joined is None or joined == known:
            return
        self._kernels[kernel] = joined
        for path in self._sessions.notebooks_of(kernel):
            self._stick(path, joined)

    def mark_of(self, path: str) -> Mark | None:
        """What the notebook at ``path`` may show, by the kernels it uses or used."""
        path = plain_path(path)
        for kernel in self._sessions.kernels_of(path):
            self._stick(path, self._kernels.get(kernel))
        return self._notebooks.get(path)

    def found(self, path: str, mark: Mark) -> None:
        """Something in the notebook at ``path`` is marked."""
        self._stick(path, mark)

    def _stick(self, path: str, mark: Mark | None) -> None:
        joined = union(self._notebooks.get(plain_path(path)), mark)
        if joined is not None:
            self._notebooks[plain_path(path)] = joined


def plain_path(path: str) -> str:
    """Without the drive that some pages put before it (``RTC:a.ipynb``)."""
    return path.rpartition(":")[2].strip("/")
