"""The Jupyter Server extension: my grants for the lab, and sealed outputs in saved notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

__all__: list[str] = []


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "jupyter_aisec.server"}]


def _link_jupyter_server_extension(serverapp: ServerApp) -> None:
    from jupyter_aisec.server.extension import link

    link(serverapp)


def _load_jupyter_server_extension(serverapp: ServerApp) -> None:
    from jupyter_aisec.server.extension import load

    load(serverapp)
