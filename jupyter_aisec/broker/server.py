"""Running the broker: one process, one home, one line when it is ready."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from jupyter_aisec.broker.app import make_app
from jupyter_aisec.broker.config import Config
from jupyter_aisec.broker.failpoints import failpoint
from jupyter_aisec.broker.service import Broker, open_broker
from jupyter_aisec.errors import ConflictError, UsageError
from jupyter_aisec.files import write_private
from jupyter_aisec.grants.policy import parse_policy
from jupyter_aisec.people.canonical import canonical

__all__ = ["ADDRESS", "check_address", "run_broker"]

ADDRESS = "broker.json"  # in the home: {"pid", "url"}
_PATIENCE = 5  # seconds for requests under way when the broker is told to stop


def run_broker(
    home: Path,
    listen: str = "127.0.0.1:8787",
    policy: str | None = None,
    config: Config | None = None,
    announce: Callable[[str, str], None] | None = None,
) -> None:
    """Serves the broker of ``home`` until SIGTERM or SIGINT.

    ``listen`` is ``host:port``; port 0 takes a free one, which ``<home>/broker.json`` tells.
    ``policy`` (TOML) must be the policy in force, if it is given. ``announce`` is called with
    the URL and where the keys are once requests are answered; else a line says so. Raises what
    :func:`open_broker` raises, UsageError for an address, ConflictError for a policy that
    is not in force.
    """
    address = _parse_address(listen)
    broker = open_broker(home, config or Config())
    try:
        if policy is not None:
            _require_in_force(broker, policy)
        failpoint("start.checked")
        listener = _listen(address)
    except BaseException:
        broker.close()
        raise
    host, port = listener.getsockname()[:2]
    url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    write_private(home / ADDRESS, canonical({"pid": os.getpid(), "url": url}))
    try:
        with listener:
            where = broker.key_store.where
            _Server(make_app(broker), lambda: (announce or _print)(url, where)).run(
                sockets=[listener]
            )
    finally:
        (home / ADDRESS).unlink(missing_ok=True)


class _Server(uvicorn.Server):
    """uvicorn without an access log (paths name what people ask for), that ends streams first."""

    def __init__(self, app: FastAPI, ready: Callable[[], None]) -> None:
        logging.getLogger("jupyter_aisec").setLevel(logging.INFO)
        super().__init__(
            uvicorn.Config(
                app,
                access_log=False,
                log_level="warning",
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=_PATIENCE,
            )
        )
        self._app = app
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self._ready()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but a signal that was handled is not raised again: exit 0."""
        with contextlib.suppress(KeyboardInterrupt):
            before = {number: signal.getsignal(number) for number in _SIGNALS}
            for number in _SIGNALS:
                signal.signal(number, self.handle_exit)
            try:
                yield
            finally:
                for number, handler in before.items():
                    signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        failpoint("stop.closing")
        self._loop.call_soon_threadsafe(self._app.state.stopping.set)
        super().handle_exit(sig, frame)


_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def _print(url: str, where: str) -> None:
    """The one line that says it is ready."""
    print(f"aisec broker: {url} (keys in {where})", flush=True)  # noqa: T201


def check_address(listen: str) -> None:
    """Raises UsageError unless a broker can listen there now."""
    _listen(_parse_address(listen)).close()


def _parse_address(listen: str) -> tuple[str, int]:
    host, _, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdigit() or int(port) > 65_535:
        raise UsageError(
            f"{listen[:80]!r} is not an address to listen on.",
            next="Write it like `--listen 127.0.0.1:0`; port 0 is a free one.",
            code="listen-invalid",
        )
    return host, int(port)


def _listen(address: tuple[str, int]) -> socket.socket:
    """A listening socket that is TCP by name: asyncio sets TCP_NODELAY on no other.

    Without it, each answer of two writes waits 40 ms for the client's acknowledgement.
    """
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise UsageError(
            f"The broker cannot listen on {address[0]}:{address[1]}: {error.strerror}.",
            next="Choose another: `--listen 127.0.0.1:0` takes a free port.",
            code="listen-failed",
        ) from error
    return listener


def _require_in_force(broker: Broker, policy: str) -> None:
    with broker.ledger.reading() as (state, _):
        same = parse_policy(policy) == state.policy
    if not same:
        raise ConflictError(
            "This policy is not the one in force: only signatures of admins change it.",
            next="Leave --policy away; `aisec policy explain` shows the one in force.",
            code="policy-not-in-force",
        )
