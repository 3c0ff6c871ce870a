"""Training steps, counted by torch's own global optimizer hook.

One dictionary look-up and one addition per step, whatever the model's size: with one
optimizer per parameter there are thousands of calls per batch.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from jupyter_aisec.provenance.facts import Steps
from jupyter_aisec.record.importing import when_imported
from jupyter_aisec.times import format_time

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

__all__ = ["StepRecorder", "time_of_ns"]


class StepRecorder:
    """Counts ``optimizer.step()`` by the optimizer's class."""

    def __init__(self, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._clock_ns = clock_ns
        self._by_class: dict[type, list[int]] = {}  # class -> [steps, first_ns, last_ns]
        self._handle: Any = None

    def install(self) -> None:
        """Takes effect when torch is there: now, or once the user imports it."""
        when_imported("torch.optim.optimizer", self._hook_into)

    def remove(self) -> None:
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _hook_into(self, module: ModuleType) -> None:
        self._handle = module.register_optimizer_step_post_hook(self.on_step)

    def on_step(self, optimizer: object, args: Any, kwargs: Any) -> None:
        """torch's global post-step hook."""
        now = self._clock_ns()
        seen = self._by_class.get(type(optimizer))
        if seen is None:
            self._by_class[type(optimizer)] = [1, now, now]
        else:
            seen[0] += 1
            seen[2] = now

    @property
    def total(self) -> int:
        """Steps of all optimizers in this run."""
        return sum(seen[0] for seen in self._by_class.values())

    def steps(self) -> tuple[Steps, ...]:
        """What was counted, in the order in which the optimizers first stepped."""
        return tuple(
            Steps(
                optimizer=f"{kind.__module__}.{kind.__qualname__}",
                steps=seen[0],
                first=time_of_ns(seen[1]),
                last=time_of_ns(seen[2]),
            )
            # A copy first: a training thread may add a class meanwhile.
            for kind, seen in sorted(dict(self._by_class).items(), key=lambda item: item[1][1])
        )

    def clear(self) -> None:
        """Begins anew: the next step is the first of the next run."""
        self._by_class.clear()


def time_of_ns(ns: int) -> str:
    """Nanoseconds since the epoch as RFC 3339 in UTC."""
    return format_time(datetime.fromtimestamp(ns / 1e9, UTC))
