"""Ends in processes of their own: a cell that will not stop takes its process with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest

from jupyter_aisec.errors import BrokerUnreachableError, ConflictError, RefusedError
from jupyter_aisec.kernel import ending, others
from jupyter_aisec.kernel.ending import end_grant
from jupyter_aisec.record import Recorder

STUBBORN = """
import json, sys, threading, time
from types import SimpleNamespace
from IPython.core.interactiveshell import InteractiveShell
from jupyter_aisec.kernel.ending import end_grant
from jupyter_aisec.record import Recorder

shell = InteractiveShell.instance()
recorder = Recorder()
recorder.install(shell)
said = []
def ended(*what):
    print(json.dumps(what), flush=True)
memory = SimpleNamespace(wipe=lambda why: print(json.dumps(["wipe", why]), flush=True))
opened = SimpleNamespace(grant="g", artifact="a", variables={}, memory=memory)
session = SimpleNamespace(
    opened=[opened], bound={"g": None}, views={}, closed={}, recorder=recorder,
    key=SimpleNamespace(public=SimpleNamespace(key_id="k")), desk=SimpleNamespace(ended=ended),
)
shell.user_ns["started"] = started = threading.Event()
def end():
    started.wait()
    end_grant(session, "g", "expired", user_ns=shell.user_ns, keep=lambda: None, stop_seconds=1)
threading.Thread(target=end).start()
shell.run_cell('''
import time
started.set()
while True:
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        pass
''')
"""


IGNORING = STUBBORN.replace(
    "started.set()", "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); started.set()"
)


@pytest.mark.parametrize("script", [STUBBORN, IGNORING], ids=["goes on", "ignores the signal"])
def test_a_cell_that_will_not_stop_ends_with_its_process(tmp_path, script):
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        timeout=60,
        env={"IPYTHONDIR": str(tmp_path), "PATH": "/usr/bin"},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        ["wipe", "expired"],
        ["g", "k", "exited"],
    ]


class Session:
    """All that an end needs of a session, with one artifact open."""

    def __init__(self):
        self.wiped, self.told = [], []
        memory = SimpleNamespace(wipe=self.wiped.append)
        self.recorder = Recorder()
        self.user_ns = {"df": object(), "other": object()}
        variables = {"df": id(self.user_ns["df"]), "other": 0, "gone": 1}
        self.opened = [
            SimpleNamespace(
                grant="g", artifact="a", version=1, variables=variables, memory=memory, entry=1
            )
        ]
        self.bound, self.views, self.closed = {"g": None}, {}, {}
        self.key = SimpleNamespace(public=SimpleNamespace(key_id="k"))
        self.desk = SimpleNamespace(ended=lambda *what: self.told.append(what))

    def end(self, **options):
        end_grant(
            self, "g", "expired", **{"user_ns": self.user_ns, "keep": lambda: None, **options}
        )


def test_variables_that_name_something_else_by_now_stay():
    session = Session()
    session.end()
    assert list(session.user_ns) == ["other"]
    assert session.wiped == ["expired"]
    assert session.told == [("g", "k", "wiped")]
    assert (session.opened, session.bound) == ([], {})


@pytest.mark.parametrize(
    "fault",
    [
        RefusedError("No such name."),
        FileNotFoundError(2, "No such name."),
        MemoryError("No such name."),
    ],
    ids=["refused", "a file that went away", "no memory"],
)
def test_what_cannot_be_kept_does_not_stop_the_wipe(capsys, fault):
    session = Session()

    def keep():
        raise fault

    session.end(keep=keep)
    assert session.wiped == ["expired"]
    assert session.told == [("g", "k", "wiped")]
    assert "No such name." in capsys.readouterr().err


def test_an_interrupt_while_scratch_is_kept_does_not_stop_the_wipe():
    session = Session()

    def keep():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session.end(keep=keep)
    assert session.wiped == ["expired"]
    assert session.told == [("g", "k", "wiped")]


def test_a_broker_that_is_away_does_not_stop_the_wipe():
    session = Session()

    def ended(*what):
        raise BrokerUnreachableError("away")

    session.desk.ended = ended
    session.end()
    assert session.wiped == ["expired"]


def test_a_keeper_that_judges_it_not_over_yet_is_told_again(monkeypatch):
    monkeypatch.setattr(ending, "_CONFIRM_SECONDS", 0.01)
    session = Session()
    answers = [ConflictError("not yet", code="grant-not-over")] * 2
    heard = threading.Event()

    def ended(*what):
        if answers:
            raise answers.pop()
        heard.set()

    session.desk.ended = ended
    session.end()
    assert heard.wait(20)


@pytest.mark.parametrize(
    ("state", "artifacts", "refused"),
    [("ended", ("a",), False), ("active", ("b",), False), ("active", ("a",), True)],
    ids=["another that ended", "another artifact", "another that is refused"],
)
def test_no_other_grant_carries_it_on(state, artifacts, refused):
    session = Session()
    session.bound["other"] = None
    session.bound["unseen"] = None
    session.views["other"] = SimpleNamespace(state=state, artifacts=artifacts)

    def keys(*what, **more):
        raise RefusedError("no")

    session.client = SimpleNamespace(keys=keys)
    session.end()
    assert session.wiped == ["expired"]


@pytest.fixture
def one_interrupt():
    """SIGINT raises once: a second one, sent while the cell's end is being told of, would
    interrupt the tests and not the cell."""
    left = [KeyboardInterrupt]

    def raise_once(*_):
        if left:
            raise left.pop()

    before = signal.signal(signal.SIGINT, raise_once)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("one_interrupt")
def test_the_running_cell_is_interrupted(shell):
    session = Session()
    session.recorder.install(shell)
    started = threading.Event()
    shell.user_ns.update(started=started, time=time)

    def end():
        started.wait()
        session.end()

    thread = threading.Thread(target=end)
    thread.start()
    result = shell.run_cell("started.set()\nwhile True:\n    time.sleep(0.01)")
    thread.join()
    session.recorder.remove(shell)
    assert isinstance(result.error_in_exec, KeyboardInterrupt)
    assert session.wiped == ["expired"]


def test_processes_that_do_not_end_are_not_confirmed(monkeypatch):
    ended = []
    monkeypatch.setattr(others, "end_others", lambda seconds: False)
    monkeypatch.setattr(os, "kill", lambda *what: ended.append(what))
    session = Session()
    session.end()
    assert session.told == [("g", "k", "exited")]
    assert ended == [(os.getpid(), signal.SIGKILL)]


def test_an_ordinary_kernel_leaves_other_processes_alone():
    with subprocess.Popen(["sleep", "60"]) as other:
        Session().end()
        assert other.poll() is None
        other.kill()


FORKS = """
import ctypes, os, signal, sys, time
from jupyter_aisec.confine.processes import alive, beneath
from jupyter_aisec.kernel import others

supervisor = os.getpid()
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: the orphans' new parent
init = os.fork()
if init == 0:
    if kernel := os.fork():
        os._exit(os.waitstatus_to_exitcode(os.waitpid(kernel, 0)[1]))
    others.begin()
    for orphan in (False, True):
        if os.fork() == 0:
            if orphan and os.fork():
                os._exit(0)
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            time.sleep(60)
    while len(beneath(supervisor, alive())) != 4 or len(beneath(os.getpid(), alive())) != 1:
        time.sleep(0.01)
    print(others.confined(), others.end_others(20), len(beneath(supervisor, alive())), flush=True)
    os._exit(3)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(init, 0)[1]))
"""


def test_a_secure_kernels_forks_end_with_the_grant():
    done = subprocess.run(
        [sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (3, "True True 2\n"), done.stderr


def test_processes_that_outlive_the_time_are_told(monkeypatch):
    monkeypatch.setattr(others, "_init", 1)
    monkeypatch.setattr(others, "_others", lambda init: [0x7FFFFFF0])
    assert not others.end_others(0)
