"""Hold every room to its own least coverage: ``python -m tests.coverage_gate coverage.json``.

A total hides a room that nobody tests; the limits stand in ``pyproject.toml`` under
``[tool.jupyter-aisec.coverage]``. Percent of lines and branches together, rounded down.
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections import defaultdict
from pathlib import Path, PurePath
from typing import Any

ROOT = Path(__file__).parents[1]


def rooms(report: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """What is covered and what there is, for each room; files of no room are ``base``."""
    found: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for name, file in report["files"].items():
        parts = PurePath(name).parts
        room = parts[parts.index("jupyter_aisec") + 1] if len(parts) > 2 else "base"
        summary = file["summary"]
        found[room][0] += summary["covered_lines"] + summary["covered_branches"]
        found[room][1] += summary["num_statements"] + summary["num_branches"]
    return {room: (covered, there) for room, (covered, there) in sorted(found.items())}


def below(found: dict[str, tuple[int, int]], limits: dict[str, int]) -> list[str]:
    """The rooms that do not reach their limit; a limit for a room that is gone counts too."""
    failed = [room for room in limits if room != "default" and room not in found]
    for room, (covered, there) in found.items():
        if 100 * covered < limits.get(room, limits["default"]) * there:
            failed.append(room)
    return sorted(failed)


def main(report_path: str) -> int:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    limits: dict[str, int] = pyproject["tool"]["jupyter-aisec"]["coverage"]
    found = rooms(json.loads(Path(report_path).read_text()))
    failed = below(found, limits)
    print("\nCoverage of lines and branches, by room:")
    for room, (covered, there) in found.items():
        percent = 100 * covered // there if there else 100
        wanted = limits.get(room, limits["default"])
        print(f"  {room:<12} {percent:3d} %  (least {wanted})", "← too low" * (room in failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
