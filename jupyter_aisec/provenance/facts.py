"""What the two observers of a run write down and sign: the record and the observation.

The kernel signs the record with its bound key; the keeper, through which every message of
every front end passes, signs the observation with the person's key. Cells appear by digest
only. Times are RFC 3339 (see :mod:`jupyter_aisec.times`), digests SHA-256 in hex.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import msgspec

__all__ = [
    "Cell",
    "Environment",
    "Gpu",
    "Input",
    "Observation",
    "Output",
    "Record",
    "SeenCell",
    "Steps",
]


class Fact(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The base of all facts."""


class Cell(Fact, frozen=True, kw_only=True):
    """One execution of one cell. ``finished`` and ``ok`` are None while it runs."""

    n: int  # 1 is the first cell recorded in this kernel
    cell_id: str | None  # the notebook's id of the cell, where the front end tells it
    sha256: str  # of the source as it was sent
    started: str
    finished: str | None = None
    ok: bool | None = None


class Steps(Fact, frozen=True, kw_only=True):
    """What one class of optimizer did in this run."""

    optimizer: str  # "torch.optim.sgd.SGD"
    steps: int
    first: str  # when the first of these steps ended
    last: str


class Environment(Fact, frozen=True, kw_only=True):
    """``packages`` are ``name==version`` lines; their digest is over the lines, sorted."""

    python: str  # "CPython 3.11.7"
    platform: str  # "Linux-6.1.0-amd64-x86_64-with-glibc2.36"
    packages: tuple[str, ...]
    packages_sha256: str


class Gpu(Fact, frozen=True, kw_only=True):
    """A GPU that NVML showed the kernel."""

    uuid: str  # "GPU-…": the same in every process and container
    name: str
    memory: int  # bytes
    driver: str
    used: bool  # whether NVML lists the kernel on it: best effort, False proves nothing


class Input(Fact, frozen=True, kw_only=True):
    """An artifact version that the kernel opened, itself or in an output, and by which release."""

    artifact: str
    version: int
    seal_id: str
    grant: str
    entry: int  # the ledger entry keys.released or output.released


class Output(Fact, frozen=True, kw_only=True):
    """The artifact version that the run's weights were sealed as."""

    artifact: str
    seal_id: str
    manifest_sha256: str  # of the manifest's payload, as signed


class Record(Fact, frozen=True, kw_only=True):
    """A run as the kernel saw it: from its first optimizer step to its sealed weights."""

    payload_type: ClassVar[str] = "application/vnd.jupyter-aisec.record+json"

    origin: str  # of the ledger: a record for one broker is worth nothing at another
    run: str  # "run_<ULID>"
    kernel: str  # key id of the bound key that signs this
    grants: tuple[str, ...]  # sorted
    started: str
    finished: str
    cells: tuple[Cell, ...]
    cells_missing: int  # cells that ran and are no longer kept: a gap, said aloud
    steps: tuple[Steps, ...]
    frameworks: tuple[str, ...]  # "lightning 2.6.0"
    cut_short: str | None  # why the run did not end by itself
    inputs: tuple[Input, ...]
    output: Output
    environment: Environment
    gpus: tuple[Gpu, ...]


class SeenCell(Fact, frozen=True, kw_only=True):
    """One execute request that passed the keeper, and what came back."""

    msg_id: str
    sha256: str  # of the source as it was sent
    at: str
    silent: bool = False  # IPython tells the recorder nothing about these
    expressions_sha256: str | None = None  # of expressions to evaluate after it; None without
    began: bool = False  # anything at all came back; until then it may still wait its turn
    outputs_sha256: str | None = None  # of what came out so far; None before any output
    status: Literal["ok", "error", "aborted"] | None = None  # None while it runs or waits


class Observation(Fact, frozen=True, kw_only=True):
    """A run as the keeper saw it from outside the kernel."""

    payload_type: ClassVar[str] = "application/vnd.jupyter-aisec.observation+json"

    origin: str
    person: str  # whose key signs this
    run: str
    kernel: str
    record_sha256: str  # of the payload of the record that passed the keeper
    at: str
    isolation: Literal["none", "partial", "full"]
    cells: tuple[SeenCell, ...]
    cells_missing: int = 0  # requests that passed and are no longer kept
