"""What a person sees when something is refused, in a real shell."""

from __future__ import annotations

import errno

import pytest

from jupyter_aisec.errors import AisecError, RefusedError
from jupyter_aisec.kernel import explain


@pytest.fixture
def explaining(shell):
    stopped = []
    explain.install(shell, lambda: stopped[-1] if stopped else None)
    shell.user_ns["stopped"] = stopped
    shell.user_ns["RefusedError"] = RefusedError
    yield shell
    explain.remove(shell)


def test_ours_is_a_panel(explaining, capsys):
    explaining.run_cell("raise RefusedError('It said no.', next='Ask again.', code='no')")
    out = capsys.readouterr().out
    assert "RefusedError: It said no." in out
    assert "→ Ask again." in out
    assert "(no)" in out
    assert "Traceback" not in out


def test_a_panel_without_a_next_step():
    assert explain.panel(AisecError("What.")) == ["AisecError: What.", "  (error)"]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_a_refused_write_in_the_secure_kernel_is_explained(explaining, capsys, monkeypatch, number):
    monkeypatch.setenv("AISEC_SCRATCH", "/dev/shm/scratch")
    explaining.run_cell(f"raise OSError({number}, 'no', 'data.csv')")
    out = capsys.readouterr().out
    assert "Traceback" in out
    said = "nothing be written to 'data.csv'" if number == errno.EROFS else "'data.csv' closed"
    assert said in out
    assert "%save_secure" in out
    assert "/dev/shm/scratch" in out


REFUSED = "RefusedError('This cell was stopped.', next='Ask again.', code='grant-revoked')"


def test_an_interrupt_by_the_end_of_a_grant_says_so(explaining, capsys):
    explaining.run_cell(f"stopped.append({REFUSED}); raise KeyboardInterrupt")
    out = capsys.readouterr().out
    assert "RefusedError: This cell was stopped." in out
    assert "→ Ask again." in out
    assert "Traceback" not in out


def test_an_interrupt_by_the_user_is_shown_as_ever(explaining, capsys):
    explaining.run_cell("raise KeyboardInterrupt")
    out = capsys.readouterr().out
    assert "KeyboardInterrupt" in out
    assert "Traceback" in out


WRAPPED = """
try:
    raise socket.gaierror(-3, "Temporary failure in name resolution")
except OSError as error:
    raise {} from {}
"""


@pytest.mark.parametrize(
    "source",
    [
        "raise socket.gaierror(-3, 'Temporary failure in name resolution')",
        f"raise OSError({errno.ENETUNREACH}, 'Network is unreachable')",
        WRAPPED.format("OSError('wrapped')", "error"),
        WRAPPED.format("urllib.error.URLError(error)", "None"),
    ],
    ids=["no name server", "no route", "wrapped by a library", "wrapped by urllib"],
)
def test_a_network_that_is_not_there_is_explained(explaining, capsys, monkeypatch, source):
    monkeypatch.setenv("AISEC_SCRATCH", "/dev/shm/scratch")
    explaining.run_cell(f"import socket, urllib.error\n{source}")
    out = capsys.readouterr().out
    assert "Traceback" in out
    assert "no network" in out
    assert "nothing be written" not in out


@pytest.mark.parametrize(
    ("scratch", "number"),
    [("/dev/shm/scratch", errno.ENOENT), (None, errno.EROFS)],
    ids=["another fault", "an ordinary kernel"],
)
def test_other_faults_are_shown_as_ever(explaining, capsys, monkeypatch, scratch, number):
    if scratch is None:
        monkeypatch.delenv("AISEC_SCRATCH", raising=False)
    else:
        monkeypatch.setenv("AISEC_SCRATCH", scratch)
    explaining.run_cell(f"raise OSError({number}, 'no', 'data.csv')")
    out = capsys.readouterr().out
    assert "Traceback" in out
    assert "secure kernel" not in out


@pytest.mark.parametrize(
    "source",
    [
        "raise RuntimeError('open file failed with strerror: Read-only file system')",
        "raise ValueError('I/O error: Permission denied (os error 13)')",
        "try:\n    raise OSError(30, 'no')\nexcept OSError as e:\n    raise KeyError('x') from e",
        "try:\n    raise OSError(30, 'no', b'x')\nexcept OSError:\n    raise KeyError('x')",
    ],
    ids=["torch's", "safetensors'", "with a cause", "while another was handled"],
)
def test_what_a_library_made_of_a_refusal_is_explained(explaining, capsys, monkeypatch, source):
    monkeypatch.setenv("AISEC_SCRATCH", "/dev/shm/scratch")
    explaining.run_cell(source)
    out = capsys.readouterr().out
    assert "Traceback" in out
    assert "This is the secure kernel" in out


@pytest.mark.parametrize(
    "source",
    [
        "raise RuntimeError('operation not permitted when stream is capturing')",
        "raise RuntimeError('a fault')",
        "try:\n    raise OSError(30, 'no')\nexcept OSError:\n    raise KeyError('x') from None",
        "exec('1 +')",
    ],
)
def test_no_other_error_is_explained(explaining, capsys, monkeypatch, source):
    monkeypatch.setenv("AISEC_SCRATCH", "/dev/shm/scratch")
    explaining.run_cell(source)
    out = capsys.readouterr().out
    assert "Error" in out
    assert "secure kernel" not in out


def test_the_same_error_twice_has_one_note(explaining, capsys, monkeypatch):
    monkeypatch.setenv("AISEC_SCRATCH", "/dev/shm/scratch")
    explaining.user_ns["error"] = OSError(errno.EROFS, "no")
    for _ in range(2):
        explaining.run_cell("raise error")
    assert len(explaining.user_ns["error"].__notes__) == 1


def test_a_handler_of_the_users_own_stays(shell):
    explain.install(shell, lambda: None)
    shell.set_custom_exc((KeyError,), lambda *_, **__: None)
    explain.remove(shell)
    assert shell.custom_exceptions == (KeyError,)
    shell.set_custom_exc((), None)
