"""A bar while something large opens; nothing for what is quick."""

from __future__ import annotations

import threading
from typing import Any

__all__ = ["Bar"]

_WORTH_SHOWING = 8 << 20  # bytes
_STEPS = 100


class Bar:
    """``bar(n)`` says that ``n`` more bytes are done, from any thread."""

    def __init__(self, shell: Any, what: str, size: int) -> None:
        self._lock = threading.Lock()
        self._done = 0
        self._size = size
        self._widget = _widget(shell, what) if size >= _WORTH_SHOWING else None

    def __call__(self, count: int) -> None:
        with self._lock:
            before, self._done = self._done, self._done + count
        if self._widget is not None and _step(before, self._size) != _step(self._done, self._size):
            self._widget.value = _step(self._done, self._size)

    def close(self) -> None:
        if self._widget is not None:
            self._widget.close()


def _step(done: int, size: int) -> int:
    return min(_STEPS, done * _STEPS // size)


def _widget(shell: Any, what: str) -> Any:
    if getattr(shell, "kernel", None) is None:
        return None
    try:
        import ipywidgets
        from IPython.display import display
    except ImportError:
        return None
    widget = ipywidgets.IntProgress(min=0, max=_STEPS, description=what[:40])
    widget.style.description_width = "initial"
    display(widget)  # type: ignore[no-untyped-call]
    return widget
