"""The broker killed (SIGKILL) before each step of a walk with the command and a secure kernel.

``test_broker_kills`` kills inside of each step, over plain HTTP; here are the two people, who
read what they are told, do it, and try the same again.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import RunningBroker
from tests.faults.following import words
from tests.faults.person import JOURNAL, Met, Person, ok
from tests.faults.table import Row
from tests.kernel.conftest import SecureKernel, World, wait_for


class Mortal:
    """A broker that is started as it is printed, and killed."""

    def __init__(self, person: Person) -> None:
        self._person = person
        self._process: subprocess.Popen[str] | None = None

    def start(self, command: str) -> None:
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command} --json"],
            env=self._person.environment,
            cwd=self._person.folder,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert any(line.startswith("}") for line in process.stdout)
        self._process = process

    def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait(30)
            assert process.stdout is not None
            process.stdout.close()


@pytest.fixture
def mortal(
    unstarted: RunningBroker,
    at_terminal: Callable[[RunningBroker, str], Person],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Mortal]:
    """It runs, from the folder where a broker is by default."""
    data = tmp_path / "data"
    (data / "jupyter-aisec").mkdir(parents=True)
    (data / "jupyter-aisec" / "broker").symlink_to(unstarted.home)
    monkeypatch.setenv("XDG_DATA_HOME", str(data))
    made = Mortal(at_terminal(unstarted, "researcher"))
    made.start(f"aisec broker start --listen {unstarted.url.removeprefix('http://')}")
    yield made
    made.kill()


@pytest.fixture
def kernel(unstarted: RunningBroker, mortal: Mortal, tmp_path: Path) -> Iterator[SecureKernel]:
    made = SecureKernel(World(unstarted), tmp_path / "kernel", guarded=True)
    made.start()
    yield made
    made.stop()


def _meets(row: Row, kernel: SecureKernel, cell: str) -> Met:
    """The cell fails with the panel that the table says."""
    ran = kernel.run(cell)
    assert ran.reply["status"] == "error", ran.text
    assert "Traceback" not in ran.text
    _, advice, code = ran.text.rstrip().splitlines()[-3:]
    assert code.strip() == f"({row.code})", ran.text
    return Met(row, advice.removeprefix("→ "))


@pytest.mark.timeout(300)
def test_broker_killed_in_a_walk(
    row: Row,
    unstarted: RunningBroker,
    mortal: Mortal,
    kernel: SecureKernel,
    at_terminal: Callable[[RunningBroker, str], Person],
) -> None:
    approving, researching = (at_terminal(unstarted, one) for one in ("approver", "researcher"))
    client = unstarted.client("researcher")
    client.seal("dataset/rows", {"rows.csv": b"a\n1\n2\n"})
    grown: list[int] = []

    def survives(met: Met) -> None:
        """Started again as it is printed, it has all that anybody was told; homes remember."""
        start, export = met.commands(URL=unstarted.url)
        mortal.start(start)
        JOURNAL.done(*words(start))
        researching.type(export)
        grown.append(client.watch.latest().size)  # raises where the ledger has another past

    def in_the_kernel(cell: str) -> str:
        """The cell fails while the broker is away, and is then just run again."""
        mortal.kill()
        survives(_meets(row, kernel, cell))
        return kernel.run(cell).ok().text

    in_the_kernel('%grant request dataset/rows --for 1h --reason "a walk"')
    (grant,) = [view.id for view in client.grants()]
    mortal.kill()
    survives(approving.meets(row, "grant", "approve", grant, "--yes"))
    approving.type(f"aisec grant approve {grant}")
    in_the_kernel("%load_secure dataset/rows as df --no-wait")
    assert "3" in kernel.run("print(int(df['a'].sum()))").ok().text
    in_the_kernel("%save_secure df as dataset/copy")
    in_the_kernel("%provenance")
    in_the_kernel(f"%grant return {grant} --reason done")
    assert "False" in kernel.run("print('df' in dir())").ok().text
    assert wait_for(lambda: not client.grant(grant).ending)

    assert grown == sorted(grown)
    assert client.grant(grant).ended_why == "returned"
    assert [one.person for one in client.grant(grant).approvals] == ["approver"]
    (copy,) = client.versions("dataset/copy")
    listed = json.loads(ok(researching.run("run", "list", "--json")).stdout)
    assert [one["seal_ids"] for one in listed] == [[copy.seal_id]]
    entries = [one.type for one in unstarted.client("approver").entries(0, grown[-1] + 10)]
    once = ("grant.requested", "grant.approved", "seat.bound", "keys.released", "run.recorded")
    assert {kind: entries.count(kind) for kind in once} == dict.fromkeys(once, 1)
    ok(approving.run("audit", "verify"))
