"""The broker: decides grants, releases keys, keeps the ledger. Its face is light.

FastAPI, SQLAlchemy and the rest of the extra ``jupyter-aisec[broker]`` are imported when a
name is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_aisec.lazy import lazily

if TYPE_CHECKING:
    from jupyter_aisec.broker.app import make_app
    from jupyter_aisec.broker.config import Config, load_config
    from jupyter_aisec.broker.home import accept_rollback, audit_home
    from jupyter_aisec.broker.server import run_broker
    from jupyter_aisec.broker.service import Broker, open_broker
    from jupyter_aisec.broker.trust import trust_file

__all__ = [
    "Broker",
    "Config",
    "accept_rollback",
    "audit_home",
    "load_config",
    "make_app",
    "open_broker",
    "run_broker",
    "trust_file",
]

__getattr__ = lazily(
    __name__,
    {
        "app": ("make_app",),
        "config": ("Config", "load_config"),
        "home": ("accept_rollback", "audit_home"),
        "server": ("run_broker",),
        "service": ("Broker", "open_broker"),
        "trust": ("trust_file",),
    },
)
