"""Lightning's entry point: a callback in every Trainer, while a recorder is on.

The group ``lightning.pytorch.callbacks_factory`` (and ``pytorch_lightning.callbacks_factory``
for the older package) names :func:`callbacks` and :func:`old_callbacks`. Steps are counted by
torch's hook already; the callback adds which framework it was and what broke it off.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from jupyter_aisec.record.recorder import Recorder, current

__all__ = ["callbacks", "old_callbacks"]


def callbacks() -> list[Any]:
    """The callbacks for a Trainer of ``lightning``; none while nothing is recorded."""
    return _callbacks("lightning")


def old_callbacks() -> list[Any]:
    """The same for a Trainer of ``pytorch_lightning``."""
    return _callbacks("pytorch_lightning")


def _callbacks(package: str) -> list[Any]:
    recorder = current()
    if recorder is None or package not in sys.modules:
        return []
    callbacks = "lightning.pytorch.callbacks" if package == "lightning" else f"{package}.callbacks"
    base = importlib.import_module(callbacks).Callback
    version = getattr(sys.modules[package], "__version__", "of unknown version")
    return [_make(base, recorder, f"{package} {version}")]


def _make(base: type, recorder: Recorder, name: str) -> Any:
    class RunCallback(base):  # type: ignore[misc]
        """Tells the recorder what Lightning does; changes nothing."""

        def on_train_start(self, trainer: Any, module: Any) -> None:
            recorder.framework(name)

        def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
            recorder.cut_short(f"{type(exception).__name__} in {name}")

    return RunCallback()
