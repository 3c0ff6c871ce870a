"""What a Jupyter Server loads: the grants of its person, and the output guard.

``link`` runs while the server is still being configured, ``load`` when it stands.
"""

from __future__ import annotations

import importlib.util
import os

from jupyter_server.gateway.gateway_client import GatewayClient
from jupyter_server.serverapp import ServerApp
from jupyter_server.services.contents.filemanager import FileContentsManager
from jupyter_server.utils import url_path_join
from traitlets.config import Config

from jupyter_aisec.client import Home, PersonClient
from jupyter_aisec.server.contents import NotebookSaves
from jupyter_aisec.server.grants import FEED, GrantsFeed, GrantsHandler
from jupyter_aisec.server.guard import Guard
from jupyter_aisec.server.kernels import SEEN, GuardedConnection
from jupyter_aisec.server.page import PageHandler
from jupyter_aisec.server.proofs import Proofs
from jupyter_aisec.server.seen import Seen
from jupyter_aisec.server.sessions import ServerSessions

__all__ = ["link", "load"]

_KERNEL_MANAGER = "jupyter_aisec.server.kernels.GuardedKernelManager"


def link(serverapp: ServerApp) -> None:
    """Put the guard where configuration files cannot.

    Where someone has chosen other classes, or kernels run behind a gateway, kernels are not
    told of a guard: then the keeper seals their outputs itself.
    """
    config = Config()
    config.MappingKernelManager.transport_encryption = "auto"  # loopback TCP is readable by root
    if importlib.util.find_spec("jupyter_server_ydoc") is not None:
        config.YDocExtension.ystore_class = "jupyter_aisec.server.ystore.NullYStore"
    if _can_guard(serverapp):
        config.ServerApp.kernel_websocket_connection_class = GuardedConnection
        config.MultiKernelManager.kernel_manager_class = _KERNEL_MANAGER
    else:
        serverapp.log.warning(
            "jupyter_aisec: this server's own contents manager or kernel classes leave no place "
            "for the output guard; secure kernels seal their outputs themselves"
        )
    serverapp.update_config(config)


def load(serverapp: ServerApp) -> None:
    """Add the routes and, on every save, the guard."""
    settings = serverapp.web_app.settings
    seen = Seen(ServerSessions(serverapp.session_manager), Proofs(lambda: Home().page_key()))
    saves = NotebookSaves(Guard(seen))
    serverapp.contents_manager.register_pre_save_hook(saves.before_save)
    settings[SEEN] = seen  # from here on secure kernels are told of the guard
    # Read, not taken: the keepers that this server starts need the token as well.
    settings[FEED] = GrantsFeed(lambda: PersonClient(token=os.environ.get("AISEC_TOKEN")))
    served = {"grants": GrantsHandler, "page": PageHandler}
    routes = [
        (url_path_join(settings["base_url"], "aisec", name), handler)
        for name, handler in served.items()
    ]
    serverapp.web_app.add_handlers(".*$", routes)


def _can_guard(serverapp: ServerApp) -> bool:
    """Whether every save and every kernel of this server will pass through our classes."""
    config = serverapp.config
    managers = ("MultiKernelManager", "MappingKernelManager", "AsyncMappingKernelManager")
    return (
        issubclass(serverapp.contents_manager_class, FileContentsManager)
        and not GatewayClient.instance(parent=serverapp).gateway_enabled
        and "kernel_websocket_connection_class" not in config.ServerApp
        and "session_manager_class" not in config.ServerApp
        and not any("kernel_manager_class" in config[manager] for manager in managers)
    )
