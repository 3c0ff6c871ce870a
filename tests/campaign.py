"""``make campaign``: the long searches at their full length, told in ``docs/campaign.md``.

Each search is a set of tests that `make test` runs for a bounded share; here the same tests
run with many more random examples and with every crash point at every visit.
"""

from __future__ import annotations

import datetime
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "campaign.md"
FACTOR = os.environ.get("AISEC_CAMPAIGN", "50")


@dataclass(frozen=True)
class Search:
    """What is looked for, and the tests that look."""

    name: str
    question: str
    tests: tuple[str, ...]


SEARCHES = (
    Search(
        "Signed bytes",
        "Is any changed, reordered or foreign byte of a statement, note or proof accepted?",
        ("tests/people", "tests/ledger"),
    ),
    Search(
        "Histories of grants",
        "Do random histories with random clocks ever differ from an independent small model?",
        ("tests/grants",),
    ),
    Search(
        "Sealed files",
        "Does any damage, length or access pattern give other bytes than were sealed?",
        ("tests/sealed",),
    ),
    Search(
        "Chains of custody",
        "Does any changed byte of a bundle or manifest still verify?",
        ("tests/provenance",),
    ),
    Search(
        "Crash points",
        "Is anything acknowledged lost when the broker is killed, at any failpoint and visit?",
        ("tests/faults/test_broker_kills.py",),
    ),
    Search(
        "Changed rows",
        "Does the broker release anything after any column of any row was changed?",
        ("tests/broker/test_tampering.py",),
    ),
    Search(
        "Ways out",
        "Does any of the named ways out of the secure kernel work?",
        ("tests/confine",),
    ),
    Search(
        "Disk",
        "Does anything planted in the inputs of the walk reach a disk in any disguise?",
        ("tests/walk",),
    ),
)


@dataclass(frozen=True)
class Result:
    search: Search
    tests: int
    failed: tuple[str, ...]
    examples: int
    seconds: float


def run(search: Search) -> Result:
    """Run the search's tests in one process of pytest and count what they tried."""
    with tempfile.NamedTemporaryFile(suffix=".xml") as report:
        command = [sys.executable, "-m", "pytest", "-q", "--timeout=7200", *search.tests]
        command += ["--hypothesis-show-statistics", f"--junitxml={report.name}"]
        begun = time.monotonic()
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, "AISEC_CAMPAIGN": FACTOR},
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - begun
        cases = ET.parse(report.name).getroot().iter("testcase")
        failed, count = [], 0
        for case in cases:
            count += 1
            if case.find("failure") is not None or case.find("error") is not None:
                failed.append(f"{case.get('classname')}::{case.get('name')}")
    if done.returncode and not failed:
        failed.append(f"pytest ended {done.returncode}")
    tried = sum(int(number) for number in re.findall(r"(\d+) passing\b", done.stdout))
    return Result(search, count, tuple(failed), tried, seconds)


def page(results: list[Result]) -> str:
    """The whole of ``docs/campaign.md``; it says which searches this run left out."""
    left_out = [one.name for one in SEARCHES if one not in [result.search for result in results]]
    today = datetime.datetime.now(datetime.UTC).date()
    rows = [
        f"| {one.search.name} | {one.search.question} | {one.tests:,} | {one.examples:,} "
        f"| {one.seconds / 60:.1f} | {len(one.failed) or 'none'} |"
        for one in results
    ]
    failures = [f"- `{name}`" for one in results for name in one.failed]
    return "\n".join(
        (
            "# Campaign",
            "",
            "What the long searches tried and found. Written by `make campaign`, which runs the",
            f"tests below with {FACTOR} times the random examples of `make test`, and every crash",
            "point at every visit. A random example is one generated input or one generated",
            "history; the figures are those of the runs below, not a sum over time.",
            "",
            f"Last run: {today}, on {_machine()}.",
            "",
            "| search | question | tests | random examples | minutes | failures |",
            "| --- | --- | ---: | ---: | ---: | --- |",
            *rows,
            "",
            *((f"Left out of this run: {', '.join(left_out)}.", "") if left_out else ()),
            *(("## Found", "", *failures, "") if failures else ()),
        )
    )


def _machine() -> str:
    return f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} processors"


def main(names: list[str]) -> int:
    """Run the searches of these names; all, where none is given."""
    results = []
    for search in (one for one in SEARCHES if not names or one.name in names):
        print(f"{search.name}: {search.question}", flush=True)
        results.append(run(search))
        last = results[-1]
        print(
            f"  {last.tests:,} tests, {last.examples:,} random examples, "
            f"{last.seconds:.0f} s, {len(last.failed)} failures",
            flush=True,
        )
    PAGE.write_text(page(results))
    print(f"Written: {PAGE.relative_to(ROOT)}")
    return 1 if any(one.failed for one in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
