"""The broker's clock, with the machine's clock and the passing of time told by the test."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jupyter_aisec.broker.clock import SteadyClock, wall_clock
from jupyter_aisec.errors import TamperedError

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Machine:
    """A machine whose clock and uptime are set by hand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.wall, self.uptime = NOON, 0.0

    def start(self) -> SteadyClock:
        return SteadyClock(self.path, lambda: self.wall, lambda: self.uptime)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "clock")


def test_it_goes_with_the_machines_clock(machine: Machine) -> None:
    clock = machine.start()
    assert clock() == NOON
    machine.wall += timedelta(hours=1)
    assert clock() == NOON + timedelta(hours=1)


def test_time_passes_though_the_clock_is_set_back(machine: Machine) -> None:
    clock = machine.start()
    assert clock() == NOON
    machine.wall -= timedelta(days=1)
    assert clock() == NOON
    machine.uptime += 60.0004
    assert clock() == NOON + timedelta(seconds=60)
    machine.uptime += 60
    assert clock() == NOON + timedelta(seconds=120)


@pytest.mark.parametrize("ending", ["killed", "closed"])
def test_it_goes_on_where_it_was_after_a_restart(machine: Machine, ending: str) -> None:
    clock = machine.start()
    clock()
    machine.wall += timedelta(hours=1)
    before = clock()
    machine.wall += timedelta(milliseconds=500)  # too soon to be written
    if ending == "closed":
        clock.close()
        before = machine.wall
    machine.wall = NOON - timedelta(days=1)
    assert machine.start()() == before


def test_it_is_written_once_a_second_at_most(machine: Machine) -> None:
    clock = machine.start()
    clock()
    written = machine.path.read_bytes()
    machine.wall += timedelta(milliseconds=999)
    clock()
    assert machine.path.read_bytes() == written
    machine.wall += timedelta(milliseconds=1)
    clock()
    assert machine.path.read_bytes() != written


def test_a_full_disk_does_not_stop_it(machine: Machine) -> None:
    clock = machine.start()
    machine.path.mkdir()  # nothing can be renamed to it
    assert clock() == NOON


@pytest.mark.parametrize("content", [b"", b"noon", b"\xff", b"2026-11-22"])
def test_a_mark_that_says_no_time(machine: Machine, content: bytes) -> None:
    machine.path.write_bytes(content)
    with pytest.raises(TamperedError, match="does not say") as caught:
        machine.start()
    assert str(machine.path) in str(caught.value.next)


def test_the_machines_clock_is_read_in_milliseconds() -> None:
    assert wall_clock().microsecond % 1000 == 0
