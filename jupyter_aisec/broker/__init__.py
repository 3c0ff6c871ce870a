"""The broker: decides grants, releases keys, keeps the ledger. Its face is light.

FastAPI, SQLAlchemy and the rest of the extra ``jupyter-aisec[broker]`` are imported when a
name is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_aisec.broker.app import make_app
    from jupyter_aisec.broker.config import Config, load_config
    from jupyter_aisec.broker.home import accept_rollback, audit_home
    from jupyter_aisec.broker.server import run_broker
    from jupyter_aisec.broker.service import Broker, open_broker
    from jupyter_aisec.broker.trust import trust_file

_HOMES = {
    "Broker": "service",
    "Config": "config",
    "accept_rollback": "home",
    "audit_home": "home",
    "load_config": "config",
    "make_app": "app",
    "open_broker": "service",
    "run_broker": "server",
    "trust_file": "trust",
}

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


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
