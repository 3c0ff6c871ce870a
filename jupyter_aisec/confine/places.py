"""Where memory is on Linux: the folders a confined process may write to."""

# S108 warns of predictable names in shared folders; these are the folders themselves, and in a
# full confinement they are the process's own.
from __future__ import annotations

from typing import Final

__all__ = ["SHARED_MEMORY", "TEMPORARY"]

SHARED_MEMORY: Final = "/dev/shm"  # noqa: S108
TEMPORARY: Final = "/tmp"  # noqa: S108
