"""Loading into an IPython shell: magics, recorder, explanations; and out of it again.

Every kernel with the extension starts with this, so what it does not need yet is not imported.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from jupyter_aisec.errors import RefusedError
from jupyter_aisec.kernel import comm, explain
from jupyter_aisec.kernel.face import Face
from jupyter_aisec.kernel.installers import refuse_installing
from jupyter_aisec.kernel.magics import AisecMagics
from jupyter_aisec.sealed.provider import set_provider

if TYPE_CHECKING:
    from jupyter_aisec.sealed.artifact import OpenArtifact

__all__ = ["face", "load", "unload"]

_face: Face | None = None
_before: Face | None = None  # the one that was unloaded last


def load(shell: Any) -> None:
    """``%load_ext jupyter_aisec``. Loading twice is once."""
    global _face
    if _face is not None:
        return
    made = Face(shell, _keep)
    if _before is not None and _before.shell is shell:
        _before.hand_over(made)
    made.gate.install(shell)  # first: what it holds does not run yet
    made.recorder.install(shell)
    shell.register_magics(AisecMagics(shell, made))
    explain.install(shell, lambda: made.ending)
    refuse_installing(shell)
    comm.register(shell, lambda bundle: _open_output(made, bundle))
    set_provider(lambda artifact: _open(made, artifact))
    _face = made


def unload(shell: Any) -> None:
    """``%unload_ext jupyter_aisec``: what was opened is wiped."""
    global _face, _before
    made = _face
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
    _face, _before = None, made


def face() -> Face:
    """The face of this kernel, loaded if it is not; RefusedError where there is no notebook."""
    if _face is None:
        shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
        if shell is None:
            raise RefusedError(
                "This is not a notebook.",
                next='Start one with the kernel "Python 3 (secure)".',
                code="not-in-a-notebook",
            )
        load(shell)
    assert _face is not None  # noqa: S101 - load() has just made it
    return _face


def _open(made: Face, artifact: str) -> OpenArtifact:
    from jupyter_aisec.kernel.load import open_artifact

    return open_artifact(made, artifact)


def _open_output(made: Face, bundle: object) -> dict[str, Any]:
    from jupyter_aisec.kernel.saved import open_saved

    return open_saved(made, bundle)


def _keep(made: Face) -> None:
    from jupyter_aisec.kernel.save import finish_all, save_scratch

    finish_all(made)
    save_scratch(made)
