"""Loading into an IPython shell: magics, recorder, explanations; and out of it again.

Every kernel with the extension starts with this, so what it does not need yet is not imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_aisec.kernel import comm, explain, face
from jupyter_aisec.kernel.magics import AisecMagics
from jupyter_aisec.sealed.provider import set_provider

if TYPE_CHECKING:
    from jupyter_aisec.sealed.artifact import OpenArtifact

__all__ = ["load", "unload"]


def load(shell: Any) -> None:
    """``%load_ext jupyter_aisec``. Loading twice is once."""
    if face._face is not None:
        return
    made = face.Face(shell)
    made.gate.install(shell)  # first: what it holds does not run yet
    made.recorder.install(shell)
    shell.register_magics(AisecMagics(shell, made))
    explain.install(shell)
    comm.register(shell, made)
    set_provider(lambda artifact: _open(made, artifact))
    face._face = made


def unload(shell: Any) -> None:
    """``%unload_ext jupyter_aisec``: what was opened is wiped."""
    made = face._face
    if made is None:
        return
    made.stop()
    made.recorder.remove(shell)
    made.gate.remove(shell)
    explain.remove(shell)
    comm.unregister(shell)
    for name in ("grant", "load_secure", "save_secure", "open_outputs", "provenance"):
        shell.magics_manager.magics["line"].pop(name, None)
    set_provider(None)
    face._face = None


def _open(made: face.Face, artifact: str) -> OpenArtifact:
    from jupyter_aisec.kernel.load import open_artifact

    return open_artifact(made, artifact)
