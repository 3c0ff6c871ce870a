"""Every way out is refused by the operating system; what must work does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("ways_out.py")
ROOT = Path(__file__).parents[2]

#: What is known to be open without namespaces; the level is `partial` and names them.
OPEN_IN_PARTIAL = {
    "change_a_mode",
    "change_a_mode_by_descriptor",
    "change_an_owner",
    "change_a_timestamp",
    "parent_folder_descriptor_of_another_process",
    "unix_socket_in_home",
    "unix_socket_in_run",
    "unix_socket_in_temp",
}
#: What does not work without them.
LOST_IN_PARTIAL = {"a_server_inside", "name_a_thread"}


def _names(table: str) -> list[str]:
    """The rows, read from the text: importing the script would make them this process's."""
    lines = SCRIPT.read_text().splitlines()
    return [
        following.removeprefix("def ").partition("(")[0]
        for line, following in pairwise(lines)
        if line == table
    ]


WAYS, MUST_WORK = _names("@way"), _names("@works")
MODES = ["full", "full:nobody", "partial", "partial:nobody"]


@pytest.fixture(scope="module")
def results() -> Any:
    """What came of every row, by mode; each mode runs once."""
    known: dict[str, Any] = {}

    def of(mode: str) -> Any:
        if mode not in known:
            # An ordinary user must be able to reach it, which pytest's own folders do not allow.
            with (
                tempfile.TemporaryDirectory(dir="/var/tmp") as folder,
                tempfile.TemporaryDirectory(dir=_run()) as sockets,
            ):
                os.chmod(folder, 0o755)
                ran = subprocess.run(
                    [sys.executable, str(SCRIPT), mode, folder, sockets],
                    env={**os.environ, "AISEC_TOKEN": "hunter2", "PYTHONPATH": str(ROOT)},
                    capture_output=True,
                    text=True,
                    timeout=120,
                    check=False,
                )
                assert ran.returncode == 0, ran.stderr
                known[mode] = json.loads(ran.stdout)
        return known[mode]

    return of


def _run() -> str:
    """A folder under /run this user may write to, or else under /tmp."""
    places = (os.environ.get("XDG_RUNTIME_DIR", ""), "/run", "/tmp")
    return next(place for place in places if place and os.access(place, os.W_OK))


def test_the_tables_are_as_long_as_they_look() -> None:
    assert len(WAYS) >= 80
    assert len(MUST_WORK) >= 15


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("row", WAYS)
def test_way_out(results: Any, mode: str, row: str) -> None:
    came = results(mode)["ways"][row]
    if mode.startswith("partial") and row in OPEN_IN_PARTIAL:
        return
    assert "refused" in came, came


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("row", MUST_WORK)
def test_must_work(results: Any, mode: str, row: str) -> None:
    came = results(mode)["must work"][row]
    if mode.startswith("partial") and row in LOST_IN_PARTIAL:
        return
    assert "open" in came, came


@pytest.mark.parametrize("mode", ["full", "full:nobody"])
def test_level_full_is_proved_here(results: Any, mode: str) -> None:
    assert (results(mode)["level"], results(mode)["missing"]) == ("full", [])


@pytest.mark.parametrize("mode", ["partial", "partial:nobody"])
def test_level_partial_names_what_is_missing(results: Any, mode: str) -> None:
    assert results(mode)["level"] == "partial"
    missing = set(results(mode)["missing"])
    assert {"mount namespace", "network namespace", "pid namespace"} <= missing
    assert {"change a mode", "change a timestamp", "sockets of system services"} <= missing


@pytest.mark.parametrize("mode", ["full", "full:nobody"])
def test_nothing_outside_changed(results: Any, mode: str) -> None:
    came = results(mode)
    assert came["victim lives"]
    assert came["log"] == 0
    assert came["heard"] == ""
    assert came["text"] == "as it was"
    assert set(came["tree"]) == {".ssh", "aisec", "empty", "file", "s"}
    assert came["tree"]["file"][0] & 0o777 == 0o644


@pytest.mark.parametrize("mode", MODES)
def test_the_exit_code_comes_out(results: Any, mode: str) -> None:
    assert results(mode)["exit"] == 5
