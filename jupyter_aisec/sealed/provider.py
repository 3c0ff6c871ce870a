"""Where ``aisec://`` gets open artifacts from: whoever holds the grant says so.

Apart from the filesystem, so that a kernel says it without loading fsspec.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_aisec.sealed.artifact import OpenArtifact

__all__ = ["Provider", "get_provider", "set_provider"]

Provider = Callable[[str], "OpenArtifact"]
_provider: Provider | None = None


def set_provider(provider: Provider | None) -> None:
    """Sets where open artifacts come from, by name, for this process; None for nowhere."""
    global _provider
    _provider = provider


def get_provider() -> Provider | None:
    """What was set last."""
    return _provider
