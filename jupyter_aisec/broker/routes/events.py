"""Server-sent events: what is appended to the ledger about one's grants, as it happens.

Admins and approvers hear of alerts, too.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from jupyter_aisec.broker.identity import (
    BrokerDep,
    SignedIn,
    SignedInDep,
    sees_grant,
    signed_in,
)
from jupyter_aisec.broker.routes.ledger import grants_of
from jupyter_aisec.broker.service import Broker
from jupyter_aisec.errors import AisecError, RefusedError
from jupyter_aisec.ledger.bodies import AlertRaised
from jupyter_aisec.ledger.entry import Entry

router = APIRouter(tags=["events"])

_ALERT = "alert.raised"
_QUIET = 3.0  # seconds after which a comment shows that the line is there; the session is too
PER_SESSION: Final = 8  # streams at one time
IN_ALL: Final = 256


@router.get(
    "/v1/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
    summary="Entries about your grants, as server-sent events",
)
async def events(
    request: Request,
    broker: BrokerDep,
    who: SignedInDep,
    after: Annotated[int | None, Query(ge=-1, le=2**53)] = None,
) -> StreamingResponse:
    """``after``: the index of the last entry seen; left out, only what comes from now on."""
    streams: OpenStreams = request.app.state.streams
    first = len(broker.ledger.entries) if after is None else after + 1
    stream = _stream(broker, who.session, first, request.app.state.stopping)
    return _EventStream(stream, streams.one(who.session))


class OpenStreams:
    """How many streams there are: each costs a task, and a look at every entry."""

    def __init__(self) -> None:
        self._of: Counter[str] = Counter()

    @contextmanager
    def one(self, session: str) -> Iterator[None]:
        """A stream for as long as the block lasts; raises RefusedError (``streams-too-many``)."""
        if self._of[session] >= PER_SESSION:
            raise RefusedError(
                f"This session has {PER_SESSION} event streams already: one for each secure "
                "kernel, and for each command that waits.",
                next="Close one, or take a new session: `aisec login`.",
                code="streams-too-many",
            )
        if self._of.total() >= IN_ALL:
            raise RefusedError(
                f"The broker has {IN_ALL} event streams already, the most it opens.",
                next="Try again when somebody has closed a notebook.",
                code="streams-too-many",
            )
        self._of[session] += 1
        try:
            yield
        finally:
            self._of[session] -= 1
            self._of += Counter()  # drops the zeros


class _EventStream(StreamingResponse):
    """A stream that has its room, or is answered with why not."""

    media_type = "text/event-stream"

    def __init__(self, content: AsyncIterator[str], room: AbstractContextManager[None]) -> None:
        super().__init__(content, headers={"Cache-Control": "no-store"})
        self._room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._room:
            await super().__call__(scope, receive, send)


async def _stream(
    broker: Broker, session: str, index: int, stopping: asyncio.Event
) -> AsyncIterator[str]:
    """Ends with the session, whatever it was that ended it; or where the ledger fails."""
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    unlisten = broker.ledger.listen(lambda: loop.call_soon_threadsafe(news.set))
    stop = asyncio.create_task(stopping.wait())
    stop.add_done_callback(lambda _: news.set())
    try:
        yield ": listening\n\n"
        while not stopping.is_set():
            news.clear()
            try:
                found, index = await asyncio.to_thread(_since, broker, session, index)
            except AisecError:
                return  # whoever asks again is told why
            for event in found:
                yield f"id: {event['index']}\ndata: {json.dumps(event)}\n\n"
            try:
                await asyncio.wait_for(news.wait(), _QUIET)
            except TimeoutError:
                yield ": still here\n\n"
    finally:
        stop.cancel()
        unlisten()


def _since(broker: Broker, session: str, index: int) -> tuple[list[dict[str, Any]], int]:
    with broker.ledger.reading() as (state, now):
        who = signed_in(state, session, now)
        entries = broker.ledger.entries[index:]
        found: list[dict[str, Any]] = [
            {
                "index": entry.index,
                "at": entry.at,
                "type": entry.type,
                "grant": seen[0],
                "break_glass": state.grants[seen[0]].break_glass,  # who hears it need not ask
            }
            for entry in entries
            if entry.type != _ALERT
            if (seen := [one for one in grants_of(entry) if sees_grant(who, state, one)])
        ]
        found += _alerts(who, entries)
        found.sort(key=lambda event: event["index"])
        return found, max(index, len(broker.ledger.entries))


def _alerts(who: SignedIn, entries: Iterable[Entry]) -> list[dict[str, Any]]:
    """The alerts, for those who look after everybody's grants; they are about no grant."""
    if not {"admin", "approver"} & set(who.roles):
        return []
    return [
        {"index": entry.index, "at": entry.at, "type": _ALERT, "grant": None, "person": body.person}
        for entry in entries
        if isinstance(body := entry.content(), AlertRaised)
    ]
