"""Request, approve, bind, release: whole cycles a second over HTTP, a real broker process.

``python -m tests.benchmarks.bench_broker [--cycles N] [--clients N]`` prints JSON. Every
cycle is four signed statements or requests, four durable ledger entries (two flushes to the
disk each for the database and two for the outside copies) and one check of all tables.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

from tests.broker.world import Api, BrokerProcess, Kernel, Site, ok, seal

STEPS = ("request", "approve", "bind", "release")


def cycle(api: Api) -> tuple[float, ...]:
    """One cycle; the seconds of each of its steps."""
    kernel = Kernel()
    moments = [time.perf_counter()]
    view = api.ask("dataset/digits")
    moments.append(time.perf_counter())
    api.approve(view)
    moments.append(time.perf_counter())
    api.bind(view, kernel)
    moments.append(time.perf_counter())
    ok(api.release(view["id"], "dataset/digits", kernel))
    moments.append(time.perf_counter())
    return tuple(after - before for before, after in pairwise(moments))


def measure(clients: int, cycles: int) -> dict[str, object]:
    """``cycles`` cycles spread over ``clients`` threads, on a new broker."""
    with tempfile.TemporaryDirectory() as folder:
        site = Site(Path(folder) / "home")
        with BrokerProcess(site) as process:
            api = process.wait_ready()
            assert api is not None
            api.seal(seal("dataset/digits", site.keys["researcher"]), person="researcher")
            cycle(api)
            each = [Api(site, api.url) for _ in range(clients)]
            for one in each:
                one.tokens = api.tokens
            started = time.perf_counter()
            with ThreadPoolExecutor(clients) as threads:
                timings = list(threads.map(cycle, (each * cycles)[:cycles]))
            seconds = time.perf_counter() - started
    return {
        "clients": clients,
        "cycles": cycles,
        "cycles_per_second": round(cycles / seconds, 2),
        "median_ms": {
            step: round(1000 * statistics.median(times), 2)
            for step, times in zip(STEPS, zip(*timings, strict=True), strict=True)
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cycles", type=int, default=100)
    parser.add_argument("--clients", type=int, nargs="*", default=[1, 8])
    chosen = parser.parse_args()
    os.environ.setdefault("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    print(json.dumps([measure(clients, chosen.cycles) for clients in chosen.clients], indent=2))


if __name__ == "__main__":
    main()
