"""Writes docs/faults.md from faults.toml: ``python -m tests.faults.make_docs``."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "faults.md"
_HEAD = """\
# Faults

What can go wrong, the code of its error (`code` in the JSON that `--json` prints on standard
error, and in the broker's problem documents), the command's exit code, and what to do next.
Made from `tests/faults/faults.toml`; a test provokes every row and does what it advises.

| fault | code | exit | next |
| --- | --- | --- | --- |
"""


def faults() -> list[dict[str, Any]]:
    """The rows of the table."""
    rows: list[dict[str, Any]] = tomllib.loads((HERE / "faults.toml").read_text())["fault"]
    return rows


def page() -> str:
    """docs/faults.md as it has to be."""
    return _HEAD + "".join(
        f"| {row['fault']} | `{row['code']}` | {row['exit']} | {_next(row['next'])} |\n"
        for row in faults()
    )


def _next(text: str) -> str:
    return f"`{text}`" if text.startswith("aisec ") else text


if __name__ == "__main__":
    DOCS.parent.mkdir(exist_ok=True)
    DOCS.write_text(page())
