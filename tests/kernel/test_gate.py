"""The gate before every cell, in a real shell."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from jupyter_aisec.kernel.gate import Gate

from .conftest import wait_for


@pytest.fixture
def gate(shell: InteractiveShell) -> Any:
    gate = Gate()
    gate.install(shell)
    yield gate
    gate.remove(shell)


def test_an_open_gate_holds_nothing(gate: Gate, shell: InteractiveShell) -> None:
    assert shell.run_cell("1 + 1").result == 2
    assert not gate.holding


@pytest.mark.parametrize("silent", [False, True])
def test_a_cell_begins_when_the_end_is_over_and_no_interrupt_lets_it_through(
    gate: Gate, shell: InteractiveShell, silent: bool
) -> None:
    order: list[str] = []
    shell.user_ns["order"] = order
    main = threading.main_thread().ident
    assert main is not None
    is_closed = threading.Event()

    def end() -> None:
        with gate.closed():
            is_closed.set()
            wait_for(lambda: gate.holding)
            signal.pthread_kill(main, signal.SIGINT)
            order.append("ended")

    thread = threading.Thread(target=end)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        thread.start()
        is_closed.wait()
        result = shell.run_cell("order.append('cell')", silent=silent)
    finally:
        thread.join()
        signal.signal(signal.SIGINT, before)
    assert result.success
    assert order == ["ended", "cell"]
    assert not gate.holding
