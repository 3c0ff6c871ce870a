"""Two people at a broker, each row's test named for it, and a notebook."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from jupyter_aisec.kernel import extension
from tests.conftest import RunningBroker
from tests.faults.person import JOURNAL, Notebook, Person
from tests.faults.table import ROWS, Row


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """One broker for all rows: each test leaves it whole, whatever it does to it."""
    broker = RunningBroker(tmp_path_factory.mktemp("broker"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Iterator[Row]:
    """What the table says about the fault that the test is named for.

    Fails where the fault was not met, or a command that was printed not run as it was printed.
    """
    JOURNAL.begin()
    named = request.node.originalname.removeprefix("test_").replace("_", "-")
    row = ROWS[getattr(request, "param", named)]
    yield row
    assert JOURNAL.met, "the fault was not met"
    assert JOURNAL.not_followed() == set(), "printed, and not run as printed"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The folder in which everything is done: empty, and not to be written to by a failure."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def at_terminal(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[RunningBroker, str], Person]:
    monkeypatch.chdir(work)
    return lambda broker, name: Person(broker, name, work)


@pytest.fixture
def unstarted(tmp_path: Path) -> Iterator[RunningBroker]:
    """A broker's folder and its people; nothing runs, at an address that is free."""
    broker = RunningBroker(tmp_path / "unstarted")
    with socket.create_server(("127.0.0.1", 0)) as free:
        broker.url = f"http://127.0.0.1:{free.getsockname()[1]}"
    yield broker
    broker.stop()


@pytest.fixture
def researching(
    broker: RunningBroker, at_terminal: Callable[[RunningBroker, str], Person]
) -> Person:
    """The researcher, logged in."""
    broker.client("researcher").whoami()
    return at_terminal(broker, "researcher")


@pytest.fixture
def approving(broker: RunningBroker, at_terminal: Callable[[RunningBroker, str], Person]) -> Person:
    """The approver, logged in."""
    broker.client("approver").whoami()
    return at_terminal(broker, "approver")


@pytest.fixture
def artifact(broker: RunningBroker, request: pytest.FixtureRequest) -> str:
    """A small artifact of this test alone."""
    name = f"dataset/{request.node.originalname.replace('_', '-')}"
    broker.client("researcher").seal(name, {"x.csv": b"x\n1\n"})
    return name


@pytest.fixture
def grant(broker: RunningBroker, artifact: str) -> str:
    """A pending request for it."""
    return broker.client("researcher").request([artifact], 3600, "fault").id


@pytest.fixture
def notebook(
    researching: Person,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Notebook]:
    """The researcher's notebook, in an ordinary kernel's shell with our extension."""
    for name, value in researching.environment.items():
        if "AISEC" in name:
            monkeypatch.setenv(name, value)
    monkeypatch.delenv("AISEC_RELAY", raising=False)
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "notebook.ipynb"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    InteractiveShell.clear_instance()
    shell = InteractiveShell.instance()
    history = shell.history_manager
    assert history is not None
    history.enabled = False
    made = Notebook(shell, researching, capsys.readouterr)
    made.cell("%load_ext jupyter_aisec")
    yield made
    extension.unload(shell)
    history.end_session()
    InteractiveShell.clear_instance()
