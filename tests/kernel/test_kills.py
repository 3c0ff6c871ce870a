"""Promise P5 at the kernel's side: kernel and keeper killed (SIGKILL) during ``%save_secure``.

What is in the catalog is whole, no plaintext is on a disk, and the seat is taken again by a
restart, where the same is saved as if nothing had been. And a disk without room says so.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.walk.scanner import Needle, changed_files, scan_files

from .conftest import SecureKernel, World, wait_for

pytestmark = pytest.mark.timeout(300)

LARGE, SMALL = 200 << 20, 1 << 20  # bytes: the one takes a while to seal
LOAD = "%load_secure {} as data --format bytes --no-wait"
VALUE = """
import os, torch
noted = torch.frombuffer(bytearray(data), dtype=torch.uint8)
value = {{"large": torch.randint(0, 255, ({},), dtype=torch.uint8), "noted": noted}}
"""


class Saving:
    """A kernel with something planted open in it, and a large value that holds it too."""

    def __init__(self, world: World, kernel: SecureKernel, name: str, size: int) -> None:
        self.world = world
        self.kernel = kernel
        self.since = time.time()
        self.needle = Needle("planted", os.urandom(16).hex().encode())
        self.planted, self.artifact = f"dataset/{name}", f"weights/{name}"
        self.cell = f"%save_secure value as {self.artifact}"
        self.store = Path(world.researcher.store().removeprefix("file://"), self.artifact)
        world.researcher.seal(self.planted, {"note.txt": self.needle.value})
        kernel.run(f"%grant request {self.planted} --for 1h --reason kills").ok()
        world.approve_next()
        self.open(size)

    def open(self, size: int) -> None:
        self.kernel.run(LOAD.format(self.planted)).ok()
        self.kernel.run(VALUE.format(size)).ok()

    def begin(self) -> None:
        """Saving begins; returns when some of the file has come to the store."""
        self.kernel.client.execute(self.cell)
        assert wait_for(lambda: [one for one in self._files() if one.stat().st_size > 1 << 20])

    def _files(self) -> list[Path]:
        return [path for path in self.store.rglob("*") if path.is_file()]

    def stored(self, name: str) -> list[Path]:
        return [path for path in self._files() if path.name == name]

    def kill(self, who: str) -> None:
        keeper = self.kernel.manager.provisioner.process.pid
        tree = self._tree = descendants(keeper)
        kernel = tree[-1]  # keeper, supervisor, init, kernel
        for pid in {"kernel": [kernel], "keeper": [keeper], "both": [keeper, kernel]}[who]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def gone(self) -> None:
        """All processes of the kernel are when this returns."""
        assert wait_for(lambda: not self.kernel.manager.is_alive())
        assert wait_for(lambda: not [pid for pid in self._tree if alive(pid)])

    def versions(self) -> list[str]:
        """The seal ids of what the catalog has of it."""
        listed = [one.artifact for one in self.world.researcher.artifacts()]
        if self.artifact not in listed:
            return []
        return [one.seal_id for one in self.world.researcher.versions(self.artifact)]

    def nothing_on_a_disk(self) -> None:
        places = [self.world.broker.folder, self.kernel.log.parent, Path("/dev/shm")]
        assert scan_files(changed_files(places, self.since), [self.needle]) == []

    def again(self) -> None:
        """A restart takes the seat again; what is saved then is whole, and opens."""
        before = len(self.versions())
        self.kernel.restart()
        self.open(SMALL)
        self.kernel.run(self.cell).ok()
        assert len(self.versions()) == before + 1
        self.opens()

    def opens(self) -> None:
        """Every version in the catalog opens, with what was planted in it."""
        for number in range(1, len(self.versions()) + 1):
            name = f"{self.artifact}@{number}"
            self.kernel.run(f"%grant request {name} --for 1h --reason look").ok()
            self.world.approve_next()
            load = f"%load_secure {self.artifact} as saved --version {number} --no-wait"
            self.kernel.run(load).ok()
            same = "print('whole:', bytes(saved['noted'].numpy()) == bytes(data))"
            assert "whole: True" in self.kernel.run(same).ok().text


def descendants(pid: int) -> list[int]:
    """A process and its children, theirs and so on, the youngest generation last."""
    found, at = [pid], 0
    while at < len(found):
        for task in Path(f"/proc/{found[at]}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
        at += 1
    return found


def alive(pid: int) -> bool:
    """Whether it runs: a zombie does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def unread(url: str) -> int:
    """Bytes of the longest request that a server here has been sent and has not read."""
    port = f":{urlsplit(url).port:04X}"
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return max(
        (int(one[4].partition(":")[2], 16) for one in sockets if one[1].endswith(port)), default=0
    )


@pytest.fixture
def saving(
    world: World, secure: SecureKernel, request: pytest.FixtureRequest
) -> Callable[[int], Saving]:
    name = "".join(c if c.isalnum() else "-" for c in request.node.name)[:60].strip("-")
    return lambda size: Saving(world, secure, name, size)


@pytest.mark.parametrize("who", ["kernel", "keeper", "both"])
def test_killed_while_it_seals(saving: Callable[[int], Saving], who: str) -> None:
    made = saving(LARGE)
    made.begin()
    made.kill(who)
    made.gone()
    assert made.versions() == []
    assert made.stored("manifest.json") == made.stored("0000.sealed") == []
    made.nothing_on_a_disk()
    made.again()
    made.nothing_on_a_disk()


@pytest.mark.parametrize("who", ["kernel", "keeper", "both"])
def test_killed_while_it_is_registered(
    world: World, saving: Callable[[int], Saving], who: str
) -> None:
    """The broker was sent the version and says nothing: it may register it afterwards."""
    made = saving(LARGE)
    broker = world.broker.process
    assert broker is not None
    made.begin()
    broker.send_signal(signal.SIGSTOP)
    try:
        assert wait_for(lambda: made.stored("manifest.json"))
        # Larger than anything else that is asked of it meanwhile: the keys, encrypted.
        assert wait_for(lambda: unread(world.broker.url) > 5000)
        made.kill(who)
    finally:
        broker.send_signal(signal.SIGCONT)
    made.gone()  # a keeper that is left tells the broker before it ends
    registered = made.versions()
    made.nothing_on_a_disk()
    made.again()  # opens what was registered too
    assert made.versions()[: len(registered)] == registered


@contextmanager
def without_room(kernel: SecureKernel, folder: Path) -> Iterator[None]:
    """A store of 1 MiB: a file system of its own where that may be mounted, else the limit of
    what its keeper, who writes there, may write."""
    folder.mkdir(parents=True, exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        return
    keeper = kernel.manager.provisioner.process.pid
    before = resource.prlimit(keeper, resource.RLIMIT_FSIZE)
    resource.prlimit(keeper, resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    try:
        yield
    finally:
        resource.prlimit(keeper, resource.RLIMIT_FSIZE, before)


def test_a_store_without_room_says_so_and_keeps_nothing(saving: Callable[[int], Saving]) -> None:
    made = saving(3 << 20)
    with without_room(made.kernel, made.store):
        ran = made.kernel.run(made.cell)
        assert ran.reply["status"] == "error"
        assert "(store-unwritable)" in ran.text
        assert "cannot be written: " in ran.text
        assert "→ Make room there" in ran.text
        assert "Traceback" not in ran.text
        assert made._files() == []
    assert made.versions() == []
    made.kernel.run(made.cell).ok()  # the kernel lives on, and there is room again
    made.opens()
    made.nothing_on_a_disk()
