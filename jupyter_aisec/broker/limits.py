"""How large a request may be: a body is read up to a limit before anything looks at it."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jupyter_aisec.broker.problems import problem

__all__ = ["LARGE", "SMALL", "BodyLimit"]

SMALL = 1 << 20  # bytes
LARGE = 6 << 20  # bytes: a manifest of 1 MiB and 1,024 encrypted keys, in base64
_LARGE_PATHS = frozenset({"/v1/artifacts", "/v1/runs"})


class BodyLimit:
    """Answers 413 for a larger body, whether announced or streamed."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        limit = LARGE if scope["path"] in _LARGE_PATHS else SMALL
        announced = dict(scope["headers"]).get(b"content-length", b"0")
        body = bytearray()
        too_large = not announced.isdigit() or int(announced[:20]) > limit
        more = not too_large
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            too_large = len(body) > limit
            more = message.get("more_body", False) and not too_large
        if too_large:
            answer = problem(
                413,
                f"The request is larger than {limit:,} bytes.",
                next="Send less at a time.",
                headers={"Connection": "close"},
            )
            return await answer(scope, receive, send)
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": bytes(body), "more_body": False}

        return await self._app(scope, replay, send)
