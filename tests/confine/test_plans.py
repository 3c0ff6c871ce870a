"""The pure parts: what is planned before anything is confined."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_aisec import confine
from jupyter_aisec.confine import (
    _syscalls,
    clean_start,
    connection,
    descriptors,
    environment,
    exec,
    gpu,
    handshake,
    hidden,
    landlock,
    level,
    mounts,
    namespaces,
    supervisor,
    wire,
)
from jupyter_aisec.errors import (
    ConfinementError,
    MalformedError,
    NotFoundError,
    SignatureError,
    UsageError,
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AISEC_TOKEN", "x"),
        ("JUPYTERHUB_API_TOKEN", "x"),
        ("JPY_PARENT_PID", "1"),
        ("OPENAI_API_KEY", "x"),
        ("SSH_AUTH_SOCK", "/run/x"),
        ("DBUS_SESSION_BUS_ADDRESS", "unix:path=/run/x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("my_password", "x"),
        ("HTTP_PROXY", "http://me:secret@proxy:3128"),
        ("DATABASE_URL", "postgresql://me:secret@db/x"),
    ],
)
def test_secret_variable(name: str, value: str) -> None:
    assert environment.is_secret(name, value)
    assert environment.split({name: value, "LANG": "C"}) == ({"LANG": "C"}, {name: value})


@pytest.mark.parametrize("name", ["PATH", "HOME", "LANG", "PYTHONPATH", "CUDA_VISIBLE_DEVICES"])
def test_ordinary_variable(name: str) -> None:
    assert not environment.is_secret(name, "/usr/bin")


def test_caches_in_memory_and_downloads_readable() -> None:
    outer = {"HOME": "/home/me", "HF_HOME": "/data/hf", "AISEC_TOKEN": "x"}
    inner = environment.inside(outer, memory="/m", scratch="/s", temporary="/t")
    assert inner["IPYTHONDIR"] == "/m/ipython"
    assert inner["TRITON_CACHE_DIR"] == "/m/triton"
    assert inner["TMPDIR"] == "/t"
    assert inner["AISEC_SCRATCH"] == "/s"
    assert inner["HF_HOME"] == "/data/hf"
    assert inner["TORCH_HOME"] == "/home/me/.cache/torch"
    assert "AISEC_TOKEN" not in inner


def test_what_is_hidden() -> None:
    found = hidden.secrets({"HOME": "/home/me", "AISEC_HOME": "/data/aisec"}, ("/srv/keys",))
    assert {"/home/me/.ssh", "/data/aisec", "/srv/keys", "/home/me/.gnupg"} <= set(found)
    assert hidden.secrets({}) == ()


def test_what_is_needed() -> None:
    assert {os.path.realpath(sys.prefix), os.getcwd()} <= set(hidden.needed())


@pytest.mark.parametrize(
    ("parts", "ways", "name"),
    [
        ((), (), "full"),
        (("mount namespace",), (), "partial"),
        ((), ("change a mode",), "partial"),
        ((), ("write to a disk",), "none"),
    ],
)
def test_judge(parts: tuple[str, ...], ways: tuple[str, ...], name: str) -> None:
    judged = level.judge(parts, ways, ["write to a disk"])
    assert judged.name == name
    assert judged.missing == (*parts, *ways)


def test_levels_are_ordered() -> None:
    assert level.at_least("full", "partial")
    assert level.at_least("none", "none")
    assert not level.at_least("partial", "full")
    assert str(level.Level("full")) == "full"
    assert str(level.Level("partial", ("a", "b"))) == "partial (missing: a, b)"


def test_plans_best_first_and_the_last_needs_nothing() -> None:
    plans = list(namespaces.candidates(root=True))
    assert plans[0].missing == ()
    assert not plans[1].user
    assert plans[1].missing == ()
    assert plans[-1].flags == 0
    assert plans[-1].missing == (
        "mount namespace",
        "pid namespace",
        "network namespace",
        "ipc namespace",
    )
    assert all(plan.user or not plan.flags for plan in namespaces.candidates(root=False))


def test_readable_without() -> None:
    tree = {"/": ["home", "usr"], "/home": ["me", "you"], "/home/me": [".ssh", "work"]}
    allowed = landlock.readable_without(["/home/me/.ssh", "/home/you"], lambda f: tree[f])
    assert allowed == ("/home/me/work", "/usr")
    assert landlock.readable_without([], lambda f: tree[f]) == ("/",)


@pytest.mark.parametrize(
    ("version", "bits"), [(1, 0), (2, 1 << 13), (3, 3 << 13), (5, 7 << 13), (9, 15 << 13)]
)
def test_rights_by_version(version: int, bits: int) -> None:
    basic = 1 << 1 | sum(1 << bit for bit in range(4, 13))
    assert landlock.write_rights(version) == basic | bits
    assert landlock.scopes(version) == (3 if version >= 6 else 0)


def test_beneath_keeps_the_outermost() -> None:
    paths = ["/tmp/a/b", "/tmp/a", "/tmp", "/tmpx", "/tmp/c/", "/home"]
    assert mounts.beneath("/tmp", paths) == ("/tmp/a", "/tmp/c")


def test_listening_paths() -> None:
    table = (
        "Num RefCount Protocol Flags Type St Inode Path\n"
        "0: 2 0 10000 0001 01 1 /run/with space.sock\n"
        "0: 2 0 10000 0001 01 2 @abstract\n"
        "0: 2 0 0 0001 03 3\n"
    )
    assert mounts.listening_paths(table) == ("/run/with space.sock",)


@pytest.mark.parametrize(("status", "code"), [(0, 0), (7 << 8, 7), (9, 137)])
def test_exit_status(status: int, code: int) -> None:
    assert supervisor.exit_status(status) == code


def test_handshake() -> None:
    here, there = handshake.socket_pair()
    with here, there:
        handshake.send(here, {"a": 1}, [0])
        message, passed = handshake.receive(there)
        assert message == {"a": 1}
        os.close(passed[0])
        here.close()
        with pytest.raises(ConfinementError) as caught:
            handshake.receive(there)
    assert caught.value.code == "confinement-ended"


SIGNER = wire.Signer(b"key")
PARTS = (b'{"msg_type": "x"}', b"{}", b"{}", b'{"a": 1}')


@given(prefix=st.lists(st.binary(min_size=1, max_size=8)), buffers=st.lists(st.binary(max_size=8)))
def test_a_message_survives(prefix: list[bytes], buffers: list[bytes]) -> None:
    message = wire.Message("in", "shell", tuple(prefix), *PARTS, tuple(buffers))
    assert SIGNER.part("in", "shell", SIGNER.frames(message)) == message


def test_a_changed_message_is_signed_anew() -> None:
    message = wire.Message("out", "iopub", (b"topic",), *PARTS)
    changed = message.with_parts(content={"b": 2}, metadata={"c": 3})
    again = SIGNER.part("out", "iopub", SIGNER.frames(changed))
    assert (again.json("content"), again.json("metadata")) == ({"b": 2}, {"c": 3})
    assert again.type == "x"


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        pytest.param([b"x"], MalformedError, id="no delimiter"),
        pytest.param([b"<IDS|MSG>", b"", b"{}"], MalformedError, id="parts missing"),
        pytest.param([b"<IDS|MSG>", b"bad", *PARTS], SignatureError, id="wrong signature"),
        pytest.param([b"<IDS|MSG>", b"", *PARTS], SignatureError, id="no signature"),
    ],
)
def test_a_message_that_is_none(frames: list[bytes], error: type[Exception]) -> None:
    with pytest.raises(error):
        SIGNER.part("in", "shell", frames)


def test_signers() -> None:
    unsigned = wire.Signer(b"")
    assert unsigned.part("in", "shell", [b"<IDS|MSG>", b"", *PARTS]).type == "x"
    for scheme in ("md5", "hmac-nonsense"):
        with pytest.raises(UsageError):
            wire.Signer(b"key", scheme)


def test_json_that_is_none() -> None:
    message = wire.Message("in", "shell", (), b"[" * 100_000, b"{}", b"{}", b"{}")
    with pytest.raises(MalformedError):
        message.json("header")


INFO: dict[str, Any] = {
    "transport": "tcp",
    "ip": "127.0.0.1",
    "key": "k",
    "kernel_name": "aisec",
    **{f"{name}_port": at for at, name in enumerate(connection.CHANNELS, 1000)},
}


def test_connection_file(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_text(json.dumps(INFO))
    read = connection.read(path)
    assert read.address("shell") == "tcp://127.0.0.1:1000"
    inner = connection.parse(json.dumps(read.within("/m")))
    assert inner.address("iopub") == "ipc:///m/kernel-2"
    assert inner.key == "k"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "[" * 100_000,
        json.dumps({**INFO, "shell_port": 0}),
        json.dumps({**INFO, "transport": "carrier pigeon"}),
        json.dumps({**INFO, "hb_port": None}),
    ],
    ids=["empty", "a list", "deep", "port 0", "other transport", "no port"],
)
def test_connection_file_that_is_none(text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        connection.parse(text)
    assert caught.value.code == "connection-file"


def test_connection_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        connection.read(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(MalformedError):
        connection.read(tmp_path / "binary")


def test_start_clean_in_the_second_process(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptor = os.memfd_create("test")
    os.write(descriptor, b'{"AISEC_TOKEN": "x"}')
    monkeypatch.setenv("AISEC_WITHHELD", str(descriptor))
    withheld = clean_start.start_clean()
    assert "AISEC_WITHHELD" not in os.environ
    assert withheld.read() == {"AISEC_TOKEN": "x"}
    assert withheld.read() == {}
    assert clean_start.command(["python", "-m", "x", "a"], "/bin/py") == ["/bin/py", "-m", "x", "a"]


def test_start_clean_executes_anew() -> None:
    program = (
        "import os; from jupyter_aisec.confine.clean_start import start_clean; s = start_clean();"
        "seen = open('/proc/self/environ').read(); print('hunter2' in seen, s.read()['MY_TOKEN'])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "MY_TOKEN": "hunter2", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout == "False hunter2\n"


def test_descriptors(tmp_path: Path) -> None:
    with open(tmp_path / "f", "wb") as file:
        assert file.fileno() in descriptors.opened()


def test_system_calls_say_what_was_refused() -> None:
    with pytest.raises(OSError, match="close_range_of_nothing") as caught:
        _syscalls.syscall("close_range_of_nothing", 436, 5, 1, 0)
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(OSError, match="mount /nowhere"):
        _syscalls.mount(None, "/nowhere", "nonsense")
    with pytest.raises(OSError, match="umount /nowhere"):
        _syscalls.umount("/nowhere")


def test_no_gpu_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "present", lambda: False)
    assert gpu.fault() == 0


@pytest.mark.parametrize(("answer", "code"), [(0, 0), (100, 100), (304, 255)])
def test_what_the_gpu_answers(monkeypatch: pytest.MonkeyPatch, answer: int, code: int) -> None:
    monkeypatch.setattr(gpu, "present", lambda: True)
    monkeypatch.setattr(
        ctypes, "CDLL", lambda name: SimpleNamespace(cuInit=lambda flags: answer + flags)
    )
    assert gpu.fault() == code


def test_a_gpu_without_a_driver_library_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(gpu, "present", lambda: True)
    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert gpu.fault() == 0


def test_elsewhere_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ConfinementError) as caught:
        confine.Confinement().start(lambda _: 0)
    assert caught.value.code == "not-linux"


def confined(program: str, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    text = f"import sys; from jupyter_aisec.confine import *\n{program}"
    return subprocess.run(
        [sys.executable, "-c", text, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **more},
        timeout=60,
        check=False,
    )


COMMAND = "sys.exit(confine_command(sys.argv[1:]))"
#: The same without namespaces, where what coverage sees inside can be kept.
PARTIAL = """
import os, shutil, tempfile
from tests.confine import measured
if "AISEC_WITHHELD" in os.environ:
    measured.keep_in(kept := tempfile.mkdtemp(dir="/dev/shm"))
code = confine_command(sys.argv[1:], try_namespaces=False)
measured.collect(kept)
shutil.rmtree(kept)
sys.exit(code)
"""


def test_a_confined_command() -> None:
    ran = confined(COMMAND, "sh", "-c", "echo $$ $AISEC_SCRATCH; touch /var/tmp/x; exit 7")
    assert ran.returncode == 7
    assert ran.stdout == "2 /dev/shm/scratch\n"
    assert "Read-only file system" in ran.stderr


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["no-such-command"], 127),
        (["/etc/passwd"], 126),
        (["sh", "-c", "kill -9 $$"], 128 + signal.SIGKILL),
    ],
    ids=["missing", "not executable", "killed"],
)
@pytest.mark.parametrize("program", [COMMAND, PARTIAL], ids=["full", "partial"])
def test_a_command_that_does_not_run(program: str, command: list[str], code: int) -> None:
    assert confined(program, *command).returncode == code


def test_output_to_a_file_is_refused(tmp_path: Path) -> None:
    with open(tmp_path / "out", "w") as file:
        ran = confined(COMMAND, "echo", "plaintext", stdout=file)
    assert "standard output is a file" in ran.stderr
    assert (tmp_path / "out").read_text() == ""


def test_a_level_too_low_runs_nothing() -> None:
    program = "confine_command(['echo', 'ran'], least='full', try_namespaces=False)"
    ran = confined(program)
    assert ran.returncode == 1
    assert "Isolation full was asked for" in ran.stderr
    assert ran.stdout == ""


def test_no_command() -> None:
    with pytest.raises(UsageError):
        exec.confine_command([])


def test_a_process_with_threads_is_refused() -> None:
    program = (
        "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start();"
        "Confinement().start(lambda _: 0)"
    )
    assert "already has threads" in confined(program).stderr


def test_a_signal_reaches_the_command() -> None:
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import sys; from jupyter_aisec.confine import *; {COMMAND}",
            "sh",
            "-c",
            "trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.1; done",
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.stdout.read() == "caught\n"
    assert process.returncode == 3
