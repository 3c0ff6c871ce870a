"""Memory that holds plaintext: every buffer of it is known, so that it can be wiped.

A wipe fills with ``0xFF``, not with zeros: in every floating-point format of torch that
is NaN, and as an index it is out of range. A training run that still uses wiped weights
fails on its first step; it never silently trains on zeros.

What is covered: buffers made by :meth:`Memory.allocate` for as long as anything (a tensor,
a view of one, a memoryview) still uses them, and tensors given to :meth:`Memory.track`.
What is not: copies that user code made.
"""

from __future__ import annotations

import mmap
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jupyter_aisec.errors import SealError

if TYPE_CHECKING:
    import torch
    from cryptography.utils import Buffer

__all__ = ["Memory", "wipe"]

_CHUNK = b"\xff" * (1 << 20)
_LARGE = 1 << 20  # from here on, memory comes from the system and goes straight back to it


class _Block(bytearray):
    """A small buffer; a plain bytearray cannot be referred to weakly."""

    __slots__ = ("__weakref__",)


def _mapping(size: int) -> mmap.mmap:
    """``size`` bytes of untouched private memory, kept out of core dumps where possible."""
    if not hasattr(mmap, "MAP_ANONYMOUS"):  # Windows
        return mmap.mmap(-1, size)
    # Private: a forked data loader sees the weights, but no shared-memory object exists.
    mapping = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_DONTDUMP"):  # Linux
        mapping.madvise(mmap.MADV_DONTDUMP)
    return mapping


def wipe(buffer: Buffer | mmap.mmap) -> None:
    """Fills a writable, contiguous buffer with ``0xFF``."""
    with memoryview(buffer) as whole, whole.cast("B") as view:
        for start in range(0, len(view), len(_CHUNK)):
            stop = min(start + len(_CHUNK), len(view))
            view[start:stop] = _CHUNK[: stop - start]


class Memory:
    """All plaintext that one opening (an artifact under a grant) keeps in memory.

    It is whole until :meth:`wipe`; ``ended`` then says why, for the recorder to mark a run
    that was cut short, and nothing can be allocated any more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # By id: a bytearray has no hash.
        self._blocks: weakref.WeakValueDictionary[int, _Block | mmap.mmap] = (
            weakref.WeakValueDictionary()
        )
        self._tensors: list[weakref.ref[torch.Tensor]] = []
        self._on_wipe: list[Callable[[], None]] = []
        self._ended: str | None = None

    @property
    def ended(self) -> str | None:
        """Why it was wiped ("expired", "revoked", …), or None while it is whole."""
        return self._ended

    @property
    def held(self) -> int:
        """How many bytes of allocated buffers are still in use."""
        with self._lock:
            return sum(len(block) for block in list(self._blocks.values()))

    def check(self) -> None:
        """Raises SealError once the memory has been wiped."""
        if self._ended is not None:
            raise SealError(
                f"What was opened has been wiped from memory: the grant is over ({self._ended}).",
                next="Ask again, `%grant request NAME --for 1h --reason TEXT`, then load again.",
                code="memory-wiped",
            )

    def allocate(self, size: int) -> bytearray | mmap.mmap:
        """A new buffer of ``size`` > 0 bytes, not set to anything.

        It is freed when nothing uses it any more: this registry does not keep it alive.
        """
        block = _Block(size) if size < _LARGE else _mapping(size)
        with self._lock:
            self.check()
            self._blocks[id(block)] = block
        return block

    def track(self, tensor: torch.Tensor) -> None:
        """Have a tensor that lives elsewhere (a GPU, a model's parameters) wiped as well.

        Once the tensor object itself is gone, views of it are no longer covered.
        """
        with self._lock:
            self.check()
            self._tensors = [known for known in self._tensors if known() is not None]
            self._tensors.append(weakref.ref(tensor))

    def on_wipe(self, forget: Callable[[], None]) -> None:
        """Calls ``forget`` at the wipe, before the buffers are filled: to drop keys."""
        with self._lock:
            self.check()
            self._on_wipe.append(forget)

    def wipe(self, why: str) -> None:
        """Drops keys and fills every buffer still in use. A second wipe changes nothing."""
        with self._lock:
            if self._ended is not None:
                return
            self._ended = why
            for forget in self._on_wipe:
                forget()
            for block in list(self._blocks.values()):
                wipe(block)
            for known in self._tensors:
                if (tensor := known()) is not None:
                    _wipe_tensor(tensor)
            self._on_wipe.clear()
            self._tensors.clear()


def _wipe_tensor(tensor: Any) -> None:
    """NaN for floating point, else all bits: as :func:`wipe`, on whatever device."""
    import torch

    dtype = tensor.dtype
    if dtype.is_floating_point or dtype.is_complex:
        value: float = float("nan")
    elif dtype == torch.bool:
        value = True
    else:
        value = -1 if dtype.is_signed else torch.iinfo(dtype).max
    with torch.no_grad():
        tensor.fill_(value)
