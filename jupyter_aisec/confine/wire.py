"""Jupyter messages as they are on the wire: parted, checked, re-signed.

Pure. Source: the Jupyter messaging protocol 5.4, "The wire protocol": identities or a topic, the
delimiter, an HMAC of the next four frames (header, parent header, metadata, content; JSON), the
frames, and buffers the signature does not cover.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from ..errors import MalformedError, SignatureError, UsageError

__all__ = ["Channel", "Direction", "Message", "Signer", "new_message"]

Direction = Literal["in", "out"]
"""``in``: from a front end to the kernel; ``out``: from the kernel."""
Channel = Literal["shell", "control", "stdin", "iopub"]

_DELIMITER: Final = b"<IDS|MSG>"


@dataclass(frozen=True, slots=True)
class Message:
    """One message; the four parts are the exact bytes that were signed."""

    direction: Direction
    channel: Channel
    prefix: tuple[bytes, ...]
    """Identities of the way back, or the topic on ``iopub``."""
    header: bytes
    parent_header: bytes
    metadata: bytes
    content: bytes
    buffers: tuple[bytes, ...] = ()

    def json(self, part: Literal["header", "parent_header", "metadata", "content"]) -> Any:
        """A part, parsed. Raises MalformedError."""
        try:
            return json.loads(getattr(self, part))
        except (ValueError, RecursionError) as fault:
            raise MalformedError(f"The {part} of a message is not JSON.") from fault

    @property
    def type(self) -> str:
        """The message type, such as ``execute_request``."""
        return str(self.json("header").get("msg_type", ""))

    def with_parts(self, *, content: Any = None, metadata: Any = None) -> Message:
        """A copy with other content or metadata, given as what :func:`json.dumps` takes."""
        changed = self
        if content is not None:
            changed = replace(changed, content=json.dumps(content).encode())
        if metadata is not None:
            changed = replace(changed, metadata=json.dumps(metadata).encode())
        return changed


class Signer:
    """Checks and makes the signatures of one session."""

    def __init__(self, key: bytes, scheme: str = "hmac-sha256") -> None:
        """``key`` empty means that messages are not signed. Raises UsageError for a scheme that
        is not an HMAC we have."""
        self._key = key
        self._digest = scheme.removeprefix("hmac-")
        if not scheme.startswith("hmac-") or self._digest not in hashlib.algorithms_guaranteed:
            raise UsageError(f"{scheme!r} is not a signature scheme of Jupyter.")

    def _signature(self, parts: Sequence[bytes]) -> bytes:
        if not self._key:
            return b""
        return hmac.digest(self._key, b"".join(parts), self._digest).hex().encode()

    def part(self, direction: Direction, channel: Channel, frames: Sequence[bytes]) -> Message:
        """The frames as a message.

        Raises MalformedError if they are none, SignatureError if the session's key did not sign
        them.
        """
        try:
            at = frames.index(_DELIMITER)
        except ValueError as fault:
            raise MalformedError("A message without a delimiter.") from fault
        if len(frames) < at + 6:
            raise MalformedError("A message with parts missing.")
        signature, header, parent, metadata, content, *buffers = frames[at + 1 :]
        if not hmac.compare_digest(signature, self._signature((header, parent, metadata, content))):
            raise SignatureError("A message that this session's key did not sign.")
        prefix = tuple(frames[:at])
        return Message(
            direction, channel, prefix, header, parent, metadata, content, tuple(buffers)
        )

    def frames(self, message: Message) -> list[bytes]:
        """The message as frames, signed."""
        parts = [message.header, message.parent_header, message.metadata, message.content]
        signature = self._signature(parts)
        return [*message.prefix, _DELIMITER, signature, *parts, *message.buffers]


def new_message(
    direction: Direction, channel: Channel, kind: str, content: dict[str, Any], at: str
) -> Message:
    """A message of the keeper's own; ``at`` is the time in RFC 3339."""
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": kind,
        "username": "keeper",
        "session": uuid.uuid4().hex,
        "date": at,
        "version": "5.4",
    }
    return Message(
        direction,
        channel,
        (),
        json.dumps(header).encode(),
        b"{}",
        b"{}",
        json.dumps(content).encode(),
    )
