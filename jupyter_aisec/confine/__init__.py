"""Confining a process by the operating system, and the keeper of a secure kernel.

Usable alone: nothing here knows grants, artifacts or the broker.
"""

from __future__ import annotations

from .confinement import Confined, Confinement, Inside
from .hidden import needed, secrets
from .level import Level, at_least

__all__ = ["Confined", "Confinement", "Inside", "Level", "at_least", "needed", "secrets"]
