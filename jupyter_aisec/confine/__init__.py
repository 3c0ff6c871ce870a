"""Confining a process by the operating system, and the keeper of a secure kernel.

Usable alone: nothing here knows grants, artifacts or the broker.
"""

from __future__ import annotations

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
