"""Recording a run without being asked: cells, steps, frameworks, environment, GPUs.

A run goes from its first optimizer step to its saved weights. Its record holds every cell of
the kernel so far, because any of them may have made what it trained on. Recording never
changes what user code does or raises.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec

from jupyter_aisec.provenance.facts import Cell, Environment, Gpu, Steps
from jupyter_aisec.record.cells import CellRecorder
from jupyter_aisec.record.environment import environment
from jupyter_aisec.record.gpus import gpus
from jupyter_aisec.record.steps import StepRecorder, time_of_ns

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Recorder", "RunFacts", "current"]

_current: Recorder | None = None


class RunFacts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is known of a run when its result is saved."""

    started: str
    finished: str
    cells: tuple[Cell, ...]
    cells_missing: int  # cells that ran and are no longer kept: a gap, said aloud
    steps: tuple[Steps, ...]
    frameworks: tuple[str, ...]  # "lightning 2.6.0"
    cut_short: str | None  # why it did not end by itself
    environment: Environment
    gpus: tuple[Gpu, ...]


class Recorder:
    """One per kernel. ``clock_ns`` is the time in nanoseconds since the epoch."""

    def __init__(self, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._clock_ns = clock_ns
        self._began = self._now()
        self.cells = CellRecorder(self._now)
        self.steps = StepRecorder(clock_ns)
        self._frameworks: dict[str, None] = {}
        self._cut_short: str | None = None

    def _now(self) -> str:
        return time_of_ns(self._clock_ns())

    def install(self, shell: Any) -> None:
        """Begins to record in ``shell`` (an IPython one), and becomes :func:`current`."""
        global _current
        self.cells.install(shell)
        self.steps.install()
        _current = self

    def remove(self, shell: Any) -> None:
        global _current
        self.cells.remove(shell)
        self.steps.remove()
        if _current is self:
            _current = None

    def framework(self, name: str) -> None:
        """A training framework took part."""
        self._frameworks[name] = None

    def cut_short(self, why: str) -> None:
        """The run that is going on did not end by itself; the first reason stays."""
        if self._cut_short is None:
            self._cut_short = why

    def facts(self) -> RunFacts:
        """The run so far. Reading it changes nothing."""
        steps = self.steps.steps()
        return RunFacts(
            started=min((s.first for s in steps), default=self._began),
            finished=self._now(),
            cells=self.cells.cells(),
            cells_missing=self.cells.missing,
            steps=steps,
            frameworks=tuple(self._frameworks),
            cut_short=self._cut_short,
            environment=environment(),
            gpus=gpus(),
        )

    def close_run(self) -> None:
        """The weights are saved: the next step begins another run."""
        self.steps.clear()
        self._frameworks.clear()
        self._cut_short = None


def current() -> Recorder | None:
    """The recorder of this kernel, for the hooks that frameworks load by entry point."""
    return _current
