"""The trust file that a command is given."""

from __future__ import annotations

from pathlib import Path

from jupyter_aisec.errors import UsageError
from jupyter_aisec.ledger.trust import Trust, parse_trust

__all__ = ["read_trust"]


def read_trust(file: Path) -> Trust:
    """What the file pins; raises UsageError where it cannot be read, MalformedError."""
    try:
        return parse_trust(file.read_bytes())
    except OSError as error:
        raise UsageError(
            f"The trust file {file} cannot be read: {error.strerror}.",
            next="Get one from an admin, who writes it with `aisec broker trust > FILE`.",
            code="trust-unreadable",
        ) from error
