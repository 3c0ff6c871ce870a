"""Server-sent events (WHATWG HTML, "Server-sent events") from the broker or the relay."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from jupyter_aisec.client.http import Http
from jupyter_aisec.client.views import as_view
from jupyter_aisec.errors import BrokerUnreachableError

__all__ = ["Event", "follow", "parse_events"]

PATIENCE_SECONDS = 60.0  # how long a broker may be away before the reader is told
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 5.0


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something was logged: the entry's index, its time and type, and the grant concerned.

    ``break_glass`` says that the glass was broken for that grant: nobody was asked before.
    ``person`` is who an alert is about; others name nobody.
    """

    index: int
    at: str
    type: str
    grant: str | None = None
    break_glass: bool = False
    person: str | None = None


def parse_events(lines: Iterator[str]) -> Iterator[Any]:
    """The parsed ``data`` of each event; comments and other fields are skipped."""
    data: list[str] = []
    for line in lines:
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            yield msgspec.json.decode("\n".join(data))
            data.clear()


def follow(http: Http, path: str, after: int | None) -> Iterator[Event]:
    """Events after the entry ``after``, without end; a broken stream is taken up where it broke.

    The stream is open on return: nothing that happens from then on is missed, and what the
    broker says instead of opening it is raised at once. Later on, BrokerUnreachableError is
    raised when the broker stays away for a minute.
    """
    return _follow(http, path, after, http.lines(path, _params(after)))


def _follow(http: Http, path: str, after: int | None, lines: Iterator[str]) -> Iterator[Event]:
    stream: Iterator[str] | None = lines
    wait, away_since = _FIRST_WAIT, None
    while True:
        try:
            for data in parse_events(stream or http.lines(path, _params(after))):
                event = as_view(data, Event)
                after, wait, away_since = event.index, _FIRST_WAIT, None
                yield event
        except BrokerUnreachableError:
            away_since = away_since or time.monotonic()
            if time.monotonic() - away_since > PATIENCE_SECONDS:
                raise
        stream = None
        time.sleep(wait)
        wait = min(2 * wait, _LONGEST_WAIT)


def _params(after: int | None) -> dict[str, int]:
    return {} if after is None else {"after": after}
