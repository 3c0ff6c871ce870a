"""Server-sent events: what is appended to the ledger about one's grants, as it happens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse

from jupyter_aisec.broker.identity import BrokerDep, SignedIn, SignedInDep, sees_grant
from jupyter_aisec.broker.routes.ledger import grant_of
from jupyter_aisec.broker.service import Broker

router = APIRouter(tags=["events"])

_QUIET = 15.0  # seconds after which a comment shows that the line is still there


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
    first = len(broker.ledger.entries) if after is None else after + 1
    stream = _stream(broker, who, first, request.app.state.stopping)
    return StreamingResponse(
        stream, media_type="text/event-stream", headers={"Cache-Control": "no-store"}
    )


async def _stream(
    broker: Broker, who: SignedIn, index: int, stopping: asyncio.Event
) -> AsyncIterator[str]:
    loop = asyncio.get_running_loop()
    news = asyncio.Event()
    unlisten = broker.ledger.listen(lambda: loop.call_soon_threadsafe(news.set))
    stop = asyncio.create_task(stopping.wait())
    try:
        yield ": listening\n\n"
        while not stopping.is_set():
            news.clear()
            found, index = await asyncio.to_thread(_since, broker, who, index)
            for event in found:
                yield f"id: {event['index']}\ndata: {json.dumps(event)}\n\n"
            woken = asyncio.create_task(news.wait())
            done, _ = await asyncio.wait(
                (woken, stop), timeout=_QUIET, return_when=asyncio.FIRST_COMPLETED
            )
            woken.cancel()
            if not done:
                yield ": still here\n\n"
    finally:
        stop.cancel()
        unlisten()


def _since(broker: Broker, who: SignedIn, index: int) -> tuple[list[dict[str, Any]], int]:
    with broker.ledger.reading() as (state, _):
        entries = broker.ledger.entries[index:]
        return [
            {"index": entry.index, "at": entry.at, "type": entry.type, "grant": grant}
            for entry in entries
            if (grant := grant_of(entry)) and sees_grant(who, state, grant)
        ], max(index, len(broker.ledger.entries))
