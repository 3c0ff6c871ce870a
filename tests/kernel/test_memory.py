"""What was freed goes back to the system, whatever is installed."""

from __future__ import annotations

import ctypes
import os
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace

import pyarrow
import pytest

from jupyter_aisec.kernel.memory import release_freed

MIB = 1 << 20


class Knot:
    """Garbage that only a collection finds."""

    def __init__(self) -> None:
        self.itself = self


def resident() -> int:
    """Bytes of this process that lie in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_the_c_library_gives_back_what_is_free_below_what_is_in_use() -> None:
    blocks = [b"x" * 100_000 for _ in range(1_000)]
    blocks = blocks[9::10]  # these keep the heap from shrinking by itself
    before = resident()
    release_freed()
    assert before - resident() > 50 * MIB
    assert len(blocks) == 100


def test_arrow_gives_back_what_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    pool = SimpleNamespace(release_unused=lambda: asked.append("release"))
    monkeypatch.setattr(pyarrow, "default_memory_pool", lambda: pool)
    release_freed()
    assert asked == ["release"]


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_without_either_it_collects(monkeypatch: pytest.MonkeyPatch, platform: str) -> None:
    monkeypatch.delitem(sys.modules, "pyarrow")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    monkeypatch.setattr(sys, "platform", platform)
    knot = weakref.ref(Knot())
    assert knot() is not None
    release_freed()
    assert knot() is None
