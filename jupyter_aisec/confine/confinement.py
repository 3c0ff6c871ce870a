"""A confined process: planned outside, made in a forked child, proved from inside.

>>> confined = Confinement(hide=secrets(os.environ)).start(lambda inside: work(inside))
>>> confined.level.name
'full'
>>> confined.wait()
0

``start`` forks, so it must be called before any thread exists and before any credential is read:
what the calling process knows at that moment, the inside knows. Nothing is executed anew; the
callable runs in the child with every import already made.
"""

from __future__ import annotations

import os
import secrets as randomness
import select
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from ..errors import ConfinementError
from . import (
    capabilities,
    descriptors,
    environment,
    gpu,
    handshake,
    landlock,
    limits,
    namespaces,
    seccomp,
    supervisor,
)
from ._syscalls import on_linux
from .escapes import ATTEMPTS, Canaries, Surroundings, open_ways
from .level import Level, judge
from .mounts import View, listening_paths, make_view
from .namespaces import Namespaces
from .places import SHARED_MEMORY, TEMPORARY
from .processes import alive, beneath

__all__ = ["Confined", "Confinement", "Inside"]

_FAILED: Final = 70  # EX_SOFTWARE
_INIT_AND_CALLABLE: Final = 2  # processes beneath the supervisor


@dataclass(slots=True)
class Inside:
    """What the confined callable is given."""

    memory: str
    """A private folder in memory (0700), gone at the end."""
    scratch: str
    """``$AISEC_SCRATCH``."""
    relay_port: int
    """The loopback port of :attr:`Confined.listener`, as seen from inside."""
    relay_path: str
    """What the relay's URLs start with: secret where the port is not the inside's alone."""
    level: Level
    connection_file: str = ""
    """Where a kernel is to listen; written by the keeper."""
    _outside: socket.socket | None = field(default=None, repr=False)

    @property
    def relay_url(self) -> str:
        """The relay's base URL, without a slash at the end."""
        return f"http://127.0.0.1:{self.relay_port}{self.relay_path}"

    def started(self) -> None:
        """Nothing more to say to the outside; to be called before the person's code runs.

        Until then an exception from the callable is told outside with its traceback.
        """
        if self._outside is not None:
            self._outside.close()
            self._outside = None


@dataclass(slots=True)
class Confined:
    """The outside's handle on a confined process."""

    process: int
    """The supervisor's process id."""
    level: Level
    listener: socket.socket
    """A listening socket the inside can connect to, accepted from outside."""
    relay_path: str
    memory: int
    """A descriptor of :attr:`Inside.memory`, good for connecting to sockets in it."""
    lifeline: int
    """The writing end of a pipe: as long as it is open, the inside may live."""
    _said: socket.socket
    refusals: tuple[str, ...] = ()
    """What the system said to better plans than the one it allowed."""
    _status: int | None = None

    def wait(self) -> int:
        """Wait for the end; the exit code, or 128 + a signal's number."""
        if self._status is None:
            self._status = supervisor.exit_status(os.waitpid(self.process, 0)[1])
            self.kill()
        return self._status

    def poll(self) -> int | None:
        """The exit code if it has ended, else None."""
        if self._status is None:
            ended, status = os.waitpid(self.process, os.WNOHANG)
            if ended:
                self._status = supervisor.exit_status(status)
                self.kill()
        return self._status

    def signal(self, number: int) -> None:
        """Send a signal to the confined callable's process."""
        if self._status is None:
            os.kill(self.process, number)

    def kill(self) -> None:
        """End every process inside, at once."""
        lifeline, self.lifeline = self.lifeline, -1  # any thread may ask, at the same time
        if lifeline >= 0:
            os.close(lifeline)

    def alone(self) -> bool:
        """Whether the callable's process is the only one inside, its init aside."""
        return len(beneath(self.process, alive())) <= _INIT_AND_CALLABLE

    def why(self) -> str:
        """The traceback of a callable that failed before :meth:`Inside.started`, else nothing."""
        try:
            return str(handshake.receive(self._said)[0].get("failed", ""))
        except (ConfinementError, OSError):
            return ""

    def close(self) -> None:
        """Kill, wait, and close every descriptor."""
        self.kill()
        self.wait()
        self.listener.close()
        self._said.close()
        if self.memory >= 0:
            os.close(self.memory)
            self.memory = -1


@dataclass(frozen=True, slots=True)
class Confinement:
    """The plan: what is hidden, what stays visible, whether standard streams pass."""

    hide: tuple[str, ...] = ()
    """Files and folders the inside finds empty."""
    keep: tuple[str, ...] = ()
    """What stays visible, read-only, though it lies under ``/tmp``, ``/run`` or ``/dev/shm``."""
    standard_streams: bool = False
    """Pass 0, 1 and 2 on; otherwise they lead nowhere."""
    try_namespaces: bool = True
    """False plans for a container without them: Landlock and the filter alone."""

    def start(self, inside: Callable[[Inside], int]) -> Confined:
        """Run ``inside`` confined as well as this machine allows; returns when it is proved.

        Raises ConfinementError where the system has none of it (``not-linux``), where this
        process already has threads (``threads``), or where set-up failed.
        """
        if not on_linux():
            raise ConfinementError(
                "Only Linux on x86-64 and aarch64 can confine a process.",
                next="Use the ordinary kernel where policy allows it, or a Linux machine.",
                code="not-linux",
            )
        if threading.active_count() > 1 or len(os.listdir("/proc/self/task")) > 1:
            raise ConfinementError(
                "This process already has threads, and only one of them would be confined.",
                code="threads",
            )
        canaries = Canaries()
        try:
            failures: list[str] = []
            for wanted in namespaces.candidates(root=os.geteuid() == 0):
                if self.try_namespaces or not wanted.flags:
                    try:
                        confined = _Attempt(self, wanted, canaries).start(inside)
                        confined.refusals = tuple(failures)
                        return confined
                    except _NamespaceRefusedError as fault:
                        failures.append(str(fault))
            raise ConfinementError(
                f"The confinement could not be made: {'; '.join(failures)}.",
                next="Run `aisec doctor` to see what this machine allows.",
                code="confinement-failed",
            )
        finally:
            canaries.close()


class _NamespaceRefusedError(Exception):
    """The system refused a step; a lesser plan may do."""


@dataclass(slots=True)
class _Attempt:
    """One try at a plan with certain namespaces."""

    plan: Confinement
    wanted: Namespaces
    canaries: Canaries
    relay_path: str = ""
    memory: str = ""

    def start(self, inside: Callable[[Inside], int]) -> Confined:
        if not self.wanted.network:
            self.relay_path = f"/{randomness.token_urlsafe(32)}"
        name = ".aisec" if self.wanted.mount else f"aisec-{os.getpid()}-{os.urandom(8).hex()}"
        self.memory = f"{SHARED_MEMORY}/{name}"
        outer, inner = handshake.socket_pair()
        lifeline, held = os.pipe()
        surroundings = Surroundings(
            self.canaries.tcp_port, self.canaries.abstract_name, os.getpid(), self.plan.hide
        )
        sys.stdout.flush()
        sys.stderr.flush()
        process = os.fork()
        if process == 0:
            with _told(inner):
                self._supervisor(inside, inner, lifeline, surroundings)
        inner.close()
        os.close(lifeline)
        try:
            _ready, passed = _hear(outer)
            said, _none = _hear(outer)
        except BaseException:
            os.close(held)
            outer.close()
            os.waitpid(process, 0)
            raise
        level = Level(said["level"], tuple(said["missing"]))
        listener = socket.socket(fileno=passed[0])
        outer.setblocking(False)
        return Confined(process, level, listener, self.relay_path, passed[1], held, outer)

    # -- from here on in the child -------------------------------------------------------------

    def _supervisor(
        self,
        inside: Callable[[Inside], int],
        outside: socket.socket,
        lifeline: int,
        surroundings: Surroundings,
    ) -> NoReturn:
        os.setsid()
        descriptors.close_all_but({outside.fileno(), lifeline})
        with open("/proc/net/unix", encoding="utf-8", errors="surrogateescape") as file:
            sockets = listening_paths(file.read())
        try:
            namespaces.unshare(self.wanted)
        except OSError as fault:
            handshake.send(outside, {"refused": str(fault)})
            os._exit(_FAILED)

        def start_init() -> int:
            parent = os.pidfd_open(os.getpid())
            child = os.fork()
            if child == 0:
                with _told(outside):
                    self._init(inside, outside, parent, surroundings, sockets)
            os.close(parent)
            outside.close()
            descriptors.to_null()
            with suppress(OSError):
                capabilities.drop_all()
            limits.undumpable()
            return child

        supervisor.supervise(start_init, lifeline, None if self.wanted.mount else self.memory)

    def _init(
        self,
        inside: Callable[[Inside], int],
        outside: socket.socket,
        parent: int,
        surroundings: Surroundings,
        sockets: tuple[str, ...],
    ) -> NoReturn:
        supervisor.set_parent_death_signal()
        if _ended(parent):
            os._exit(_FAILED)
        os.close(parent)
        try:
            listener = self._make_world(sockets)
        except OSError as fault:
            handshake.send(outside, {"refused": str(fault)})
            os._exit(_FAILED)
        folder = os.open(self.memory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        handshake.send(outside, {"ready": True}, [listener.fileno(), folder])
        port = int(listener.getsockname()[1])
        listener.close()
        os.close(folder)
        missing = self._harden(outside.fileno(), port)
        supervisor.set_parent_death_signal()  # a change of credentials clears it
        kernel = os.fork()
        if kernel == 0:
            self._kernel(inside, outside, port, surroundings, missing)
        outside.close()
        if not self.plan.standard_streams:
            descriptors.to_null()
        supervisor.forward_signals(kernel)
        os._exit(supervisor.reap_until(kernel))

    def _make_world(self, sockets: tuple[str, ...]) -> socket.socket:
        """The view of the file system, the network, and the folders in memory."""
        if self.wanted.mount:
            make_view(View(self.plan.hide, self.plan.keep, self.wanted.pid), sockets)
        if self.wanted.network:
            namespaces.loopback_up()
        for folder in (self.memory, self._scratch, self._temporary):
            os.makedirs(folder, mode=0o700, exist_ok=True)
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        return listener

    @property
    def _scratch(self) -> str:
        return f"{SHARED_MEMORY}/scratch" if self.wanted.mount else f"{self.memory}/scratch"

    @property
    def _temporary(self) -> str:
        # Short, because programs put UNIX sockets there and their names end at 107 bytes.
        return TEMPORARY if self.wanted.mount else f"{self.memory}/t"

    def _harden(self, outside: int, port: int) -> tuple[str, ...]:
        """Everything that cannot be taken back; the parts this system does not have."""
        missing = list(self.wanted.missing)
        limits.no_core_dumps()
        clean = environment.inside(
            os.environ, memory=self.memory, scratch=self._scratch, temporary=self._temporary
        )
        os.environ.clear()
        os.environ.update(clean)
        sys.dont_write_bytecode = True
        tempfile.tempdir = None
        capabilities.no_new_privileges()
        version = landlock.abi()
        if version:
            landlock.restrict(self._ruleset(port), version)
        else:
            missing.append("Landlock")
        capabilities.drop_all()
        if not self.plan.standard_streams:
            descriptors.to_null()
        descriptors.close_all_but({outside})
        try:
            seccomp.install(own_network=self.wanted.network)
        except OSError:
            missing.append("seccomp")
        limits.undumpable()
        return tuple(missing)

    def _ruleset(self, port: int) -> landlock.Ruleset:
        devices = tuple(
            f"/dev/{name}"
            for name in os.listdir("/dev")
            if name in {"null", "zero", "full"} or name.startswith(("nvidia", "dri", "kfd"))
        )
        terminals = ("/dev/ptmx", "/dev/pts", "/dev/tty")
        if self.wanted.mount:
            return landlock.Ruleset(
                writable=(SHARED_MEMORY, TEMPORARY, *terminals, *devices),
                connect_ports=None if self.wanted.network else (port,),
            )
        return landlock.Ruleset(
            writable=(SHARED_MEMORY, *terminals, *devices),
            # To root, /proc has files that change the system.
            written_only=() if os.geteuid() == 0 else ("/proc",),
            readable=landlock.readable_without(self.plan.hide, _listing),
            connect_ports=(port,),
        )

    def _kernel(
        self,
        inside: Callable[[Inside], int],
        outside: socket.socket,
        port: int,
        surroundings: Surroundings,
        missing: tuple[str, ...],
    ) -> NoReturn:
        given = Inside(
            self.memory, self._scratch, port, self.relay_path, Level("none"), _outside=outside
        )
        code = _FAILED
        try:
            os.setpgid(0, 0)
            supervisor.default_signals()
            if answer := gpu.fault():
                missing = (*missing, f"the GPU (cuInit answers {answer})")
            essential = [name for name, (needed, _) in ATTEMPTS.items() if needed]
            given.level = judge(missing, open_ways(surroundings), essential)
            handshake.send(
                outside, {"level": given.level.name, "missing": list(given.level.missing)}
            )
            code = inside(given)
        except SystemExit as exit_asked:
            code = exit_asked.code if isinstance(exit_asked.code, int) else 1
        except BaseException:
            if given._outside is not None:
                with suppress(OSError):
                    handshake.send(outside, {"failed": traceback.format_exc()[-8000:]})
        finally:
            with suppress(Exception):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)


def _hear(outer: socket.socket) -> tuple[dict[str, Any], list[int]]:
    message, passed = handshake.receive(outer)
    if "refused" in message:
        raise _NamespaceRefusedError(message["refused"])
    if "failed" in message:
        raise ConfinementError(
            f"The confined process failed: {message['failed']}", code="confinement-failed"
        )
    return message, passed


@contextmanager
def _told(outside: socket.socket) -> Iterator[None]:
    """Never return into the parent's code; say outside what went wrong before it began."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            handshake.send(outside, {"failed": traceback.format_exc()[-8000:]})
    finally:
        os._exit(_FAILED)


def _ended(pidfd: int) -> bool:
    """Whether the process behind ``pidfd`` has already ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def _listing(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []
