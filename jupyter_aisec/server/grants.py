"""``/aisec/grants``: the grants of the person whose home this server uses, for its pages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from tornado import web

from jupyter_aisec.client import GrantView
from jupyter_aisec.errors import AisecError

__all__ = ["FEED", "GrantsFeed", "GrantsHandler", "Person"]

FEED = "aisec_grants"
"""The setting of the web application under which the handler finds its GrantsFeed."""
_FRESH_SECONDS = 2.0
_SHOWN = (
    "id",
    "state",
    "ended_why",
    "artifacts",
    "reason",
    "approvers",
    "ends_at",
    "warn",
    "pending_until",
    "break_glass",
    "review_by",
)


class Person(Protocol):
    """What is needed of a PersonClient."""

    @property
    def person(self) -> str: ...

    def grants(self, state: str | None = None) -> tuple[GrantView, ...]: ...


class GrantsFeed:
    """Asks the broker at most once in two seconds, however many pages ask.

    ``connect`` makes the client when it is first needed: a server starts without a broker, and
    a person may log in while it runs.
    """

    def __init__(self, connect: Callable[[], Person]) -> None:
        self._connect = connect
        self._client: Person | None = None
        self._lock = asyncio.Lock()
        self._answer: dict[str, Any] = {}
        self._asked_at = float("-inf")

    async def answer(self) -> dict[str, Any]:
        """``{"grants": […], "now": …, "problem": null}``, or what stands in the way."""
        async with self._lock:
            if time.monotonic() - self._asked_at > _FRESH_SECONDS:
                self._answer = await asyncio.to_thread(self._ask)
                self._asked_at = time.monotonic()
            return self._answer

    def _ask(self) -> dict[str, Any]:
        try:
            if self._client is None:
                self._client = self._connect()
            person = self._client.person
            mine = [view for view in self._client.grants() if view.person == person]
        except AisecError as error:
            self._client = None  # the next one reads the home and its broker anew
            problem = {"code": error.code, "what": error.what, "next": error.next}
            return {"grants": [], "now": None, "problem": problem}
        return {
            "grants": [{name: getattr(view, name) for name in _SHOWN} for view in mine],
            "now": mine[0].now if mine else None,
            "problem": None,
        }


class GrantsHandler(APIHandler):
    """GET: my grants. Reading them needs a logged-in user who may read from this server."""

    auth_resource = "aisec"

    @web.authenticated
    @authorized
    async def get(self) -> None:
        feed: GrantsFeed = self.settings[FEED]
        self.set_header("Cache-Control", "no-store")
        self.finish(await feed.answer())
