"""Talking to the broker: as a person, with a key of one's own, and as a bound kernel.

Modules load when a name is first used: a keeper has no use for what a kernel signs with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_aisec.lazy import lazily

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
        ReviewView,
        RunView,
        SealedView,
        Who,
    )

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
    "ReviewView",
    "RunView",
    "SealedView",
    "Session",
    "Unsent",
    "Who",
]

__getattr__ = lazily(
    __name__,
    {
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
            "ReviewView",
            "RunView",
            "SealedView",
            "Who",
        ),
    },
)
