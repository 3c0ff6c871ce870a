"""A real broker in a process of its own, two people with homes, and sealed artifacts."""

from __future__ import annotations

import contextlib
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy
import pandas
import pytest
import torch
from IPython.core.interactiveshell import InteractiveShell
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import KernelManager
from safetensors.torch import save

from jupyter_aisec.errors import AisecError
from jupyter_aisec.kernel import extension
from jupyter_aisec.kernel.desk import seat_of
from jupyter_aisec.sealed.datakey import DataKey
from jupyter_aisec.sealed.messages import GUARD_VARIABLE, guard_token
from jupyter_aisec.sealed.stream import SealWriter
from tests.conftest import RunningBroker
from tests.shell import ipython_shell

from .relaying import Relay


def wait_for(look: Any, seconds: float = 60.0) -> Any:
    """What ``look()`` returns once it is true and raises nothing."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(Exception):
            if found := look():
                return found
        if time.monotonic() > deadline:
            return look()
        time.sleep(0.02)


def sealed(size: int) -> bytes:
    """A sealed file with ``size`` bytes of plaintext."""
    sink = io.BytesIO()
    with SealWriter(sink, DataKey.generate(), b"") as writer:
        writer.write(bytes(size))
        writer.finish()
    return sink.getvalue()


class World:
    """Everything around one kernel."""

    def __init__(self, broker: RunningBroker) -> None:
        self.broker = broker
        self.researcher = broker.client("researcher")
        self.approver = broker.client("approver")

    def approve_next(self, **options: Any) -> str:
        """Approves the newest pending grant, once there is one."""
        view = wait_for(lambda: self.approver.grants("pending"))[-1]
        self.approver.approve(view.id, **options)
        return str(view.id)

    def end_all(self) -> None:
        """Ends every grant, so that no test lives on another's."""
        for view in self.researcher.grants():
            with contextlib.suppress(AisecError):  # it ended meanwhile
                if view.state == "pending":
                    self.researcher.withdraw(view.id)
                elif view.state != "ended":
                    self.researcher.return_(view.id)

    def environment(self) -> dict[str, str]:
        """Of the researcher's kernels."""
        return {
            **os.environ,
            "AISEC_HOME": str(self.broker.homes["researcher"].folder),
            "AISEC_BROKER": self.broker.url,
        }


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    broker = RunningBroker(tmp_path_factory.mktemp("world"))
    broker.start()
    made = World(broker)
    rows = pandas.DataFrame({"a": numpy.arange(100.0), "b": [f"row {n}" for n in range(100)]})
    table = io.BytesIO()
    rows.to_parquet(table)
    made.researcher.seal("dataset/rows", {"rows.parquet": table.getvalue()}, labels=["secret"])
    weights = {"w": torch.arange(12.0).reshape(3, 4), "b": torch.ones(3)}
    made.researcher.seal(
        "weights/base", {"model.safetensors": save(weights), "notes.txt": b"hello"}
    )
    yield made
    broker.stop()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[InteractiveShell]:
    """A real IPython shell of its own."""
    with ipython_shell(tmp_path / "ipython") as shell:
        yield shell


@pytest.fixture
def notebook(
    world: World, shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[SimpleNamespace]:
    """A shell with the extension loaded, as the researcher, in this process: no keeper."""
    for name, value in world.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AISEC_RELAY", raising=False)
    monkeypatch.setenv("JPY_SESSION_NAME", str(tmp_path / "notebook.ipynb"))
    extension.load(shell)
    yield SimpleNamespace(shell=shell, face=extension.face(), world=world)
    extension.unload(shell)
    world.end_all()


@pytest.fixture(params=["", "/secret"], ids=["own network", "shared network"])
def relay(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> Iterator[Relay]:
    """The relay; where the kernel has no network of its own, beneath a secret path."""
    made = Relay(world.researcher, seat_of({}, str(tmp_path)), request.param)
    yield made
    made.close()


@pytest.fixture
def relayed(
    world: World, shell: InteractiveShell, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SimpleNamespace]:
    """A shell whose kernel has the relay and nothing else."""
    for name in ("AISEC_HOME", "AISEC_BROKER"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("AISEC_RELAY", relay.url)
    extension.load(shell)
    yield SimpleNamespace(shell=shell, face=extension.face(), world=world, relay=relay)
    extension.unload(shell)
    world.end_all()


class SecureKernel:
    """A "Python 3 (secure)" kernel, started by jupyter_client as any front end does."""

    def __init__(
        self, world: World, folder: Path, *, guarded: bool = False, **environment: str
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        spec = Path(extension.__file__).parent / "kernelspec"
        self.log = folder / "keeper.log"
        self.manager = KernelManager(
            kernel_name="aisec",
            connection_file=str(folder / "kernel.json"),
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[]),
        )
        self.manager._kernel_spec = KernelSpec.from_resource_dir(str(spec))
        self._folder = folder
        self._environment = {**world.environment(), **environment}
        if guarded:
            self._environment[GUARD_VARIABLE] = guard_token(self.manager.session.key)
        self.client: Any = None

    def start(self) -> None:
        log = self.log.open("ab")  # left open: a restart starts the process with it again
        for tries_left in (2, 1, 0):
            self.manager.start_kernel(
                env=self._environment, cwd=str(self._folder), stdout=log, stderr=log
            )
            try:
                self._connect()
                return
            except AssertionError as error:
                # The manager chose ports that were free, and somebody was quicker to take one.
                if not tries_left or "address is not free" not in str(error):
                    raise
                self.client.stop_channels()
                self.manager.shutdown_kernel(now=True)
                self.manager.cleanup_random_ports()

    def restart(self) -> None:
        self.client.stop_channels()
        self.manager.restart_kernel(now=False)
        self._connect()

    def _connect(self) -> None:
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        try:
            self.client.wait_for_ready(timeout=60)
        except RuntimeError as error:
            raise AssertionError(self.log.read_text()) from error

    def run(self, source: str, timeout: float = 90) -> Ran:
        """Executes a cell and waits for its end."""
        ran = Ran()
        ran.reply = self.client.execute_interactive(
            source, timeout=timeout, output_hook=ran.messages.append
        )["content"]
        return ran

    def stop(self) -> None:
        if self.client is not None:
            self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel(now=True)


class Ran:
    """What a cell's execution brought."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.reply: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """Everything that came out as text."""
        found = []
        for message in self.messages:
            content = message["content"]
            found.append(str(content.get("text", "")))
            found.append(str(content.get("data", {}).get("text/plain", "")))
            found.extend(content.get("traceback", []))
        return "\n".join(found)

    def ok(self) -> Ran:
        assert self.reply["status"] == "ok", self.text
        return self


@pytest.fixture(scope="session")
def idle(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKernel]:
    """A secure kernel shared by tests that leave it as it was: nothing is opened in it."""
    kernel = SecureKernel(world, tmp_path_factory.mktemp("idle"), guarded=True)
    kernel.start()
    yield kernel
    kernel.stop()
    world.end_all()


@pytest.fixture
def secure(world: World, tmp_path: Path) -> Iterator[SecureKernel]:
    """A running secure kernel whose server says that it guards outputs."""
    kernel = SecureKernel(world, tmp_path / "kernel", guarded=True)
    kernel.start()
    yield kernel
    kernel.stop()
    world.end_all()
