"""Limits per person and hour: at a terminal, in a notebook, and what helps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from jupyter_aisec.grants.policy import DEFAULT_POLICY_TEXT
from tests.conftest import RunningBroker
from tests.faults.clocks import clock_off, exported
from tests.faults.kernels import ordinary_kernel
from tests.faults.person import Person, grant_in, ok
from tests.faults.table import Row


def put_in_force(broker: RunningBroker, folder: Path, limits: str) -> None:
    """A policy with these limits, signed by both admins."""
    file, change = folder / "policy.toml", folder / "policy.change.json"
    change.unlink(missing_ok=True)
    file.write_text(DEFAULT_POLICY_TEXT + limits)
    arguments = ("policy", "apply", str(file), "--out", str(change), "--yes")
    ok(broker.run(*arguments, person="approver"))
    ok(broker.run("policy", "countersign", str(change), "--yes", person="researcher"))


def test_limit_reached(
    row: Row,
    own_broker: RunningBroker,
    at_terminal: Callable[[RunningBroker, str], Person],
    tmp_path: Path,
) -> None:
    own_broker.client("researcher").seal("dataset/limited", {"x.csv": b"x\n1\n"})
    person = at_terminal(own_broker, "researcher")
    put_in_force(own_broker, tmp_path, "[limits]\ngrants = 2\n")
    ask = ("grant", "request", "dataset/limited", "--for", "1h", "--reason", "fault")
    ok(person.run(*ask))
    grant = grant_in(ok(person.run(*ask)).stdout)
    met = person.meets(row, *ask)
    assert grant in met.follow(person)
    own_broker.stop()
    own_broker.start(own_broker.url.removeprefix("http://"), **clock_off("+1h"))
    ok(person.under(exported("+1h"), *ask))


def test_limit_too_small(
    row: Row,
    own_broker: RunningBroker,
    at_terminal: Callable[[RunningBroker, str], Person],
    tmp_path: Path,
) -> None:
    researcher = own_broker.client("researcher")
    researcher.seal("dataset/small", {"x.csv": b"x\n1\n"})
    researcher.seal("dataset/large", {"x.bytes": bytes(200_000)})
    put_in_force(own_broker, tmp_path, '[limits]\nbytes = "100kB"\n')
    researching, approving = (at_terminal(own_broker, one) for one in ("researcher", "approver"))
    notebook = ordinary_kernel(researching, tmp_path / "kernel")
    try:
        asked = "%grant request dataset/small dataset/large --for 1h --reason fault"
        approving.type(f"aisec grant approve {notebook.ask(asked)}")
        notebook.cell("%load_secure dataset/small as frame")
        cell = "%load_secure dataset/large as data"
        met = notebook.meets(row, cell)
        assert "at most 100 kB in any hour" in met.follow(approving)
        put_in_force(own_broker, tmp_path, '[limits]\nbytes = "1MB"\n')
        notebook.cell(cell)
        notebook.cell("assert len(data) == 200_000")
    finally:
        notebook.kernel.stop()
