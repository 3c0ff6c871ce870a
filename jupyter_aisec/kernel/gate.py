"""The gate before every cell: none begins while the end of a grant is under way.

Without it the cell after the one that was interrupted would start before anything is wiped.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["Gate"]


class Gate:
    """Open, but while an end is under way; ``holding`` says that a cell waits before it."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self._open.set()
        self.holding = False

    def install(self, shell: Any) -> None:
        """Before every execution of an IPython shell, also one that is kept out of history."""
        shell.events.register("pre_execute", self.wait)

    def remove(self, shell: Any) -> None:
        shell.events.unregister("pre_execute", self.wait)

    @contextmanager
    def closed(self) -> Iterator[None]:
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def wait(self) -> None:
        """Returns once the gate is open.

        An interrupt does not open it: IPython would report it and run the cell all the same.
        """
        while not self._open.is_set():
            try:
                self.holding = True
                self._open.wait()
            except KeyboardInterrupt:
                continue
        self.holding = False
