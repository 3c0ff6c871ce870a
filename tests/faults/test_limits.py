"""Limits per person and hour: at a terminal, in a notebook, and what helps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jupyter_aisec.grants.policy import DEFAULT_POLICY_TEXT
from tests.conftest import RunningBroker
from tests.faults.clocks import clock_off, exported
from tests.faults.person import Notebook, Person, grant_in, ok
from tests.faults.table import Row


def put_in_force(broker: RunningBroker, folder: Path, limits: str) -> None:
    """A policy with these limits, signed by both admins."""
    file, change = folder / "policy.toml", folder / "policy.change.json"
    change.unlink(missing_ok=True)
    file.write_text(DEFAULT_POLICY_TEXT + limits)
    arguments = ("policy", "apply", str(file), "--out", str(change), "--yes")
    ok(broker.run(*arguments, person="approver"))
    ok(broker.run("policy", "countersign", str(change), "--yes", person="researcher"))


@pytest.fixture
def limit(broker: RunningBroker, tmp_path: Path) -> Iterator[Callable[[str], None]]:
    """Limits at the broker of all rows, for as long as the test lasts."""
    yield lambda limits: put_in_force(broker, tmp_path, limits)
    put_in_force(broker, tmp_path, "")


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
    notebook: Notebook,
    approving: Person,
    artifact: str,
    limit: Callable[[str], None],
) -> None:
    large = f"{artifact}-large"
    approving.broker.client("researcher").seal(large, {"x.bytes": bytes(200_000)})
    limit('[limits]\nbytes = "100kB"\n')
    asked = notebook.cell(f"%grant request {artifact} {large} --for 1h --reason fault")
    approving.type(f"aisec grant approve {grant_in(asked)}")
    notebook.cell(f"%load_secure {artifact} as frame")
    cell = f"%load_secure {large} as data"
    met = notebook.meets(row, cell)
    assert "at most 100 kB in any hour" in met.follow(approving)
    limit('[limits]\nbytes = "1MB"\n')
    notebook.cell(cell)
    assert len(notebook.shell.user_ns["data"]) == 200_000
