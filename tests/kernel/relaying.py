"""A keeper's relay served in this process, without the confinement."""

from __future__ import annotations

import asyncio
import threading

from tornado.netutil import bind_sockets

from jupyter_aisec.confine.relay_http import HttpRelay
from jupyter_aisec.kernel.guardian import Guardian
from jupyter_aisec.kernel.observer import Observer
from jupyter_aisec.kernel.relay import Keeping, relay_routes


class Relay:
    """The relay in a thread; what it was told stays to be looked at."""

    def __init__(self, person, seat, beneath=""):
        self.opened, self.refused, self.killed = [], [], threading.Event()
        self.guardian = Guardian(person, self.killed.set)
        self.keeping = Keeping(
            person,
            seat=seat,
            isolation="partial",
            missing=("a network namespace",),
            observer=Observer(lambda: "2026-11-22T20:35:16.250Z"),
            guardian=self.guardian,
            opened=lambda *what: self.opened.append(what),
            refused=lambda *what: self.refused.append(what),
        )
        self.seat, self._beneath = seat, beneath
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)))
        self._thread.start()
        assert started.wait(20)

    async def _serve(self, started):
        (listener,) = bind_sockets(0, "127.0.0.1")
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}{self._beneath}"
        relay = HttpRelay(listener, self._beneath, relay_routes(self.keeping), lambda *what: None)
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        started.set()
        await self._stop.wait()
        await relay.close()

    def close(self):
        self.guardian.kernel_exited()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self.keeping.close()
