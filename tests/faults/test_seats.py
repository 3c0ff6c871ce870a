"""Kernels and their seats: who has one, how well it is confined, and whether it still holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import RunningBroker
from tests.faults.clocks import clock_off
from tests.faults.kernels import KernelNotebook, ordinary_kernel, secure_kernel
from tests.faults.person import Notebook, Person, ok
from tests.faults.table import Row

AtTerminal = Callable[[RunningBroker, str], Person]
pytestmark = pytest.mark.timeout(300)


@contextmanager
def running(notebook: KernelNotebook) -> Iterator[KernelNotebook]:
    yield notebook
    notebook.kernel.stop()


def ask(notebook: Notebook, approving: Person, name: str) -> str:
    """A grant for it, approved."""
    asked = notebook.ask(f"%grant request {name} --for 1h --reason fault")
    approving.type(f"aisec grant approve {asked}")
    return asked


def test_seat_taken_by_another_kernel(
    row: Row, notebook: Notebook, approving: Person, artifact: str, tmp_path: Path
) -> None:
    """The notebook is open in two kernels, by its name: the later one has the seat."""
    load = f"%load_secure {artifact} as frame"
    ask(notebook, approving, artifact)
    notebook.cell(load)
    name = str(tmp_path / "notebook.ipynb")
    second = ordinary_kernel(notebook.person, tmp_path / "second", JPY_SESSION_NAME=name)
    with running(second):
        second.cell(load)
        met = notebook.meets(row, f"%load_secure {artifact} as again")
        notebook.follow(met)
        notebook.cell(load)


def test_kernel_clock_wrong(
    row: Row, researching: Person, approving: Person, artifact: str, tmp_path: Path
) -> None:
    """Somebody sets the clock while a kernel runs that is bound."""
    clock = tmp_path / "clock"
    clock.write_text("+0")
    fake = {**clock_off("+0"), "FAKETIME_TIMESTAMP_FILE": str(clock)}
    del fake["FAKETIME"]
    with running(ordinary_kernel(researching, tmp_path / "kernel", **fake)) as kernel:
        ask(kernel, approving, artifact)
        kernel.cell(f"%load_secure {artifact} as frame")
        clock.write_text("-1d")
        met = kernel.meets(row, f"%load_secure {artifact} as again")
        clock.write_text("+0")
        kernel.follow(met)
        kernel.cell(f"%load_secure {artifact} as again")


def test_labels_new(row: Row, notebook: Notebook, approving: Person, artifact: str) -> None:
    """A version that was sealed later; the grant for the older one goes on."""
    ask(notebook, approving, artifact)
    notebook.cell(f"%load_secure {artifact} as frame")
    researcher = notebook.person.broker.client("researcher")
    researcher.seal(artifact, {"x.csv": b"x\n2\n"}, labels=["secret"])
    load = f"%load_secure {artifact} as newer"
    met = notebook.meets(row, load)
    again = notebook.ask(*met.commands(TEXT="with the label"))
    approving.type(f"aisec grant approve {again}")
    notebook.cell(load)
    assert list(notebook.shell.user_ns["newer"]["x"]) == [2]
    notebook.cell(f"%load_secure {artifact} as older --version 1")
    assert list(notebook.shell.user_ns["older"]["x"]) == [1]


CONFINED = """
mode = "enforce"
pending_for = "24h"
admins_for_policy = 2

[[rule]]
name = "confined"
artifacts = ["dataset/*"]
requesters = ["role:researcher"]
approvers = ["role:approver"]
approvals = 1
longest = "4h"
isolation = "full"
"""


def test_isolation_too_low(
    row: Row, own_broker: RunningBroker, at_terminal: AtTerminal, tmp_path: Path
) -> None:
    policy = tmp_path / "confined.toml"
    policy.write_text(CONFINED)
    researching, approving = (at_terminal(own_broker, one) for one in ("researcher", "approver"))
    ok(researching.run("policy", "apply", str(policy), "--yes"))
    change = str(policy.with_suffix(".change.json"))
    ok(approving.run("policy", "countersign", change, "--yes"))
    own_broker.client("researcher").seal("dataset/confined", {"x.csv": b"x\n1\n"})
    load = "%load_secure dataset/confined as frame"
    with running(ordinary_kernel(researching, tmp_path / "ordinary")) as kernel:
        ask(kernel, approving, "dataset/confined")
        met = kernel.meets(row, load)
    assert "full" in met.follow(researching)
    with running(secure_kernel(researching, tmp_path / "secure")) as kernel:
        ask(kernel, approving, "dataset/confined")
        kernel.cell(load)


CLOSED = """
import time
from jupyter_aisec.kernel import extension as _extension
while bool(_extension.face().session.closed) != {closed}: time.sleep(0.05)
"""


def test_lease_lost(
    row: Row, unstarted: RunningBroker, at_terminal: AtTerminal, tmp_path: Path
) -> None:
    """The broker is away for longer than a lease, and comes back."""
    (unstarted.home / "config.toml").write_text('lease = "1s"\n')
    unstarted.start(unstarted.url.removeprefix("http://"))
    unstarted.client("researcher").seal("dataset/x", {"a.csv": b"a", "b.csv": b"b"})
    approving = at_terminal(unstarted, "approver")
    person = at_terminal(unstarted, "researcher")
    with running(ordinary_kernel(person, tmp_path / "kernel")) as kernel:
        ask(kernel, approving, "dataset/x")
        kernel.cell("import jupyter_aisec; jupyter_aisec.open('dataset/x/a.csv').read()")
        unstarted.stop()
        kernel.cell(CLOSED.format(closed=True))
        more = "assert jupyter_aisec.open('dataset/x/b.csv').read() == b'b'"
        met = kernel.meets(row, more)
        unstarted.start(unstarted.url.removeprefix("http://"))
        kernel.cell(CLOSED.format(closed=False))
        kernel.cell(more)  # it tries again
        again = kernel.ask(*met.commands(NAME="dataset/x", TEXT="again"))
        approving.type(f"aisec grant approve {again}")
        kernel.cell(more)
