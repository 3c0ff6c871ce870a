"""What others wrote, as text that a screen shows and does not act on. Pure.

Reasons, names and whatever a bundle says come from people and programs that nobody vouches
for. Control characters move a terminal's cursor, recolour it or retitle it; bidirectional
overrides make a reason read as another one; some characters show nothing at all, and a line
separator makes one line two.
"""

from __future__ import annotations

__all__ = ["printable"]


def printable(text: str, most: int | None = None) -> str:
    """``text`` on one line, with each character that does not print spelled out: ``\\x1b``.

    These are what Unicode calls Other (control, format, surrogate, private, unassigned) or
    Separator, except the space. After ``most`` characters of ``text`` it is cut, with an
    ellipsis. What comes out holds no lone surrogate, so that it can be written anywhere.
    """
    kept = text if most is None else text[:most]
    shown = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in kept
    )
    return shown if len(kept) == len(text) else shown + "…"
