"""IPython's kernel, run in the confined process itself.

There is no ``exec``: it would make the process dumpable again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from .confinement import Inside

__all__ = ["run_ipython_kernel"]


def run_ipython_kernel(
    inside: Inside,
    *,
    extensions: Sequence[str] = (),
    config: Mapping[str, Mapping[str, Any]] | None = None,
) -> int:
    """Run IPython's kernel until it is shut down; the exit code.

    ``extensions`` are loaded at start, as ``%load_ext`` does; ``config`` maps a configurable
    class to its settings. History and the output cache are off: one is a file, the other keeps
    plaintext alive after a wipe.
    """
    from ipykernel.kernelapp import IPKernelApp
    from traitlets.config import Config

    settings = Config()
    settings.HistoryManager.enabled = False
    settings.InteractiveShell.cache_size = 0
    settings.InteractiveShellApp.extensions = list(extensions)
    settings.IPKernelApp.connection_file = inside.connection_file
    # Standard output and error lead nowhere; there is nothing to capture or echo to.
    settings.IPKernelApp.quiet = True
    for name, values in (config or {}).items():
        settings[name].update(values)
    # A front end kills a kernel with its process group; nothing inside waits for a parent.
    os.environ.pop("JPY_PARENT_PID", None)
    app: Any = IPKernelApp.instance(config=settings)
    app.initialize([])
    inside.started()
    app.start()
    return 0
