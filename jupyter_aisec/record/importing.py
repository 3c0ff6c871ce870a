"""Doing something when a module is imported, without importing it.

The recorder wants a hook in torch once the user's code has it, and must not load torch (or
start CUDA) by itself.
"""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from importlib.abc import Loader, MetaPathFinder
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["when_imported"]


def when_imported(name: str, action: Callable[[ModuleType], None]) -> None:
    """Calls ``action(module)`` once: now if ``name`` is imported, else right after it is.

    An exception of ``action`` is dropped: importing must work as if nobody watched.
    """
    module = sys.modules.get(name)
    if module is None:
        sys.meta_path.insert(0, _Watcher(name, action))
    else:
        _quietly(action, module)


def _quietly(action: Callable[[ModuleType], None], module: ModuleType) -> None:
    with contextlib.suppress(Exception):  # the user's import must not fail because of us
        action(module)


class _Watcher(MetaPathFinder):
    """Finds nothing itself: asks the other finders, and wraps the loader of one module."""

    def __init__(self, name: str, action: Callable[[ModuleType], None]) -> None:
        self._name = name
        self._action = action

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        sys.meta_path.remove(self)  # before asking the others, who would ask us again
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            sys.meta_path.insert(0, self)
            return None
        spec.loader = _LoaderThatTells(spec.loader, self._action)
        return spec


class _LoaderThatTells(Loader):
    def __init__(self, loader: Loader, action: Callable[[ModuleType], None]) -> None:
        self._loader = loader
        self._action = action

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        # The module keeps its own loader: ``pkgutil`` and ``inspect`` ask it for the source.
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        _quietly(self._action, module)
