"""Connection files: where a front end expects its kernel.

Source: jupyter_client documentation, "Connection files"; CurveZMQ keys since jupyter_client 8.9.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from ..errors import MalformedError, NotFoundError
from .wire import Signer

__all__ = ["CHANNELS", "Connection", "parse", "read"]

CHANNELS: Final = ("shell", "iopub", "stdin", "control", "hb")


@dataclass(frozen=True, slots=True)
class Connection:
    """A connection file's content."""

    transport: str
    ip: str
    ports: Mapping[str, int]
    key: str
    signature_scheme: str = "hmac-sha256"
    kernel_name: str = ""
    curve_public: bytes | None = None
    curve_secret: bytes | None = None

    def address(self, channel: str) -> str:
        """The ZeroMQ address of a channel."""
        separator = ":" if self.transport == "tcp" else "-"
        return f"{self.transport}://{self.ip}{separator}{self.ports[channel]}"

    def signer(self) -> Signer:
        """Checks and makes this session's signatures."""
        return Signer(self.key.encode(), self.signature_scheme)

    def within(self, folder: str) -> dict[str, Any]:
        """The connection file for the same session on ipc sockets in ``folder``."""
        return {
            "transport": "ipc",
            "ip": f"{folder}/kernel",
            "key": self.key,
            "signature_scheme": self.signature_scheme,
            "kernel_name": self.kernel_name,
            **{f"{channel}_port": at for at, channel in enumerate(CHANNELS, 1)},
        }


def parse(text: str) -> Connection:
    """A connection file's text. Raises MalformedError."""
    try:
        info = json.loads(text)
        ports = {channel: int(info[f"{channel}_port"]) for channel in CHANNELS}
        connection = Connection(
            transport=str(info["transport"]),
            ip=str(info["ip"]),
            ports=ports,
            key=str(info["key"]),
            signature_scheme=str(info.get("signature_scheme") or "hmac-sha256"),
            kernel_name=str(info.get("kernel_name") or ""),
            curve_public=_bytes(info.get("curve_publickey")),
            curve_secret=_bytes(info.get("curve_secretkey")),
        )
    except (ValueError, KeyError, TypeError, RecursionError, AttributeError) as fault:
        raise MalformedError(
            "The connection file does not say where the front end listens.",
            next="Start the kernel from a Jupyter front end.",
            code="connection-file",
        ) from fault
    if connection.transport not in {"tcp", "ipc"} or not all(ports.values()):
        raise MalformedError(
            "The connection file names a transport or a port the keeper cannot listen on.",
            next="Use tcp or ipc, and ports above 0.",
            code="connection-file",
        )
    return connection


def _bytes(value: object) -> bytes | None:
    return str(value).encode("ascii") if value else None


def read(path: str | Path) -> Connection:
    """The connection file at ``path``. Raises NotFoundError, MalformedError."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as fault:
        raise NotFoundError(
            f"There is no connection file {path}.",
            next="Start the kernel from a Jupyter front end.",
            code="connection-file",
        ) from fault
    except UnicodeDecodeError as fault:
        raise MalformedError(f"{path} is not a connection file.", code="connection-file") from fault
    return parse(text)
