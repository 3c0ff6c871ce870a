"""1 GiB of sealed weights to torch, beside what else one could load it with.

    python -m tests.benchmarks.bench_weights [--gib 1] [--rounds 7] [--folder DIR]

Each load runs in a fresh process (the real case: one load per kernel; fresh memory costs
more than AES does), the kinds take turns, and the medians are compared. Times are of the
load alone: imports and key release come before. The files are in memory (``/dev/shm``) or,
with ``--folder``, in the page cache. Prints JSON; ``ratio`` is speed relative to plain
safetensors materialised.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

DATA_KEY = bytes(range(32))


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


def prepare(folder: Path, size: int) -> dict[str, float]:
    """The same weights in each form; how long each took to write, in seconds."""
    from safetensors.torch import save_file

    from jupyter_aisec.people.keys import SigningKey
    from jupyter_aisec.sealed import StateDictContent, UrlFolder, seal_artifact

    tensors = tensors_of(size)
    seconds = {}

    def timed(name: str, action: Callable[[], object]) -> object:
        start = time.perf_counter()
        result = action()
        seconds[name] = time.perf_counter() - start
        return result

    timed("plain", lambda: save_file(tensors, folder / "plain.safetensors", {"format": "pt"}))
    sealed = timed(
        "sealed",
        lambda: seal_artifact(
            "weights/bench",
            {"model.safetensors": StateDictContent(tensors)},
            UrlFolder(str(folder / "sealed")),
            SigningKey.generate(),
        ),
    )
    (folder / "key").write_bytes(bytes(next(iter(sealed.keys.values())).secret))
    if find_spec("cryptotensors"):
        import cryptotensors.torch

        path = folder / "crypto.safetensors"
        timed(
            "cryptotensors", lambda: cryptotensors.torch.save_file(tensors, path, config=jwks(True))
        )
    return seconds


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
    load = LOADS[kind](folder)
    start = time.perf_counter()
    result = load()
    print(time.perf_counter() - start)
    del result


def measure(folder: Path, kinds: list[str], rounds: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(rounds):
        for offset in range(len(kinds)):
            kind = kinds[(turn + offset) % len(kinds)]
            command = [sys.executable, "-m", __spec__.name, "--child", kind]
            done = subprocess.run(
                [*command, "--folder", str(folder)], capture_output=True, text=True, check=True
            )
            seconds[kind].append(float(done.stdout))
    return seconds


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
        sealing = prepare(folder, int(options.gib * (1 << 30)))
        size = (folder / "plain.safetensors").stat().st_size
        kinds = [k for k in LOADS if k != "cryptotensors" or find_spec("cryptotensors")]
        seconds = measure(folder, kinds, options.rounds)
    finally:
        shutil.rmtree(folder)
    median = {kind: statistics.median(times) for kind, times in seconds.items()}
    print(
        json.dumps(
            {
                "what": "weights to torch, each load in a fresh process, interleaved",
                "bytes": size,
                "rounds": options.rounds,
                "files": "in memory (tmpfs)" if place == memory else "in the page cache",
                "machine": {"cpus": os.cpu_count(), "python": platform.python_version()},
                "loads": {
                    kind: {
                        "median_s": round(median[kind], 3),
                        "best_s": round(min(seconds[kind]), 3),
                        "gb_per_s": round(size / median[kind] / 1e9, 2),
                        "ratio": round(median["plain"] / median[kind], 2),
                        "all_s": [round(value, 3) for value in seconds[kind]],
                    }
                    for kind in kinds
                },
                "sealing_gb_per_s": {
                    kind: round(size / value / 1e9, 2) for kind, value in sealing.items()
                },
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
