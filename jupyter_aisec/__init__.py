"""Open sealed models and data in Jupyter: two people say yes, and every run is recorded.

In a notebook, ``%load_ext jupyter_aisec`` and then ``%grant``, ``%load_secure``,
``%save_secure`` and ``%provenance``; the same as functions::

    import jupyter_aisec as aisec

    aisec.request("dataset/digits", for_="1h", reason="Ablation 12")
    df = aisec.load("dataset/digits")
    aisec.save(model, "weights/digits-net")

Importing this package loads nothing heavy and never fails.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_aisec.kernel.functions import load, open, request, save

__all__ = [
    "__version__",
    "load",
    "load_ipython_extension",
    "open",
    "request",
    "save",
    "unload_ipython_extension",
]

_FUNCTIONS = frozenset({"load", "open", "request", "save"})


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        from jupyter_aisec.kernel import functions

        return getattr(functions, name)
    if name == "__version__":
        from importlib import metadata

        try:
            return metadata.version("jupyter-aisec")
        except metadata.PackageNotFoundError:  # a checkout that was never installed
            return "0"
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext jupyter_aisec``: the magics, the recorder and the explanations."""
    from jupyter_aisec.kernel import extension

    extension.load(shell)


def unload_ipython_extension(shell: Any) -> None:
    """``%unload_ext jupyter_aisec``."""
    from jupyter_aisec.kernel import extension

    extension.unload(shell)
