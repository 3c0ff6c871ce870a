"""``%pip`` and its like in the secure kernel, where nothing can be installed: they say where."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn

from jupyter_aisec.errors import RefusedError

__all__ = ["INSTALLERS", "refuse_installing"]

INSTALLERS = ("pip", "conda", "mamba", "micromamba", "uv")


def refuse_installing(shell: Any) -> None:
    """In a secure kernel these magics would fail late, with an error of the network."""
    if "AISEC_RELAY" not in os.environ:
        return
    for name in INSTALLERS:
        if name in shell.magics_manager.magics["line"]:
            shell.register_magic_function(_refuse, "line", name)


def _refuse(line: str) -> NoReturn:
    raise RefusedError(
        "Nothing is installed from inside the secure kernel: it has no network, and what it runs "
        "on is read-only.",
        next="Install it from a terminal, then restart this kernel: "
        f"`{sys.executable} -m pip install PACKAGE`.",
        code="installing-inside",
    )
