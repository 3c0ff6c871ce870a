"""The magics. Each reads its line and hands on; see the modules it calls."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from IPython.core.magic import Magics, line_magic, magics_class, no_var_expand

from jupyter_aisec.kernel.commands import (
    HelpShown,
    parse_grant,
    parse_load,
    parse_open,
    parse_save,
)

if TYPE_CHECKING:
    from jupyter_aisec.kernel.face import Face

__all__ = ["AisecMagics"]


@magics_class
class AisecMagics(Magics):
    """Registered as one object, so that all share one session."""

    def __init__(self, shell: Any, face: Face) -> None:
        super().__init__(shell)
        self._face = face

    @no_var_expand
    @line_magic
    def grant(self, line: str) -> None:
        """Ask for artifacts, and see what you may open.

        ::

            %grant request dataset/digits weights/base --for 2h --reason "Ablation 12"
            %grant list [--pending]    %grant show [GRANT]
            %grant extend [GRANT] --for 1h --reason "…"
            %grant withdraw [GRANT]    %grant return [GRANT]
        """
        from jupyter_aisec.kernel.grant import run_grant

        with suppress(HelpShown):
            run_grant(self._face, parse_grant(line))

    @no_var_expand
    @line_magic
    def load_secure(self, line: str) -> None:
        """Open an artifact in memory: ``%load_secure NAME as VAR``.

        Waits while its request is pending; interrupt to stop waiting, or give ``--no-wait``.
        Options: --format pandas|polars|arrow|torch|dataset|bytes, --columns a,b, --into MODEL,
        --device cuda, --version N.
        """
        from jupyter_aisec.kernel.load import load_as

        with suppress(HelpShown):
            load_as(self._face, parse_load(line))

    @no_var_expand
    @line_magic
    def save_secure(self, line: str) -> None:
        """Seal a result straight from memory: ``%save_secure EXPRESSION as weights/NAME``."""
        from jupyter_aisec.kernel.save import save_as

        with suppress(HelpShown):
            save_as(self._face, parse_save(line))

    @no_var_expand
    @line_magic
    def open_outputs(self, line: str) -> None:
        """Show the sealed outputs of a saved notebook: ``%open_outputs NOTEBOOK.ipynb``.

        With ``--cell N``, those of one cell; the first is 1. It takes a grant of this notebook
        for all that an output was made from. Markup is not shown here; in JupyterLab, open the
        notebook and press Show.
        """
        from jupyter_aisec.kernel.saved import open_notebook

        with suppress(HelpShown):
            open_notebook(self._face, parse_open(line))

    @no_var_expand
    @line_magic
    def provenance(self, line: str) -> None:
        """Show a run and its chain of custody: ``%provenance [RUN]``; the last one by itself."""
        from jupyter_aisec.kernel.provenance import show_run

        show_run(self._face, line.strip() or None)
