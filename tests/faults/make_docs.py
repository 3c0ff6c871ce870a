"""Writes docs/faults.md from faults.toml: ``python -m tests.faults.make_docs``."""

from __future__ import annotations

import re

from tests.faults.table import HERE, Row, rows

DOCS = HERE.parents[1] / "docs" / "faults.md"
_HEAD = """\
# Faults

What can go wrong, why, and what to do next. A command says it in two lines and ends with exit
code 1, or 2 where it was not understood; with `--json` it prints an RFC 9457 problem document
with the code on standard error. A notebook shows the same in a panel, without a traceback.
Nothing is written, lost or released by any of these. Some refused attempts stay in the ledger;
they are marked ●.

Words in capitals are yours to fill in. Where the broker is killed between any two steps, start
it again: nothing that it acknowledged is lost (`tests/faults/test_broker_kills.py`).

Made from `tests/faults/faults.toml`. A test provokes each of the {ROWS} rows. Where the advice
holds commands, the test runs each of them as the product printed it, and shows that it helps. For
{BY_HAND} rows, marked ✎, no command helps: a word or a file has to be corrected, or somebody asked;
there the test does in code what a person would do by hand.
"""


def page() -> str:
    """docs/faults.md as it has to be."""
    groups: dict[str, list[Row]] = {}
    for row in rows():
        groups.setdefault(row.group, []).append(row)
    by_hand = sum(row.by_hand for row in rows())
    head = _HEAD.replace("{ROWS}", str(len(rows()))).replace("{BY_HAND}", str(by_hand))
    return head + "".join(map(_group, groups, groups.values()))


def _group(name: str, its: list[Row]) -> str:
    lines = [f"\n## {name}\n"]
    for row in its:
        marks = ("" if row.exit == 1 else f", exit code {row.exit}") + (" ●" if row.logged else "")
        marks += " ✎" if row.by_hand else ""
        advice = re.sub(r"\{([A-Z_]+?)(?:_AGAIN)?\}", r"\1", row.next)
        lines += [
            f"**{row.fault}** `{row.code}`{marks}\\",
            f"{row.why}\\",
            f"→ {advice}\n",
        ]
    return "\n".join(lines)


if __name__ == "__main__":
    DOCS.write_text(page())
