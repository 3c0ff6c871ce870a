"""A secure kernel behind its keeper, used as front ends use any kernel."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import psutil
import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

MAIN = Path(__file__).with_name("kernel_main.py")
ROOT = Path(__file__).parents[2]
TIMEOUT = 60


class Kernel:
    """A kernel manager and one client."""

    def __init__(self, folder: Path, *arguments: str, **settings: Any) -> None:
        self.ended = folder / "ended"
        self.manager = KernelManager(
            connection_file=str(folder / "connection.json"),
            shutdown_wait_time=TIMEOUT,  # a keeper killed earlier loses what coverage saw
            **settings,
        )
        self.manager._kernel_spec = KernelSpec(
            argv=[sys.executable, str(MAIN), "-f", "{connection_file}", *arguments],
            display_name="Python 3 (secure)",
            language="python",
            interrupt_mode="message",
            metadata={"supported_encryption": "curve"},
        )
        environment = {
            **os.environ,
            "AISEC_TOKEN": str(self.ended),
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder),
        }
        self.manager.start_kernel(env=environment, cwd=str(folder))
        # The manager's own client knows whether the process lives; another one only has the
        # heartbeat, which says "dead" of a kernel that takes more than a second to start.
        self.client = self._ready(self.manager.client())

    def new_client(self) -> BlockingKernelClient:
        """A client with a session, and so an identity, of its own."""
        client = BlockingKernelClient(connection_file=self.manager.connection_file)
        client.load_connection_file()
        return self._ready(client)

    def _ready(self, client: BlockingKernelClient) -> BlockingKernelClient:
        client.start_channels()
        client.wait_for_ready(timeout=TIMEOUT)
        return client

    @property
    def keeper(self) -> int:
        return int(self.manager.provisioner.pid)

    def run(self, code: str, **more: Any) -> str:
        """Execute ``code``; what it printed. Raises AssertionError with its traceback."""
        printed: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])

        more.setdefault("timeout", TIMEOUT)
        answer = self.client.execute_interactive(code, output_hook=hear, **more)["content"]
        if answer["status"] != "ok":
            raise AssertionError(f"{answer['ename']}: {answer['evalue']}")
        return "".join(printed)

    def close(self) -> None:
        self.client.stop_channels()
        if self.manager.is_alive():
            self.manager.shutdown_kernel()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    kernel = Kernel(tmp_path_factory.mktemp("shared"))
    yield kernel
    # It ignores being asked to end, and ipykernel asks for half a minute.
    kernel.run("from multiprocessing import resource_tracker as r; r._resource_tracker._stop()")
    kernel.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Kernel]]:
    started: list[Kernel] = []

    def begin(*arguments: str, **settings: Any) -> Kernel:
        started.append(Kernel(tmp_path, *arguments, **settings))
        return started[-1]

    yield begin
    for kernel in started:
        kernel.close()


def family(process: int) -> list[psutil.Process]:
    keeper = psutil.Process(process)
    return [keeper, *keeper.children(recursive=True)]


def all_gone(processes: list[psutil.Process]) -> bool:
    _gone, alive = psutil.wait_procs(processes, timeout=20)
    return not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def folders_of(keeper: int) -> list[str]:
    """What this keeper left where such things are put; others may be at work beside it."""
    places = {"/dev/shm", "/run", "/tmp", os.environ.get("XDG_RUNTIME_DIR") or "/dev/shm"}
    return [n for place in places for n in os.listdir(place) if n.startswith(f"aisec-{keeper}-")]


HELLO = "import json, os, urllib.request as u; "
ASK = HELLO + "print(u.urlopen(os.environ['AISEC_RELAY'] + '/hello').read().decode())"


def test_level_is_full(shared: Kernel) -> None:
    assert json.loads(shared.run(ASK))["level"] == "full"
    assert shared.run("print(os.environ['LEVEL'])") == "full\n"


def test_execute_and_result(shared: Kernel) -> None:
    answer = shared.client.execute_interactive(
        "6 * 7", user_expressions={"x": "6 * 7"}, output_hook=lambda _: None, timeout=TIMEOUT
    )
    assert answer["content"]["user_expressions"]["x"]["data"]["text/plain"] == "42"


def test_a_write_is_refused_with_the_path(shared: Kernel) -> None:
    with pytest.raises(AssertionError, match=r"OSError.*Read-only file system: 'x\.csv'"):
        shared.run("open('x.csv', 'w')")


def test_standard_input(shared: Kernel) -> None:
    answered = shared.run(
        "print(input('name? ')[::-1])",
        allow_stdin=True,
        stdin_hook=lambda _: shared.client.input("olleh"),
    )
    assert "hello" in answered


def test_interrupt_by_message(shared: Kernel) -> None:
    threading.Timer(1, shared.manager.interrupt_kernel).start()
    start = monotonic()
    with pytest.raises(AssertionError, match="KeyboardInterrupt"):
        shared.run("import time; time.sleep(50)")
    assert monotonic() - start < 30


def test_interrupt_by_the_keeper(shared: Kernel) -> None:
    code = HELLO + (
        "import time, threading\n"
        "ask = u.Request(os.environ['AISEC_RELAY'] + '/interrupt', method='POST', data=b'')\n"
        "threading.Timer(.5, u.urlopen, [ask]).start()\n"
        "time.sleep(50)"
    )
    with pytest.raises(AssertionError, match="KeyboardInterrupt"):
        shared.run(code)


def test_kernel_info(shared: Kernel) -> None:
    answer = shared.client.kernel_info(reply=True, timeout=TIMEOUT)
    assert answer["content"]["language_info"]["name"] == "python"


def test_order_and_number_of_outputs(shared: Kernel) -> None:
    lines = shared.run("for n in range(20_000): print(n)").split()
    assert lines == [str(n) for n in range(20_000)]


def test_one_big_output(shared: Kernel) -> None:
    assert len(shared.run("print('x' * 30_000_000)")) == 30_000_001


def test_comms(shared: Kernel) -> None:
    shared.run(
        "from comm import get_comm_manager\n"
        "def opened(comm, message):\n"
        "    comm.on_msg(lambda m: comm.send({'twice': m['content']['data']['n'] * 2}))\n"
        "get_comm_manager().register_target('t', opened)"
    )
    session, shell = shared.client.session, shared.client.shell_channel
    for kind, data in (("comm_open", {}), ("comm_msg", {"n": 21})):
        content = {"comm_id": "c", "target_name": "t", "data": data}
        shell.send(session.msg(kind, content))
    while True:
        message = shared.client.get_iopub_msg(timeout=TIMEOUT)
        if message["msg_type"] == "comm_msg":
            assert message["content"]["data"] == {"twice": 42}
            return


def test_two_clients_at_once(shared: Kernel) -> None:
    second = shared.new_client()
    try:
        assert shared.run("a = 1; print(a)") == "1\n"
        heard: list[str] = []
        second.execute_interactive(
            "print(a + 1)",
            output_hook=lambda m: heard.append(str(m["content"].get("text", ""))),
            timeout=TIMEOUT,
        )
        assert "2\n" in heard
        asked = second.execute_interactive(
            "input('who?')",
            allow_stdin=True,
            stdin_hook=lambda _: second.input("second"),
            output_hook=lambda _: None,
            timeout=TIMEOUT,
        )
        assert asked["content"]["status"] == "ok"
    finally:
        second.stop_channels()


def test_a_subscriber_is_welcomed(shared: Kernel) -> None:
    subscriber = shared.manager.connect_iopub()
    try:
        assert subscriber.poll(10_000)
        frames = subscriber.recv_multipart()
        header = frames[frames.index(b"<IDS|MSG>") + 2]
        assert json.loads(header)["msg_type"] == "iopub_welcome"
    finally:
        subscriber.close()


def test_an_unsigned_message_is_not_passed_on(shared: Kernel) -> None:
    shell = shared.manager.connect_shell()
    try:
        shell.send_multipart([b"<IDS|MSG>", b"", b'{"msg_type":"x"}', b"{}", b"{}", b"{}"])
        shell.send_multipart([b"nonsense"])
        assert shared.run("print('alive')") == "alive\n"
        assert "in shell x" not in json.loads(shared.run(ASK))["seen"]
    finally:
        shell.close()


def test_every_message_is_observed_and_can_be_replaced(shared: Kernel) -> None:
    assert shared.run("print('hush')") == "(sealed)\n"
    seen = json.loads(shared.run(ASK))["seen"]
    assert {"in shell execute_request", "out shell execute_reply", "out iopub stream"} <= set(seen)


def test_metadata_can_be_replaced_and_buffers_stay(shared: Kernel) -> None:
    heard: list[Any] = []
    shared.client.execute_interactive(
        "get_ipython().kernel.session.send(get_ipython().kernel.iopub_socket, 'display_data', "
        "{'data': {}, 'metadata': {}}, buffers=[b'raw'], parent=get_ipython().kernel.get_parent())",
        output_hook=heard.append,
        timeout=TIMEOUT,
    )
    (shown,) = [m for m in heard if m["msg_type"] == "display_data"]
    assert shown["metadata"] == {"sealed": True}
    assert bytes(shown["buffers"][0]) == b"raw"


def test_what_no_route_takes_is_refused_and_seen(shared: Kernel) -> None:
    code = HELLO + (
        "from urllib.error import HTTPError\n"
        "try: u.urlopen(os.environ['AISEC_RELAY'] + '/elsewhere')\n"
        "except HTTPError as e: print(e.code, json.load(e)['code'])"
    )
    assert shared.run(code) == "403 relay-refused\n"
    assert "refused GET /elsewhere" in json.loads(shared.run(ASK))["seen"]


@pytest.mark.parametrize(
    "code",
    [
        pytest.param("import torch; (torch.ones(64, 64) @ torch.ones(64, 64)).sum()", id="torch"),
        pytest.param(
            "import torch.utils.data as d\n"
            "assert len(list(d.DataLoader(list(range(8)), num_workers=2))) == 8",
            id="DataLoader workers",
        ),
        pytest.param("import numpy; numpy.linalg.inv(numpy.eye(64))", id="numpy"),
        pytest.param(
            "import multiprocessing as m\nwith m.get_context('spawn').Pool(2) as p:\n"
            "    assert p.map(abs, [-1, -2]) == [1, 2]",
            id="spawn pool",
        ),
        pytest.param(
            "from multiprocessing.shared_memory import SharedMemory\n"
            "b = SharedMemory(create=True, size=10); b.close(); b.unlink()",
            id="SharedMemory",
        ),
        pytest.param(
            "import multiprocessing as m; q = m.Queue(); q.put(1); assert q.get() == 1", id="Queue"
        ),
        pytest.param("get_ipython().system('echo hello')", id="shell command"),
        pytest.param(
            "import os, sqlite3\n"
            "sqlite3.connect(os.environ['AISEC_SCRATCH'] + '/db').execute('create table t (x)')",
            id="a database in scratch",
        ),
    ],
)
def test_must_work_in_a_notebook(shared: Kernel, code: str) -> None:
    shared.run(code)


def test_restart(start: Callable[..., Kernel]) -> None:
    kernel = start()
    kernel.run("a = 1")
    kernel.manager.restart_kernel()
    kernel.client.wait_for_ready(timeout=TIMEOUT)
    with pytest.raises(AssertionError, match="NameError"):
        kernel.run("a")


def test_shutdown_leaves_nothing(start: Callable[..., Kernel]) -> None:
    kernel = start("observe")
    keeper = kernel.keeper
    processes = family(keeper)
    assert len(processes) >= 4
    kernel.manager.shutdown_kernel()
    assert all_gone(processes)
    assert folders_of(keeper) == []
    assert kernel.ended.read_text() == "ended 0"


@pytest.mark.parametrize("how", [(), ("partial",)], ids=["full", "partial"])
def test_killing_the_keeper_leaves_nothing(start: Callable[..., Kernel], how: tuple[str]) -> None:
    kernel = start(*how)
    kernel.run("import subprocess; subprocess.Popen(['setsid', 'sleep', '1000'])")
    keeper = kernel.keeper
    assert len(folders_of(keeper)) == len(how)
    processes = family(keeper)
    os.kill(keeper, signal.SIGKILL)
    assert all_gone(processes)
    assert folders_of(keeper) == []


def test_killing_the_supervisor_ends_the_kernel(start: Callable[..., Kernel]) -> None:
    kernel = start()
    processes = family(kernel.keeper)
    (supervisor,) = psutil.Process(kernel.keeper).children()
    supervisor.kill()
    assert all_gone(processes[1:])


def test_terminating_the_keeper_ends_the_kernel(start: Callable[..., Kernel]) -> None:
    kernel = start()
    processes = family(kernel.keeper)
    os.kill(kernel.keeper, signal.SIGTERM)
    assert all_gone(processes)


def test_the_front_end_dying_ends_the_kernel(tmp_path: Path) -> None:
    program = (
        "import sys, time; sys.path.insert(0, sys.argv[1])\n"
        "from pathlib import Path; from tests.confine.test_keeper import Kernel\n"
        "print(Kernel(Path(sys.argv[2])).keeper, flush=True); time.sleep(1000)"
    )
    front = subprocess.Popen(
        [sys.executable, "-c", program, str(ROOT), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with front:
        assert front.stdout is not None
        processes = family(int(front.stdout.readline()))
        front.kill()
    assert all_gone(processes)


@pytest.mark.parametrize("route", ["/end", "/kill"])
def test_the_service_ends_the_kernel(start: Callable[..., Kernel], route: str) -> None:
    kernel = start()
    processes = family(kernel.keeper)
    kernel.client.execute(
        HELLO + f"u.urlopen(u.Request(os.environ['AISEC_RELAY']+'{route}',data=b'',method='POST'))"
    )
    assert all_gone(processes)


def test_partial_works_with_a_secret_relay_path(start: Callable[..., Kernel]) -> None:
    kernel = start("partial")
    assert json.loads(kernel.run(ASK))["level"] == "partial"
    relay = kernel.run("print(os.environ['AISEC_RELAY'])").strip()
    port, secret = relay.removeprefix("http://127.0.0.1:").split("/")
    assert len(secret) > 40
    with socket.create_connection(("127.0.0.1", int(port))) as other:
        other.sendall(b"GET /hello HTTP/1.0\r\n\r\n")
        assert other.recv(100).startswith(b"HTTP/1.1 403")


@pytest.mark.parametrize("transport", ["ipc", "curve"])
def test_other_transports(start: Callable[..., Kernel], transport: str, tmp_path: Path) -> None:
    if transport == "ipc":
        kernel = start(transport="ipc", ip=str(tmp_path / "k"))
    else:
        kernel = start(transport_encryption="required")
        info = json.loads((tmp_path / "connection.json").read_text())
        assert info["curve_secretkey"]
    assert kernel.run("print(1)") == "1\n"


def run_main(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    manager = KernelManager(connection_file=str(folder / "c.json"))
    manager.write_connection_file()
    return subprocess.run(
        [sys.executable, str(MAIN), "-f", str(folder / "c.json"), *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


def test_a_kernel_that_fails_to_start_says_why(tmp_path: Path) -> None:
    ran = run_main(tmp_path, "fail")
    assert ran.returncode == 70
    assert "broken on purpose" in ran.stderr


def test_a_level_below_what_policy_asks(tmp_path: Path) -> None:
    ran = run_main(tmp_path, "partial", "insist")
    assert ran.returncode == 1
    assert "Policy asks for isolation full; this machine gives partial" in ran.stderr


def test_jupyter_execute(tmp_path: Path) -> None:
    spec = tmp_path / "share/jupyter/kernels/secure-test"
    spec.mkdir(parents=True)
    (spec / "kernel.json").write_text(
        json.dumps(
            {
                "argv": [sys.executable, str(MAIN), "-f", "{connection_file}"],
                "display_name": "t",
                "language": "python",
                "interrupt_mode": "message",
            }
        )
    )
    cell = {
        "cell_type": "code",
        "id": "a",
        "source": "import os; print(os.environ['LEVEL'])",
        "metadata": {},
        "outputs": [],
        "execution_count": None,
    }
    notebook = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps(notebook))
    subprocess.run(
        [
            str(Path(sys.executable).with_name("jupyter-execute")),
            str(path),
            "--inplace",
            "--kernel_name=secure-test",
        ],
        env={
            **os.environ,
            "JUPYTER_PATH": str(tmp_path / "share/jupyter"),
            "PYTHONPATH": str(ROOT),
        },
        check=True,
        timeout=TIMEOUT,
        capture_output=True,
    )
    assert "full" in json.loads(path.read_text())["cells"][0]["outputs"][0]["text"][0]
