"""Confining a process by the operating system, and the keeper of a secure kernel.

Usable alone: nothing here knows grants, artifacts or the broker. Modules load when a name is
first used: a keeper starts itself anew, and what it imported before that it would import twice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
    from .confinement import Confined, Confinement, Inside
    from .exec import confine_command
    from .hidden import needed, secrets
    from .ipython_kernel import run_ipython_kernel
    from .keeper import Keeper, Outside, Service
    from .level import Level, at_least
    from .wire import Message

__all__ = [
    "Confined",
    "Confinement",
    "Inside",
    "Keeper",
    "Level",
    "Message",
    "Outside",
    "Service",
    "at_least",
    "confine_command",
    "needed",
    "run_ipython_kernel",
    "secrets",
]

__getattr__ = lazily(
    __name__,
    {
        "confinement": ("Confined", "Confinement", "Inside"),
        "exec": ("confine_command",),
        "hidden": ("needed", "secrets"),
        "ipython_kernel": ("run_ipython_kernel",),
        "keeper": ("Keeper", "Outside", "Service"),
        "level": ("Level", "at_least"),
        "wire": ("Message",),
    },
)
