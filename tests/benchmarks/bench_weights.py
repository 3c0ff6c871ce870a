"""1 GiB of sealed weights to torch, beside what else one could load it with.

    python -m tests.benchmarks.bench_weights [--gib 1] [--rounds 7] [--folder DIR]

Each load runs in a fresh process (the real case: one load per kernel; fresh memory costs
more than AES does), and the kinds take turns. Times are of the load alone: imports and key
release come before. The files are in memory (``/dev/shm``) or, with ``--folder``, in the
page cache. Prints JSON; ``ratio`` is speed relative to plain safetensors materialised, by
the medians, ``best_ratio`` by the best times, and ``cpu_s`` (user and system, all threads)
is what holds on a machine that does other things as well. Then the ways to seal or save.
"""

from __future__ import annotations

import argparse
import base64
import functools
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, TypeVar

DATA_KEY = bytes(range(32))
Result = TypeVar("Result")


def tensors_of(size: int) -> dict:
    """Weights like a language model's: few shapes, most bytes in 8 to 64 MiB matrices."""
    import torch

    torch.manual_seed(1)
    block = {
        "norm.weight": (4096,),
        "q_proj.weight": (4096, 4096),
        "k_proj.weight": (1024, 4096),
        "v_proj.weight": (1024, 4096),
        "mlp.up_proj.weight": (8192, 4096),
    }
    found: dict[str, torch.Tensor] = {}
    left, layer = size, 0
    while left > 0:
        for name, shape in block.items():
            tensor = torch.randn(shape, dtype=torch.bfloat16)
            found[f"layers.{layer}.{name}"] = tensor
            left -= tensor.numel() * 2
            if left <= 0:
                break
        layer += 1
    return found


def jwks(private: bool) -> dict:
    """Keys in the form CryptoTensors takes them."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    def text(data: bytes) -> str:
        return base64.b64encode(data).decode()

    sign = Ed25519PrivateKey.from_private_bytes(DATA_KEY)
    sign_key = {"kty": "okp", "alg": "ed25519", "kid": "s"}
    sign_key["x"] = text(sign.public_key().public_bytes_raw())
    if private:
        sign_key["d"] = text(DATA_KEY)
    return {
        "enc_key": {"kty": "oct", "alg": "aes256gcm", "kid": "e", "k": text(DATA_KEY)},
        "sign_key": sign_key,
    }


class Cost(NamedTuple):
    """What an action took, in seconds: by the clock, and of all processors together."""

    wall: float
    cpu: float


def cost_of(action: Callable[[], Result]) -> tuple[Cost, Result]:
    """``action``'s cost and result; the result is kept so that freeing it is no part."""

    def cpu() -> float:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return usage.ru_utime + usage.ru_stime

    start, before = time.perf_counter(), cpu()
    result = action()
    return Cost(time.perf_counter() - start, cpu() - before), result


def prepare(folder: Path, size: int, rounds: int) -> dict[str, list[Cost]]:
    """The same weights in each form, sealed and saved ``rounds`` times, in turn."""
    from safetensors.torch import save_file

    from jupyter_aisec.people.keys import SigningKey
    from jupyter_aisec.sealed import SealResult, StateDictContent, UrlFolder, seal_artifact

    tensors = tensors_of(size)
    plain, sealed = folder / "plain.safetensors", folder / "sealed"

    def seal(source: object) -> SealResult:
        sources = {"model.safetensors": source}
        return seal_artifact(
            "weights/bench", sources, UrlFolder(str(sealed)), SigningKey.generate()
        )

    costs: dict[str, list[Cost]] = {"plain": [], "sealed_file": [], "sealed": []}
    for _ in range(rounds):
        plain.unlink(missing_ok=True)
        costs["plain"].append(cost_of(lambda: save_file(tensors, plain, {"format": "pt"}))[0])
        for kind, source in (("sealed_file", plain), ("sealed", StateDictContent(tensors))):
            shutil.rmtree(sealed, ignore_errors=True)
            cost, result = cost_of(functools.partial(seal, source))
            costs[kind].append(cost)
    (folder / "key").write_bytes(bytes(next(iter(result.keys.values())).secret))
    if find_spec("cryptotensors"):
        import cryptotensors.torch

        path = folder / "crypto.safetensors"
        cost, _ = cost_of(lambda: cryptotensors.torch.save_file(tensors, path, config=jwks(True)))
        costs["cryptotensors"] = [cost]
    return costs


def load_sealed(folder: Path) -> Callable[[], object]:
    import torch  # noqa: F401  # part of every kernel, not of the load

    from jupyter_aisec.sealed import DataKey, UrlFolder, load_weights, open_artifact, open_folder

    url = UrlFolder(str(folder / "sealed"))
    key = DataKey((folder / "key").read_bytes())

    def load() -> object:
        envelope, manifest = open_folder(url)
        keys = {manifest.keys[0].key_id: key}
        return load_weights(open_artifact(envelope, lambda _: keys, url))

    return load


def load_plain(folder: Path) -> Callable[[], object]:
    from safetensors.torch import load_file

    path = folder / "plain.safetensors"
    return lambda: {name: tensor.clone() for name, tensor in load_file(path).items()}


def load_cryptotensors(folder: Path) -> Callable[[], object]:
    import torch  # noqa: F401  # part of every kernel, not of the load
    from cryptotensors import safe_open

    def load() -> object:
        path = str(folder / "crypto.safetensors")
        with safe_open(path, framework="pt", config=jwks(False)) as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118

    return load


def load_copy(folder: Path) -> Callable[[], object]:
    """The plain file's bytes into fresh memory, with two threads: what the machine allows."""
    from concurrent.futures import ThreadPoolExecutor

    import torch

    path = folder / "plain.safetensors"
    piece = 16 << 20

    def load() -> object:
        size = path.stat().st_size
        target = torch.empty(size, dtype=torch.uint8)
        view = memoryview(target.numpy())
        with path.open("rb", buffering=0) as file, ThreadPoolExecutor(2) as pool:

            def read(start: int) -> None:
                os.preadv(file.fileno(), [view[start : start + piece]], start)

            list(pool.map(read, range(0, size, piece)))
        return target

    return load


LOADS = {
    "plain": load_plain,
    "sealed": load_sealed,
    "cryptotensors": load_cryptotensors,
    "copy": load_copy,
}


def child(kind: str, folder: Path) -> None:
    cost, _ = cost_of(LOADS[kind](folder))
    print(json.dumps(cost))


def measure(folder: Path, kinds: list[str], rounds: int) -> dict[str, list[Cost]]:
    costs: dict[str, list[Cost]] = {kind: [] for kind in kinds}
    for turn in range(rounds):
        for offset in range(len(kinds)):
            kind = kinds[(turn + offset) % len(kinds)]
            command = [sys.executable, "-m", __spec__.name, "--child", kind]
            done = subprocess.run(
                [*command, "--folder", str(folder)], capture_output=True, text=True, check=True
            )
            costs[kind].append(Cost(*json.loads(done.stdout)))
    return costs


def told(costs: dict[str, list[Cost]], size: int) -> dict[str, dict]:
    """Each kind's figures, and its speed relative to ``plain``."""
    median = {kind: statistics.median(cost.wall for cost in all_) for kind, all_ in costs.items()}
    best = {kind: min(cost.wall for cost in all_) for kind, all_ in costs.items()}
    return {
        kind: {
            "median_s": round(median[kind], 3),
            "best_s": round(best[kind], 3),
            "cpu_s": round(statistics.median(cost.cpu for cost in all_), 3),
            "gb_per_s": round(size / median[kind] / 1e9, 2),
            "best_gb_per_s": round(size / best[kind] / 1e9, 2),
            "ratio": round(median["plain"] / median[kind], 2),
            "best_ratio": round(best["plain"] / best[kind], 2),
            "all_s": [round(cost.wall, 3) for cost in all_],
        }
        for kind, all_ in costs.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gib", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--child", choices=LOADS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.folder)
        return
    memory = Path("/dev/shm")
    place = options.folder or (memory if memory.is_dir() else Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix="aisec-bench-", dir=place))
    try:
        sealing = prepare(folder, int(options.gib * (1 << 30)), options.rounds)
        size = (folder / "plain.safetensors").stat().st_size
        kinds = [k for k in LOADS if k != "cryptotensors" or find_spec("cryptotensors")]
        loading = measure(folder, kinds, options.rounds)
    finally:
        shutil.rmtree(folder)
    print(
        json.dumps(
            {
                "what": "weights to torch, each load in a fresh process, interleaved",
                "bytes": size,
                "rounds": options.rounds,
                "files": "in memory (tmpfs)" if place == memory else "in the page cache",
                "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
                "loads": told(loading, size),
                "sealing": told(sealing, size),
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
