"""What recording costs: per cell and per training step, beside the same without it.

    python -m tests.benchmarks.bench_recording [--rounds 7]

Each round runs in a fresh process, the kinds take turns, and the medians are compared.
A cell is ``x = 1`` in a real IPython shell; a step is ``SGD.step()`` on one small parameter,
where torch itself costs least and the hook weighs most. Prints JSON; times in microseconds.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time

CELLS = 2_000
STEPS = 20_000


def cells(recorded: bool) -> float:
    """Microseconds per cell."""
    from IPython.core.interactiveshell import InteractiveShell

    from jupyter_aisec.record import Recorder

    shell = InteractiveShell.instance()
    shell.history_manager.enabled = False
    if recorded:
        Recorder().install(shell)
    for _ in range(50):
        shell.run_cell("x = 1")
    began = time.perf_counter()
    for _ in range(CELLS):
        shell.run_cell("x = 1", store_history=False)
    return (time.perf_counter() - began) / CELLS * 1e6


def steps(recorded: bool) -> float:
    """Microseconds per optimizer step."""
    from jupyter_aisec.record.steps import StepRecorder

    if recorded:
        StepRecorder().install()
    import torch

    torch.set_num_threads(1)
    weight = torch.nn.Parameter(torch.ones(8))
    weight.grad = torch.ones(8)
    optimizer = torch.optim.SGD([weight], lr=1e-6)
    for _ in range(500):
        optimizer.step()
    began = time.perf_counter()
    for _ in range(STEPS):
        optimizer.step()
    return (time.perf_counter() - began) / STEPS * 1e6


KINDS = {"cell": cells, "step": steps}


def measure(rounds: int) -> dict:
    taken: dict[tuple[str, bool], list[float]] = {}
    for _ in range(rounds):
        for kind in KINDS:
            for recorded in (False, True):
                command = [sys.executable, "-m", __spec__.name, "--one", kind]
                done = subprocess.run(
                    [*command, *(["--recorded"] if recorded else [])],
                    check=True,
                    capture_output=True,
                )
                taken.setdefault((kind, recorded), []).append(float(done.stdout))
    results = {}
    for kind in KINDS:
        plain = statistics.median(taken[kind, False])
        with_it = statistics.median(taken[kind, True])
        results[kind] = {
            "plain_us": round(plain, 2),
            "recorded_us": round(with_it, 2),
            "cost_us": round(with_it - plain, 2),
            "ratio": round(with_it / plain, 3),
        }
    return {
        "benchmark": "recording",
        "rounds": rounds,
        "cells": CELLS,
        "steps": STEPS,
        "machine": platform.platform(),
        "python": platform.python_version(),
        "results": results,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--one", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--recorded", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(KINDS[options.one](options.recorded))
    else:
        print(json.dumps(measure(options.rounds), indent=1))


if __name__ == "__main__":
    main()
