"""Identifiers: ULIDs with a prefix that says what they name (``grant_01KAH…``).

Making one reads the clock, so only the edges (client, broker, kernel) call this;
the pure rooms are handed ids.
"""

from __future__ import annotations

import re

from ulid import ULID

__all__ = ["is_id", "new_id"]

_ID = re.compile(r"[a-z]{2,12}_[0-7][0-9A-HJKMNP-TV-Z]{25}")


def new_id(prefix: str) -> str:
    """A fresh id, such as ``new_id("grant")``; ids made later sort later."""
    return f"{prefix}_{ULID()}"


def is_id(text: str, prefix: str) -> bool:
    """Whether ``text`` is an id with that prefix."""
    return text.startswith(f"{prefix}_") and bool(_ID.fullmatch(text))
