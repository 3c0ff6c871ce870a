"""Talking to the broker: as a person, with a key of one's own, and as a bound kernel.

Modules load when a name is first used: a keeper has no use for what a kernel signs with.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyter_aisec.client.countersign import Unsent
    from jupyter_aisec.client.events import Event
    from jupyter_aisec.client.home import Account, Home, Session
    from jupyter_aisec.client.http import BearerAuth, Http
    from jupyter_aisec.client.kernel import KernelClient, Release
    from jupyter_aisec.client.person import PersonClient
    from jupyter_aisec.client.views import (
        ApprovalView,
        ArtifactView,
        AuditView,
        EntryView,
        Explained,
        FindingView,
        GrantView,
        KeyView,
        Lease,
        ListedView,
        PersonView,
        PolicyView,
        RunView,
        SealedView,
        Who,
    )

_HOMES = {
    "countersign": ("Unsent",),
    "events": ("Event",),
    "home": ("Account", "Home", "Session"),
    "http": ("BearerAuth", "Http"),
    "kernel": ("KernelClient", "Release"),
    "person": ("PersonClient",),
    "views": (
        "ApprovalView",
        "ArtifactView",
        "AuditView",
        "EntryView",
        "Explained",
        "FindingView",
        "GrantView",
        "KeyView",
        "Lease",
        "ListedView",
        "PersonView",
        "PolicyView",
        "RunView",
        "SealedView",
        "Who",
    ),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Account",
    "ApprovalView",
    "ArtifactView",
    "AuditView",
    "BearerAuth",
    "EntryView",
    "Event",
    "Explained",
    "FindingView",
    "GrantView",
    "Home",
    "Http",
    "KernelClient",
    "KeyView",
    "Lease",
    "ListedView",
    "PersonClient",
    "PersonView",
    "PolicyView",
    "Release",
    "RunView",
    "SealedView",
    "Session",
    "Unsent",
    "Who",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
