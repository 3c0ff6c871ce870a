"""Who lives beneath a process, and so may hold copies of what it held."""

from __future__ import annotations

import os
import subprocess

import pytest

from jupyter_aisec.confine.processes import alive, beneath

TREE = {2: 1, 3: 2, 4: 3, 5: 3, 9: 1, 10: 9}


@pytest.mark.parametrize(
    ("root", "found"),
    [(1, (2, 3, 4, 5, 9, 10)), (2, (3, 4, 5)), (4, ()), (77, ())],
)
def test_descendants(root: int, found: tuple[int, ...]) -> None:
    assert beneath(root, TREE) == found


def test_a_circle_read_while_numbers_are_used_again_ends() -> None:
    assert beneath(2, {2: 3, 3: 2}) == (3,)


def test_one_that_ended_and_was_not_waited_for_holds_nothing() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        assert alive()[child.pid] == os.getpid()
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert child.pid not in alive()


def test_without_proc_there_is_nothing_to_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "isdir", lambda path: False)
    assert alive() == {}
