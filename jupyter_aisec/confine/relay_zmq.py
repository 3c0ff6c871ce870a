"""The front end's five channels, passed on to the confined kernel's own sockets.

Front ends connect to ZeroMQ sockets here exactly as they would to a kernel; the kernel listens on
UNIX sockets in its private memory. Every message is parted and its signature checked on the way,
so an observer sees what the kernel is asked and what it answers, and may replace it. Messages the
session's key did not sign go nowhere, as the other side would drop them.

Identities: the kernel answers ``[our identity, the front end's identity]``. The same identity of
ours on ``shell``, ``control`` and ``stdin`` lets a question on ``stdin`` find the front end that
asked on ``shell``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final

import zmq
import zmq.asyncio

from ..errors import ConfinementError, MalformedError, SignatureError
from .connection import CHANNELS, Connection
from .wire import Channel, Direction, Message, new_message

__all__ = ["MessageObserver", "ZmqRelay"]

MessageObserver = Callable[[Message], Message | None]
"""Sees every message; what it returns, if anything, is passed on instead, signed anew."""

_IDENTITY: Final = b"aisec-keeper"
_LINGER: Final = 1000  # milliseconds
_SUBSCRIBE: Final = b"\x01"
_SETTLE: Final = 0.01  # seconds a message in the operating system needs to reach ZeroMQ


def _passed_unseen(_message: Message) -> None:
    return None


class ZmqRelay:
    """The relay; make it inside a running event loop."""

    def __init__(
        self, connection: Connection, folder: str, observer: MessageObserver | None = None
    ) -> None:
        """Listen where ``connection`` says; ``folder`` holds the kernel's sockets.

        Raises ConfinementError if an address is taken.
        """
        self._connection = connection
        self._signer = connection.signer()
        self._observer = observer or _passed_unseen
        self._context = zmq.asyncio.Context()
        self._inner_address = f"ipc://{folder}/kernel-"
        self._tasks: list[asyncio.Task[None]] = []
        self._fronts: dict[str, Any] = {}
        self._inners: dict[str, Any] = {}
        try:
            for channel, front, inner in (
                ("shell", zmq.ROUTER, zmq.DEALER),
                ("control", zmq.ROUTER, zmq.DEALER),
                ("stdin", zmq.ROUTER, zmq.DEALER),
                ("hb", zmq.ROUTER, zmq.DEALER),
                ("iopub", zmq.XPUB, zmq.XSUB),
            ):
                self._fronts[channel] = self._front(channel, front)
                self._inners[channel] = self._inner(channel, inner)
        except zmq.ZMQError as fault:
            self._context.destroy(linger=0)
            raise ConfinementError(
                f"The kernel's address is not free: {fault}.",
                next="Start the kernel again.",
                code="address-taken",
            ) from fault

    def _socket(self, kind: int) -> Any:
        made = self._context.socket(kind)
        made.linger = _LINGER
        made.sndhwm = made.rcvhwm = 0  # never drop: a lost output is a lost result
        return made

    def _front(self, channel: str, kind: int) -> Any:
        made = self._socket(kind)
        if kind == zmq.ROUTER:
            made.router_handover = 1
        else:
            made.xpub_verbose = 1
        if self._connection.curve_secret is not None:
            made.curve_secretkey = self._connection.curve_secret
            made.curve_publickey = self._connection.curve_public
            made.curve_server = True
        made.bind(self._connection.address(channel))
        return made

    def _inner(self, channel: str, kind: int) -> Any:
        made = self._socket(kind)
        made.reconnect_ivl = 10  # milliseconds; the kernel is not there yet
        if kind == zmq.DEALER:
            made.identity = _IDENTITY
        made.connect(f"{self._inner_address}{_INNER_PORTS[channel]}")
        return made

    def start(self) -> None:
        """Begin passing messages."""
        fronts, inners = self._fronts, self._inners
        self._inners["iopub"].send(_SUBSCRIBE)
        pumps = [
            self._pump_hb(fronts["hb"], inners["hb"]),
            self._pump_hb(inners["hb"], fronts["hb"]),
        ]
        for channel in ("shell", "control", "stdin"):
            pumps.append(self._pump("in", channel, fronts[channel], inners[channel]))
            pumps.append(self._pump("out", channel, inners[channel], fronts[channel]))
        pumps.append(self._pump("out", "iopub", inners["iopub"], fronts["iopub"]))
        pumps.append(self._welcome(fronts["iopub"]))
        self._tasks = [asyncio.ensure_future(pump) for pump in pumps]

    async def _pump_hb(self, source: Any, target: Any) -> None:
        while True:
            await target.send_multipart(await source.recv_multipart())

    async def _pump(self, direction: Direction, channel: Channel, source: Any, target: Any) -> None:
        while True:
            await self._pass(direction, channel, await source.recv_multipart(), target)

    async def _pass(
        self, direction: Direction, channel: Channel, frames: list[bytes], target: Any
    ) -> None:
        try:
            message = self._signer.part(direction, channel, frames)
        except (MalformedError, SignatureError):
            return
        changed = self._observer(message)
        if changed is not None and changed is not message:
            frames = self._signer.frames(changed)
        with suppress(zmq.ZMQError):  # a front end that has gone
            await target.send_multipart(frames)

    async def _welcome(self, front: Any) -> None:
        """Greet each subscriber as a kernel does (JEP 65); the kernel sees only one, us."""
        while True:
            frame = await front.recv()
            if frame[:1] == _SUBSCRIBE:
                topic = frame[1:]
                content = {"subscription": topic.decode(errors="replace")}
                hello = new_message("out", "iopub", "iopub_welcome", content, _now())
                await front.send_multipart([topic, *self._signer.frames(hello)])

    async def send(self, channel: Channel, kind: str, content: dict[str, Any]) -> None:
        """Ask the kernel something of the keeper's own; the answer goes nowhere."""
        message = new_message("in", channel, kind, content, _now())
        # The empty identity of a front end that does not exist: its answer is not routable.
        frames = [b"", *self._signer.frames(message)]
        await self._inners[channel].send_multipart(frames)

    async def tell(self, kind: str, content: dict[str, Any]) -> None:
        """Publish a message of the keeper's own to every front end, as if the kernel had."""
        message = new_message("out", "iopub", kind, content, _now())
        await self._fronts["iopub"].send_multipart(self._signer.frames(message))

    async def drain(self) -> None:
        """Return when what the ended kernel has said is passed on; nothing new can come."""
        idle = 0
        while idle < 3:
            await asyncio.sleep(_SETTLE)
            waiting = any(inner.get(zmq.EVENTS) & zmq.POLLIN for inner in self._inners.values())
            idle = 0 if waiting else idle + 1

    def close(self) -> None:
        """Stop; what was sent still has a second to leave."""
        for task in self._tasks:
            task.cancel()
        for inner in self._inners.values():
            inner.close(linger=0)
        for front in self._fronts.values():
            front.close()
        self._context.term()


_INNER_PORTS: Final = {channel: at for at, channel in enumerate(CHANNELS, 1)}


def _now() -> str:
    return datetime.now(UTC).isoformat()
