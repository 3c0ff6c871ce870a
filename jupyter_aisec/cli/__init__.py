"""The ``aisec`` command (also ``jupyter aisec``): thin, one file per noun."""

from jupyter_aisec.cli.main import main

__all__ = ["main"]
