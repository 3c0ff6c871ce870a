"""Which versions of an artifact a grant covers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_aisec.client.views import GrantView

__all__ = ["covers", "newest_covered"]


def covers(view: GrantView, artifact: str, version: int | None) -> bool:
    """Whether ``view`` is for that version of ``artifact``; for any, where none is named."""
    pins = _pins(view, artifact)
    return bool(pins) and (version is None or version in pins or None in pins)


def newest_covered(view: GrantView, artifact: str) -> int | None:
    """The newest of the versions that ``view`` names, or None where it names all of them."""
    pins = _pins(view, artifact)
    return None if None in pins else max((pin for pin in pins if pin is not None), default=None)


def _pins(view: GrantView, artifact: str) -> set[int | None]:
    references = (reference.partition("@") for reference in view.artifacts)
    return {int(version) if at else None for name, at, version in references if name == artifact}
