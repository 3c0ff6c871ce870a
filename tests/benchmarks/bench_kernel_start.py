"""Start of a secure kernel beside a plain one, to the first answer; interleaved, medians, JSON.

``python -m tests.benchmarks.bench_kernel_start [ROUNDS]``
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

ROOT = Path(__file__).parents[2]
KINDS = {
    "plain": ["-m", "ipykernel_launcher"],
    "secure": ["-m", "jupyter_aisec.kernel.launch"],
}


def start(arguments: list[str]) -> tuple[float, float]:
    """Seconds from starting the process to its kernel_info, and for 200 empty cells after."""
    with tempfile.TemporaryDirectory() as folder:
        manager = KernelManager(connection_file=f"{folder}/connection.json")
        manager._kernel_spec = KernelSpec(
            argv=[sys.executable, *arguments, "-f", "{connection_file}"],
            display_name="",
            language="python",
            interrupt_mode="message",
        )
        begun = perf_counter()
        manager.start_kernel(env={**os.environ, "PYTHONPATH": str(ROOT)})
        client = manager.client()
        client.start_channels()
        client.wait_for_ready(timeout=60)
        ready = perf_counter() - begun
        begun = perf_counter()
        for _ in range(200):
            client.execute_interactive("", output_hook=lambda _: None, timeout=60)
        cells = perf_counter() - begun
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        return ready, cells


def main(rounds: int) -> dict[str, object]:
    """The medians of ``rounds`` interleaved starts of each kind."""
    seen: dict[str, list[tuple[float, float]]] = {kind: [] for kind in KINDS}
    for _ in range(rounds):
        for kind, arguments in KINDS.items():
            seen[kind].append(start(arguments))
    return {
        "benchmark": "kernel start",
        "rounds": rounds,
        "unit": "seconds, median",
        **{
            kind: {
                "start": round(statistics.median(ready for ready, _ in times), 3),
                "cell": round(statistics.median(cells for _, cells in times) / 200, 5),
            }
            for kind, times in seen.items()
        },
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)))
