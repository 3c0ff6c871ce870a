"""Watching for an import must not change it."""

from __future__ import annotations

import importlib
import inspect
import sys

import pytest

from jupyter_aisec.record.importing import when_imported


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An importable package ``lateone`` with a module ``lateone.part``."""
    folder = tmp_path / "lateone"
    folder.mkdir()
    (folder / "__init__.py").write_text("from lateone import part\n")
    (folder / "part.py").write_text("VALUE = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = list(sys.meta_path)
    yield folder
    sys.meta_path[:] = before
    for name in [name for name in sys.modules if name.split(".")[0] == "lateone"]:
        del sys.modules[name]


def test_the_action_sees_the_finished_module_once(package):
    seen = []
    when_imported("lateone.part", lambda module: seen.append(module.VALUE))
    assert "lateone" not in sys.modules
    import lateone.part

    importlib.reload(lateone.part)
    assert seen == [7]


def test_the_module_keeps_its_loader_and_source(package):
    when_imported("lateone.part", lambda module: None)
    import lateone.part

    assert inspect.getsource(lateone.part) == "VALUE = 7\n"
    assert type(lateone.part.__loader__).__name__ == "SourceFileLoader"
    assert lateone.part.__spec__.loader is lateone.part.__loader__


def test_already_imported_acts_at_once():
    seen = []
    when_imported("json", seen.append)
    assert seen == [sys.modules["json"]]


def test_a_failing_action_does_not_fail_the_import(package):
    when_imported("lateone.part", lambda module: 1 / 0)
    import lateone.part

    assert lateone.part.VALUE == 7


def test_an_import_that_fails_fails_as_ever_and_is_still_awaited(package):
    seen = []
    when_imported("lateone.missing", seen.append)
    with pytest.raises(ModuleNotFoundError, match=r"lateone\.missing"):
        importlib.import_module("lateone.missing")
    (package / "missing.py").write_text("HERE = 1\n")
    importlib.invalidate_caches()
    importlib.import_module("lateone.missing")
    assert [module.HERE for module in seen] == [1]
