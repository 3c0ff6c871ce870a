"""What was freed goes back to the system, whatever is installed."""

from __future__ import annotations

import ctypes
import sys
from types import SimpleNamespace

from jupyter_aisec.kernel.memory import release_freed


def test_arrow_and_the_c_library_give_back_what_is_free(monkeypatch):
    asked = []
    pool = SimpleNamespace(release_unused=lambda: asked.append("arrow"))
    arrow = SimpleNamespace(default_memory_pool=lambda: pool)
    monkeypatch.setitem(sys.modules, "pyarrow", arrow)
    library = SimpleNamespace(malloc_trim=lambda keep: asked.append(("trim", keep)))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    release_freed()
    assert asked == ["arrow", ("trim", 0)]


def test_without_either_it_collects(monkeypatch):
    monkeypatch.delitem(sys.modules, "pyarrow", raising=False)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    release_freed()
    monkeypatch.setattr(sys, "platform", "darwin")
    release_freed()
