"""The walk in an ordinary kernel: this process, with the researcher's own home."""

from __future__ import annotations

import subprocess
import sys
import threading

import pandas
import pytest
import torch

import jupyter_aisec as aisec
from jupyter_aisec.errors import AisecError
from jupyter_aisec.kernel import extension
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.sealed.release import ReleaseKey

from .conftest import wait_for

TRAIN = """
import torch
model = torch.nn.Linear(4, 3)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for _ in range(3):
    optimizer.zero_grad()
    model(torch.ones(2, 4)).sum().backward()
    optimizer.step()
"""

ASK = '%grant request dataset/rows weights/base --for 1h --reason "a test"'


def run(notebook, source):
    result = notebook.shell.run_cell(source)
    result.raise_error()
    return result.result


def ask_and_approve(notebook):
    run(notebook, ASK)
    return notebook.world.approve_next()


def test_the_walk(notebook, capsys):
    run(notebook, ASK)
    approving = threading.Thread(target=notebook.world.approve_next)
    approving.start()
    run(notebook, "%load_secure dataset/rows as df")  # waits while it is pending
    approving.join()
    run(notebook, "%load_secure weights/base as state")
    frame, state = notebook.shell.user_ns["df"], notebook.shell.user_ns["state"]
    assert isinstance(frame, pandas.DataFrame)
    assert frame["b"][99] == "row 99"
    assert torch.equal(state["w"], torch.arange(12.0).reshape(3, 4))
    run(notebook, "%grant list")
    assert "active" in capsys.readouterr().out


@pytest.fixture
def approved(notebook):
    """A notebook with an approved grant for both artifacts; its id."""
    notebook.grant = ask_and_approve(notebook)
    return notebook


def code_of(notebook, source):
    """The code of the error of ours that a cell raises."""
    with pytest.raises(AisecError) as raised:
        run(notebook, source)
    return raised.value.code


@pytest.mark.parametrize(
    ("format", "kind"),
    [
        ("pandas", "DataFrame"),
        ("polars", "DataFrame"),
        ("arrow", "Table"),
        ("bytes", "bytearray"),
    ],
)
def test_formats(approved, format, kind):
    run(approved, f"%load_secure dataset/rows as value --format {format}")
    value = approved.shell.user_ns["value"]
    assert type(value).__name__ == kind
    if format != "bytes":
        assert len(value) == 100


def test_columns_as_tensors(approved):
    run(approved, "%load_secure dataset/rows as value --format torch --columns a")
    value = approved.shell.user_ns["value"]
    assert list(value) == ["a"]
    assert torch.equal(value["a"], torch.arange(100.0, dtype=torch.float64))


def test_some_columns(approved):
    run(approved, "%load_secure dataset/rows as value --columns b")
    assert list(approved.shell.user_ns["value"].columns) == ["b"]


def test_several_files_as_bytes(approved):
    run(approved, "%load_secure weights/base as files --format bytes")
    assert approved.shell.user_ns["files"]["notes.txt"] == b"hello"


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ("%load_secure dataset/rows as x --into nothing", "variable-unknown"),
        ("%load_secure dataset/rows as x --format dataset", "package-missing"),
        ("%load_secure dataset/other as x", "no-grant"),
        ("%load_secure dataset/rows as x --version 99", "version-unknown"),
        ("aisec.open('dataset/rows')", "file-path-invalid"),
        ("aisec.request('dataset/never', for_='1h', reason='x')", "artifact-unknown"),
        ("%provenance run_01ARZ3NDEKTSV4RRFFQ69G5FAV", "run-unknown"),
        ("%grant approve", "not-in-a-kernel"),
    ],
)
def test_faults_by_name(approved, source, code, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    approved.shell.user_ns["aisec"] = aisec
    assert code_of(approved, source) == code


def test_pending_and_not_waiting(notebook):
    run(notebook, ASK)
    assert code_of(notebook, "%load_secure dataset/rows as df --no-wait") == "grant-pending"
    notebook.world.approve_next()


@pytest.mark.parametrize(
    ("end", "code"), [("deny", "grant-denied"), ("withdraw", "grant-withdrawn")]
)
def test_waiting_for_a_request_that_comes_to_nothing(notebook, end, code):
    run(notebook, ASK)
    grant = notebook.face.session.grants()[0].id
    person = notebook.world.approver if end == "deny" else notebook.world.researcher
    ending = threading.Timer(0.2, getattr(person, end), [grant])
    ending.start()
    assert code_of(notebook, "%load_secure dataset/rows as df") == code


def test_functions_do_what_magics_do(notebook):
    view = aisec.request("dataset/rows", for_="30m", reason="by function")
    notebook.world.approve_next()
    assert len(aisec.load("dataset/rows")) == 100
    with aisec.open("dataset/rows/rows.parquet") as file:
        assert file.read(4) == b"PAR1"
    again = aisec.open("dataset/rows/rows.parquet")
    assert again.read(4) == b"PAR1"
    assert pandas.read_parquet("aisec://dataset/rows/rows.parquet").shape == (100, 2)
    assert notebook.face.session.views[view.id].state in ("scheduled", "active")


def test_the_grant_magic(approved, capsys):
    run(approved, "%grant show")
    run(approved, f"%grant show {approved.grant}")
    run(approved, '%grant extend --for 10m --reason "more"')
    run(approved, "%grant withdraw")
    run(approved, "%grant")
    run(approved, "%grant list --pending")
    out = capsys.readouterr().out
    assert "ended: withdrawn" in out
    assert "No grants." in out
    run(approved, f"%grant return {approved.grant}")
    assert "ended: returned" in capsys.readouterr().out
    assert code_of(approved, "%grant show") == "no-grant"


def test_request_and_wait(notebook):
    approving = threading.Thread(target=notebook.world.approve_next)
    approving.start()
    run(notebook, ASK + " --wait")
    approving.join()
    assert notebook.face.session.grants()[0].state == "scheduled"


def test_a_revocation_wipes_and_marks_the_run(approved):
    run(approved, "%load_secure weights/base as state")
    run(approved, TRAIN)
    kept = approved.shell.user_ns["state"]["w"]
    approved.world.approver.revoke(approved.grant, "stop")
    wait_for(lambda: bool(kept.isnan().all()))
    wait_for(lambda: "state" not in approved.shell.user_ns)
    assert approved.face.recorder.facts().cut_short == "the grant ended (revoked)"
    assert code_of(approved, "%load_secure weights/base as state") in ("no-grant", "lease-lost")


def test_a_second_grant_carries_on_what_the_first_one_opened(approved):
    run(approved, "%load_secure weights/base as state")
    run(approved, '%grant request weights/base --for 1h --reason "again"')
    second = approved.world.approve_next()
    session = approved.face.session
    session.bind(session.refresh(second))
    first = session.opened[0].grant
    approved.world.approver.revoke(first, "stop")
    wait_for(lambda: session.opened[0].grant == second)
    assert not approved.shell.user_ns["state"]["w"].isnan().any()


def test_loading_and_unloading_twice_is_once(notebook):
    extension.load(notebook.shell)
    assert extension.face() is notebook.face
    aisec.unload_ipython_extension(notebook.shell)
    aisec.unload_ipython_extension(notebook.shell)
    assert "load_secure" not in notebook.shell.magics_manager.magics["line"]
    aisec.load_ipython_extension(notebook.shell)
    assert "load_secure" in notebook.shell.magics_manager.magics["line"]


def test_a_kernel_that_takes_its_seat_back_names_what_it_opened_since_and_carries_all_labels(
    notebook, tmp_path
):
    """It opened two things; one of the seats is taken by another kernel of the notebook."""
    world, name, session = notebook.world, "results/after-the-seat-was-lost", notebook.face.session
    grants = {}
    for artifact in ("dataset/rows", "weights/base"):
        run(notebook, f'%grant request {artifact} --for 1h --reason "one of two"')
        grants[artifact] = world.approve_next()
        run(notebook, f"%load_secure {artifact} as opened")
    lost, before = grants["weights/base"], session.key
    session.desk.bind(lost, SigningKey.generate().public, ReleaseKey.generate().public)
    aisec.unload_ipython_extension(notebook.shell)
    aisec.load_ipython_extension(notebook.shell)
    run(notebook, "%load_secure weights/base as state")
    assert session.key is not before
    run(notebook, TRAIN)
    run(notebook, f"%save_secure model as {name}")
    assert world.researcher.artifact(name).labels == ("secret",)
    trust = tmp_path / "trust.json"
    trust.write_text(world.broker.run("broker", "trust", person="researcher").stdout)
    done = world.broker.run("verify", name, "--trust", str(trust), person="researcher")
    assert done.returncode == 0, done
    assert "dataset/rows" in done.stdout  # what the same notebook had opened is said all the same


def test_a_reload_loses_nothing(notebook):
    run(notebook, ASK)
    notebook.world.approve_next()
    run(notebook, "%load_secure dataset/rows as df")
    run(notebook, "kept = df.copy()")
    aisec.unload_ipython_extension(notebook.shell)
    aisec.load_ipython_extension(notebook.shell)
    run(notebook, "%save_secure kept as results/after-a-plain-reload")
    found = notebook.world.researcher.artifact("results/after-a-plain-reload")
    assert found.labels == ("secret",)


def test_asking_from_a_script_says_where_to_ask(monkeypatch):
    monkeypatch.setattr(extension, "_face", None)
    monkeypatch.setattr("IPython.get_ipython", lambda: None)
    with pytest.raises(AisecError) as raised:
        extension.face()
    assert raised.value.code == "not-in-a-notebook"


def test_a_function_loads_the_extension_by_itself(notebook):
    extension.unload(notebook.shell)
    assert extension.face().shell is notebook.shell


def test_the_package_is_light_and_says_what_it_has():
    code = (
        "import sys, jupyter_aisec\n"
        "heavy = {'torch', 'pandas', 'IPython', 'requests', 'cryptography', 'numpy'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
        "assert jupyter_aisec.__version__\n"
        "assert {'load', 'save', 'open', 'request'} <= set(dir(jupyter_aisec))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        aisec.nothing  # noqa: B018
