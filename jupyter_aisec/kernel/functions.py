"""The same as the magics, as functions: what ``import jupyter_aisec as aisec`` offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

from jupyter_aisec.times import parse_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jupyter_aisec.client.views import GrantView

__all__ = ["load", "open", "request", "save"]


def request(*artifacts: str, for_: str, reason: str, break_glass: bool = False) -> GrantView:
    """Ask for artifacts for a time (``"2h"``); shows the live card.

    With ``break_glass`` nobody is asked before; those who would have been are told, and review
    it. Raises RefusedError where policy says no.
    """
    from jupyter_aisec.kernel import grant
    from jupyter_aisec.kernel.extension import face

    seconds = int(parse_duration(for_).total_seconds())
    return grant.request(face(), artifacts, seconds, reason, break_glass=break_glass)


def load(
    artifact: str,
    *,
    format: str | None = None,
    into: Any = None,
    device: str | None = None,
    columns: Sequence[str] | None = None,
    version: int | None = None,
    wait: bool = True,
) -> Any:
    """Open an artifact in memory, as ``%load_secure`` does; returns the value."""
    from jupyter_aisec.kernel.extension import face
    from jupyter_aisec.kernel.load import load as load_value

    value, _ = load_value(
        face(),
        artifact,
        format=format,
        into=into,
        device=device,
        columns=columns,
        version=version,
        wait=wait,
    )
    return value


def save(value: Any, artifact: str, *, labels: Sequence[str] = ()) -> str:
    """Seal ``value`` straight from memory, as ``%save_secure`` does; returns the seal id."""
    from jupyter_aisec.kernel.extension import face
    from jupyter_aisec.kernel.save import save as save_value

    return save_value(face(), value, artifact, labels=labels)


def open(path: str, *, wait: bool = True) -> BinaryIO:
    """One file of an artifact (``dataset/corpus/part-0.jsonl``) as a seekable binary file."""
    from jupyter_aisec.kernel.extension import face
    from jupyter_aisec.kernel.load import open_file

    return open_file(face(), path, wait=wait)
