"""The table of faults, and a row of it held against what a person was told."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

HERE = Path(__file__).parent
_HOLE = re.compile(r"\{([A-Z_]+)\}")


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault. ``next`` is the advice as it is printed, with ``{GRANT}`` and the like
    where the error puts what it speaks of; ``logged`` says that the ledger keeps the attempt,
    ``alert`` that it raises one, too.

    ``by_hand`` says that no command helps: a person has to correct a word or a file, or to ask
    somebody, and the test does in code what they would do.
    """

    id: str
    group: str
    fault: str
    why: str
    code: str
    next: str
    exit: int = 1
    logged: bool = False
    alert: bool = False
    by_hand: bool = False

    def match(self, printed: str) -> dict[str, str]:
        """What stands in the holes of the advice; fails unless it was printed literally."""
        pattern, at = "", 0
        for hole in _HOLE.finditer(self.next):
            pattern += re.escape(self.next[at : hole.start()]) + f"(?P<{hole[1]}>.+?)"
            at = hole.end()
        found = re.fullmatch(pattern + re.escape(self.next[at:]), printed)
        assert found, f"printed: {printed}\ntable:   {self.next}"
        return found.groupdict()


def rows() -> tuple[Row, ...]:
    table: dict[str, Any] = tomllib.loads((HERE / "faults.toml").read_text())
    return msgspec.convert(table["fault"], tuple[Row, ...])


def without_rows() -> dict[str, tuple[str, ...]]:
    """Codes that have no row, by the reason why."""
    table: dict[str, Any] = tomllib.loads((HERE / "faults.toml").read_text())
    return msgspec.convert(table["without_row"], dict[str, tuple[str, ...]])


ROWS = {row.id: row for row in rows()}
