"""Grants for one version, and for all: what they open."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pandas
import pytest

from jupyter_aisec.kernel.covers import covers, newest_covered


@pytest.mark.parametrize(
    ("artifacts", "version", "covered", "newest"),
    [
        (["dataset/a"], None, True, None),
        (["dataset/a"], 2, True, None),
        (["dataset/a@1", "dataset/a@3"], None, True, 3),
        (["dataset/a@1", "dataset/a@3"], 3, True, 3),
        (["dataset/a@1"], 2, False, 1),
        (["dataset/a@1", "dataset/a"], 2, True, None),
        (["dataset/ab@1", "weights/a"], None, False, None),
    ],
)
def test_what_a_grant_covers(
    artifacts: list[str], version: int | None, covered: bool, newest: int | None
) -> None:
    view: Any = SimpleNamespace(artifacts=artifacts)
    assert covers(view, "dataset/a", version) is covered
    assert newest_covered(view, "dataset/a") == newest


@pytest.mark.parametrize("load", ["dataset/twice", "dataset/twice@1", "dataset/twice --version 1"])
def test_a_grant_for_one_version_opens_that_one(notebook: SimpleNamespace, load: str) -> None:
    seal_twice(notebook)
    ran = notebook.shell.run_cell('%grant request dataset/twice@1 --for 1h --reason "a test"')
    assert ran.success
    notebook.world.approve_next()
    assert notebook.shell.run_cell(f"%load_secure {load} as df").success
    assert list(notebook.shell.user_ns["df"]["x"]) == [1]
    refused = notebook.shell.run_cell("%load_secure dataset/twice --version 2 as other --no-wait")
    assert not refused.success


def seal_twice(notebook: SimpleNamespace) -> None:
    researcher = notebook.world.researcher
    there = {(one.artifact, one.version) for one in researcher.artifacts()}
    if ("dataset/twice", 2) not in there:
        for number in (1, 2):
            table = pandas.DataFrame({"x": [number]}).to_parquet()
            researcher.seal("dataset/twice", {"x.parquet": table})
