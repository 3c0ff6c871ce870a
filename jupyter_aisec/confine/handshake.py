"""What the inside says to the outside before it starts: one message, a few descriptors.

The socket is closed before any code of the person runs: afterwards nothing leads outside but the
relay.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Sequence
from typing import Any, Final

from ..errors import ConfinementError

__all__ = ["receive", "send", "socket_pair"]

_LONGEST: Final = 65536


def socket_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends that keep messages apart."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(end: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send ``message`` and copies of ``descriptors``."""
    socket.send_fds(end, [json.dumps(message).encode()[:_LONGEST]], list(descriptors))


def receive(end: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """The next message; raises ConfinementError if the other end is gone without a word."""
    content, descriptors, _flags, _address = socket.recv_fds(end, _LONGEST, 8)
    try:
        message = json.loads(content)
    except ValueError as fault:
        for descriptor in descriptors:
            os.close(descriptor)
        raise ConfinementError(
            "The confined process ended before it was ready.", code="confinement-ended"
        ) from fault
    return message, descriptors
