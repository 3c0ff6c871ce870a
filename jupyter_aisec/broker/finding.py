"""A finding: one place where the stored tables are not what was logged. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from jupyter_aisec.errors import TamperedError

__all__ = ["CUT_OFF", "Finding", "at_row", "by_place", "tampered"]

CUT_OFF = "The stored ledger ends before the checkpoint of which a copy lies outside it."


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One place where the database is not what was logged.

    ``row`` is named as it was logged, by its key; rows that nobody logged as they lie there.
    """

    table: str
    row: str
    column: str
    what: str

    def __str__(self) -> str:
        return f"{self.table} row {self.row} column {self.column}: {self.what}"


def at_row(table: str, key: Sequence[Any], column: str, what: str) -> Finding:
    """The finding about a row by the values of its key."""
    row = "/".join(str(part)[:80] for part in key)
    return Finding(table=table, row=row, column=column, what=what)


def by_place(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The first that is said of each place."""
    said: dict[tuple[str, str, str], Finding] = {}
    for one in findings:
        said.setdefault((one.table, one.row, one.column), one)
    return tuple(said.values())


def tampered(findings: Sequence[Finding]) -> TamperedError:
    """The error for a database with findings."""
    cut_off = any(finding.what == CUT_OFF for finding in findings)
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return TamperedError(
        f"The broker's database is not what was logged: {findings[0]}{more}",
        next=(
            "Restore the database from a backup; or, if the entries are lost for good: "
            "`aisec broker accept-rollback --home FOLDER`."
            if cut_off
            else "An admin restores the database from a backup; then check: `aisec audit verify`."
        ),
        code="ledger-cut-off" if cut_off else None,
    )
