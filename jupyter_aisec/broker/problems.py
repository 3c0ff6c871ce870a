"""Every error as a problem document (RFC 9457), with nothing of the input in it.

``type`` is ``urn:jupyter-aisec:error:<code>``, ``detail`` what happened, ``next`` what to
do. A 422 names the place of each mistake and never the value: values may be secrets.
"""

from __future__ import annotations

import logging
import traceback
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jupyter_aisec.errors import (
    PROBLEM_MEDIA_TYPE,
    AisecError,
    ConflictError,
    IdentityError,
    KeyStoreError,
    LedgerError,
    MalformedError,
    NotFoundError,
    RefusedError,
    SealError,
    SignatureError,
    UsageError,
)

__all__ = ["NoTraces", "Problem", "add_problem_handlers", "problem", "problem_of"]

_log = logging.getLogger(__name__)

# The first class that fits decides.
_STATUS: tuple[tuple[type[AisecError], HTTPStatus], ...] = (
    (NotFoundError, HTTPStatus.NOT_FOUND),
    (IdentityError, HTTPStatus.UNAUTHORIZED),
    (ConflictError, HTTPStatus.CONFLICT),
    (RefusedError, HTTPStatus.FORBIDDEN),
    (SignatureError, HTTPStatus.FORBIDDEN),
    (MalformedError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (SealError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (UsageError, HTTPStatus.BAD_REQUEST),
    (LedgerError, HTTPStatus.SERVICE_UNAVAILABLE),
    (KeyStoreError, HTTPStatus.SERVICE_UNAVAILABLE),
    (AisecError, HTTPStatus.INTERNAL_SERVER_ERROR),
)
_CODES = {
    400: "request-malformed",
    404: "route-unknown",
    405: "method-not-allowed",
    413: "content-too-large",
    422: "content-malformed",
    500: "internal",
}


_DETAILS = {
    400: "The body is not JSON.",
    404: "There is nothing at this path.",
    405: "This path does not take this method.",
}
_NEXT = "/openapi.json describes every request."


class Problem(BaseModel):
    """An error (RFC 9457)."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(description="`urn:jupyter-aisec:error:<code>`")
    title: str
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="what happened")
    next: str = Field(description="what to do next, often a command")
    code: str = Field(description="the stable name of the fault")


def problem(
    status: int,
    detail: str,
    *,
    code: str | None = None,
    next: str = "",
    headers: dict[str, str] | None = None,
) -> JSONResponse:
    error = AisecError(detail, next=next, code=code or _CODES.get(status, "request-malformed"))
    return JSONResponse(
        error.problem(status),
        status,
        headers={"Cache-Control": "no-store", **(headers or {})},
        media_type=PROBLEM_MEDIA_TYPE,
    )


def problem_of(error: AisecError) -> JSONResponse:
    """The problem document of one of our errors."""
    status = next(status for type_, status in _STATUS if isinstance(error, type_))
    headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else None
    return problem(status, error.what, code=error.code, next=error.next or _NEXT, headers=headers)


def add_problem_handlers(app: FastAPI) -> None:
    @app.exception_handler(AisecError)
    def ours(_: Request, error: AisecError) -> JSONResponse:
        if isinstance(error, LedgerError | KeyStoreError):
            _log.error("%s: %s", error.code, error.what)
        return problem_of(error)

    @app.exception_handler(HTTPException)
    def theirs(_: Request, error: HTTPException) -> JSONResponse:
        status = error.status_code
        detail = _DETAILS.get(status, f"{HTTPStatus(status).phrase}.")
        return problem(status, detail, next=_NEXT, headers=dict(error.headers or {}))

    @app.exception_handler(RequestValidationError)
    def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        return problem(
            422,
            "The request is not of its form: "
            + "; ".join(sorted(set(map(_place, error.errors())))),
            next=_NEXT,
        )


def _place(mistake: dict[str, object]) -> str:
    """``body.envelope.payload (missing)``: names of ours only, never what was sent."""
    location = mistake["loc"]
    parts = [str(part) for part in location] if isinstance(location, tuple) else []
    if mistake["type"] in ("extra_forbidden", "json_invalid"):
        parts = parts[:-1]  # the last one is the sender's
    return f"{'.'.join(parts)} ({mistake['type']})"


class NoTraces:
    """The outermost layer: an unforeseen exception becomes a 500 and a log line without values.

    Messages of exceptions quote what was sent; the log gets the type and the places alone.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # the last resort, and logged
            places = traceback.extract_tb(error.__traceback__)
            where = " < ".join(f"{place.name}:{place.lineno}" for place in reversed(places[-6:]))
            _log.error("unforeseen %s at %s", type(error).__name__, where)
            if started:
                raise ConnectionAbortedError from None
            answer = problem(
                500,
                "The broker met an error that it did not foresee.",
                next="Look into the broker's log, and report it.",
            )
            await answer(scope, receive, send)
        return None
