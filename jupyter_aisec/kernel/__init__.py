"""In the researcher's kernel: magics, cards, ``%load_secure``; and the keeper beside it.

``extension`` loads it into a shell, ``functions`` are the magics as functions. Both are
imported when they are used: inside and outside of a secure kernel need different parts.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_aisec.kernel import extension, functions

__all__ = ["extension", "functions"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
