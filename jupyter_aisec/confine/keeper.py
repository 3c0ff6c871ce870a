"""The keeper: the small process outside that starts a secure kernel and stays beside it.

It is what a kernelspec's ``argv`` starts. It executes itself anew with a clean environment, forks
the confined inside, and only then reads what must not be known inside; it listens where the
front end's connection file says and passes the messages on, serves the kernel's only way out,
and ends with the kernel, whose exit code it gives.

>>> Keeper(connection_file, inside=run_ipython_kernel, serve=my_routes).run()
0

Nothing of it lies on a disk: the kernel's sockets are in the inside's own memory, reached through
a descriptor, so there is nothing to remove, not even after ``kill -9``.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ..errors import ConfinementError
from . import connection as connections
from . import limits
from .clean_start import Withheld, start_clean
from .confinement import Confined, Confinement, Inside
from .connection import Connection
from .hidden import needed, secrets
from .level import Level, LevelName, at_least

if TYPE_CHECKING:
    from .relay_http import RefusalObserver
    from .relay_zmq import MessageObserver, ZmqRelay

__all__ = ["Keeper", "Outside", "Service"]

_GRACE: Final = 5.0  # seconds between asking a kernel to end and killing it


@dataclass(slots=True)
class Outside:
    """What the keeper gives to whoever serves the kernel."""

    level: Level
    """What the confinement proved."""
    environment: Mapping[str, str]
    """The keeper's full environment, with the variables the inside never sees."""
    _confined: Confined = field(repr=False)
    _relay: ZmqRelay = field(repr=False)

    async def interrupt(self) -> None:
        """Interrupt what the kernel is doing, as the stop button does."""
        await self._relay.send("control", "interrupt_request", {})

    async def shut_down(self) -> None:
        """Ask the kernel to end, as "shut down" does."""
        await self._relay.send("control", "shutdown_request", {"restart": False})

    async def tell(self, kind: str, content: dict[str, Any]) -> None:
        """Publish a message to every front end, as if the kernel had."""
        await self._relay.tell(kind, content)

    def kill(self) -> None:
        """End every process inside, at once."""
        self._confined.kill()

    def alone(self) -> bool:
        """Whether the kernel has started no process that still lives."""
        return self._confined.alone()

    async def end(self, grace: float = _GRACE) -> None:
        """Ask the kernel's process to end (SIGTERM); kill it after ``grace`` seconds."""
        with suppress(ProcessLookupError):
            self._confined.signal(signal.SIGTERM)
        await asyncio.sleep(grace)
        self.kill()


def _unremarked(_method: str, _path: str) -> None:
    """Nobody asked to hear of refusals."""


@dataclass(frozen=True, slots=True)
class Service:
    """What runs outside for one kernel."""

    routes: Sequence[Any] = ()
    """The relay's routes, as :class:`tornado.web.Application` takes them; all else is refused."""
    observer: MessageObserver | None = None
    """Sees, and may replace, every message of every front end."""
    on_refused: RefusalObserver = _unremarked
    """Hears method and path of each request the relay refused."""
    finish: Callable[[int], Awaitable[None]] | None = None
    """Awaited with the exit code after the kernel has ended."""


def _nothing(_outside: Outside) -> Service:
    return Service()


@dataclass(slots=True)
class Keeper:
    """One kernel's keeper."""

    connection_file: str | Path
    inside: Callable[[Inside], int]
    """Runs confined, forked before ``serve`` is called; returns the exit code."""
    serve: Callable[[Outside], Service] = _nothing
    """Called outside, in the running event loop, after the fork; may start tasks."""
    hide: tuple[str, ...] = ()
    """Paths to hide besides the person's usual secrets."""
    keep: tuple[str, ...] = ()
    """Paths to keep visible besides what the Python environment needs."""
    least: LevelName = "none"
    """Below this level the kernel is not started."""
    try_namespaces: bool = True

    def run(self, withheld: Withheld | None = None) -> int:
        """Start the kernel and stay until it ends; its exit code.

        Executes the program anew first (see :func:`start_clean`), unless ``withheld`` shows that
        the caller did: so call it before anything that must not happen twice. Raises
        ConfinementError, NotFoundError, MalformedError.
        """
        withheld = withheld or start_clean()
        connection = connections.read(self.connection_file)
        plan = Confinement(
            hide=secrets(os.environ, self.hide),
            keep=(*needed(), *self.keep),
            try_namespaces=self.try_namespaces,
        )
        confined = plan.start(lambda inside: self._inside(inside, connection))
        try:
            limits.undumpable()
            if not at_least(confined.level.name, self.least):
                raise ConfinementError(
                    f"Policy asks for isolation {self.least}; this machine gives {confined.level}.",
                    next="Run `aisec doctor` to see what is missing.",
                    code="level-too-low",
                )
            environment = {**os.environ, **withheld.read()}
            return asyncio.run(self._outside(confined, connection, environment))
        finally:
            confined.close()

    def _inside(self, inside: Inside, connection: Connection) -> int:
        inside.connection_file = f"{inside.memory}/connection.json"
        descriptor = os.open(inside.connection_file, os.O_CREAT | os.O_WRONLY, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(connection.within(inside.memory), file)
        return self.inside(inside)

    async def _outside(
        self, confined: Confined, connection: Connection, environment: dict[str, str]
    ) -> int:
        # Imported only now: the inside imports its own at the same time, on another core.
        from .relay_http import HttpRelay
        from .relay_zmq import ZmqRelay

        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        pidfd = os.pidfd_open(confined.process)
        loop.add_reader(pidfd, ended.set)

        seen: list[MessageObserver | None] = [None]

        def observe(message: Any) -> Any:
            return None if seen[0] is None else seen[0](message)

        relay = ZmqRelay(connection, f"/proc/self/fd/{confined.memory}", observe)
        outside = Outside(confined.level, environment, confined, relay)
        tasks: set[asyncio.Future[None]] = set()

        def on_signal(action: Callable[[], Awaitable[None]]) -> Callable[[], None]:
            return lambda: tasks.add(asyncio.ensure_future(action()))

        loop.add_signal_handler(signal.SIGTERM, on_signal(outside.end))
        loop.add_signal_handler(signal.SIGHUP, on_signal(outside.end))
        loop.add_signal_handler(signal.SIGINT, on_signal(outside.interrupt))
        parent = _parent(environment)
        if parent is not None:
            loop.add_reader(parent, _once(loop, parent, on_signal(outside.end)))
        try:
            service = self.serve(outside)
            seen[0] = service.observer
            http = HttpRelay(
                confined.listener, confined.relay_path, service.routes, service.on_refused
            )
            relay.start()
            await ended.wait()
            await relay.drain()
            code = confined.wait()
            if why := confined.why():
                sys.stderr.write(f"The secure kernel did not start:\n{why}\n")
            await http.close()
            if service.finish is not None:
                await service.finish(code)
            return code
        finally:
            for watched in (pidfd, parent):
                if watched is not None:
                    loop.remove_reader(watched)
                    os.close(watched)
            for task in tasks:
                task.cancel()
            relay.close()


def _parent(environment: Mapping[str, str]) -> int | None:
    """A descriptor that tells when the front end that started us ends; None if it does not say.

    An ordinary kernel watches ``JPY_PARENT_PID`` itself; a confined one cannot see it.
    """
    number = environment.get("JPY_PARENT_PID", "")
    if not number.isdigit() or int(number) <= 1:
        return None
    with suppress(ProcessLookupError):
        return os.pidfd_open(int(number))
    return None


def _once(
    loop: asyncio.AbstractEventLoop, descriptor: int, action: Callable[[], None]
) -> Callable[[], None]:
    """``action``, the first time ``descriptor`` is ready: one that stays ready would spin."""

    def act() -> None:
        loop.remove_reader(descriptor)
        action()

    return act
