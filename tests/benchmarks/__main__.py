"""``make bench``: every benchmark, and ``docs/benchmarks.md`` from what they print.

Each benchmark runs as a process of its own and prints JSON; what is compared takes turns
within one run, and medians are told. Times are of one machine on one day: the ratios are
what carries over.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
LEAST = 0.9  # opening sealed weights beside plain safetensors: below it `make bench` fails


@dataclass(frozen=True)
class Benchmark:
    """One module of this folder, how its answer is told, and what limits it."""

    module: str
    title: str
    table: Callable[[Any], Iterable[tuple[str, ...]]]
    limits: str


def _weights(found: Any) -> Iterable[tuple[str, ...]]:
    names = {
        "plain": "safetensors, not encrypted, materialised",
        "sealed": "sealed weights",
        "cryptotensors": "CryptoTensors",
        "copy": "a two-thread copy of the bytes",
    }
    yield "loading to torch", "median s", "GB/s", "speed beside plain"
    for kind, one in found["loads"].items():
        figures = (one["median_s"], one["gb_per_s"], one["ratio"])
        yield names[kind], *(f"{value:.2f}" for value in figures)


def _broker(found: Any) -> Iterable[tuple[str, ...]]:
    yield "clients", "cycles a second", "request ms", "approve ms", "bind ms", "release ms"
    for one in found:
        steps = one["median_ms"]
        yield (
            str(one["clients"]),
            f"{one['cycles_per_second']:.1f}",
            *(f"{steps[step]:.1f}" for step in ("request", "approve", "bind", "release")),
        )


def _kernel_start(found: Any) -> Iterable[tuple[str, ...]]:
    yield "kernel", "start to first answer, s", "an empty cell, ms", "start beside plain"
    for kind in ("plain", "secure"):
        one = found[kind]
        beside = one["start"] / found["plain"]["start"]
        yield kind, f"{one['start']:.2f}", f"{one['cell'] * 1e3:.1f}", f"{beside:.2f}"


def _recording(found: Any) -> Iterable[tuple[str, ...]]:
    yield "", "plain µs", "recorded µs", "cost µs", "recorded beside plain"
    for kind, one in found["results"].items():
        figures = (one["plain_us"], one["recorded_us"], one["cost_us"])
        yield kind, *(f"{value:.1f}" for value in figures), f"{one['ratio']:.2f}"


BENCHMARKS = (
    Benchmark(
        "bench_weights",
        "Opening 1 GiB of sealed weights",
        _weights,
        "Each load in a fresh process, as a kernel has it, files in memory. Page faults of the "
        "fresh destination cost more than AES does, so every way of loading meets the same limit.",
    ),
    Benchmark(
        "bench_broker",
        "Request, approve, bind, release",
        _broker,
        "Whole cycles over HTTP against a real broker on SQLite: four signed statements, four "
        "durable entries. Limited by flushes to the disk (one of the database and two of the "
        "outside copies for each entry) and, with a long ledger, by the comparison of every row "
        "before each release.",
    ),
    Benchmark(
        "bench_kernel_start",
        "Starting the secure kernel",
        _kernel_start,
        "From starting the process to the first answer, then 200 empty cells. The rest is "
        "importing IPython, twice as far: the keeper imports its own half.",
    ),
    Benchmark(
        "bench_recording",
        "What recording costs",
        _recording,
        "A cell is `x = 1` in IPython; a step is SGD on one small parameter, where torch itself "
        "costs least and the hook weighs most. A cell costs the SHA-256 of its source, two "
        "readings of the clock and the record of its end; a step is one count in a dictionary, "
        "called from torch's global hook.",
    ),
)


def run(one: Benchmark) -> Any:
    """What the benchmark printed."""
    command = [sys.executable, "-m", f"tests.benchmarks.{one.module}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{one.module} ended {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout)


def section(one: Benchmark, found: Any) -> str:
    """One benchmark's part of the page."""
    head, *rows = ("| " + " | ".join(row) + " |" for row in one.table(found))
    columns = head.count("|") - 1
    line = "| --- |" + " ---: |" * (columns - 1)
    return "\n".join((f"## {one.title}", "", head, line, *rows, "", one.limits, ""))


def main() -> int:
    parts = []
    slower = False
    for one in BENCHMARKS:
        print(f"{one.title} …", flush=True)
        found = run(one)
        parts.append(section(one, found))
        print(parts[-1], flush=True)
        slower = slower or (one.module == "bench_weights" and _too_slow(found))
    today = datetime.datetime.now(datetime.UTC).date()
    machine = f"{os.cpu_count()} processors ({platform.machine()})"
    introduction = (
        "# Benchmarks\n\n"
        "Written by `make bench`. What is compared ran in turns in one run; medians. The times "
        f"are those of one machine ({machine}, Python {platform.python_version()}, {today}); "
        "the ratios are what carries over.\n"
    )
    PAGE.write_text("\n".join((introduction, *parts)))
    print(f"Written: {PAGE.relative_to(ROOT)}")
    if slower:
        print(f"Sealed weights open at less than {LEAST} of the speed of plain safetensors.")
    return int(slower)


def _too_slow(found: Any) -> bool:
    return bool(found["loads"]["sealed"]["ratio"] < LEAST)


if __name__ == "__main__":
    sys.exit(main())
