"""Memory that was freed with plaintext in it: given back to the system, as far as it can be.

CPython and Arrow do not overwrite what they free. What goes back to the system is zeroed by
it before anybody gets it; what their allocators keep (parts of pages in use) stays as it is.
"""

from __future__ import annotations

import ctypes
import gc
import sys

__all__ = ["release_freed"]


def release_freed() -> None:
    """Collects garbage, then has the allocators return what is free."""
    gc.collect()
    arrow = sys.modules.get("pyarrow")  # not imported: it made nothing then
    if arrow is not None:
        arrow.default_memory_pool().release_unused()
    # glibc's; other C libraries return freed memory by themselves, or have no such call.
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)
