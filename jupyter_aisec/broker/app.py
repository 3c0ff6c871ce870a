"""The HTTP service: routes, their errors and limits put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from jupyter_aisec import __version__
from jupyter_aisec.broker.limits import BodyLimit
from jupyter_aisec.broker.problems import NoTraces, Problem, add_problem_handlers
from jupyter_aisec.broker.routes import (
    artifacts,
    events,
    grants,
    health,
    ledger,
    outputs,
    people,
    policy,
    refusals,
    runs,
)
from jupyter_aisec.broker.service import Broker
from jupyter_aisec.errors import PROBLEM_MEDIA_TYPE

__all__ = ["make_app"]

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_ERRORS = {
    400: "The request cannot be read.",
    401: "Who is asking is not known, or not whom they say.",
    403: "A rule said no.",
    404: "There is no such thing.",
    409: "Something that concerns it came in between, or it is done already.",
    413: "The request is too large.",
    422: "The content is not of its form.",
    500: "The broker met an error that it did not foresee.",
    503: "The ledger or the key store cannot be relied on: nothing is released.",
}


def make_app(broker: Broker) -> FastAPI:
    """The application for one broker, which it closes when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.stopping = asyncio.Event()
        app.state.streams = events.OpenStreams()
        yield
        broker.close()

    app = FastAPI(
        title="jupyter-aisec broker",
        summary="Decides grants and releases keys.",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation_id,
        responses={
            status: {"description": text, "model": Problem} for status, text in _ERRORS.items()
        },
    )
    app.state.broker = broker
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # as FastAPI documents it
    add_problem_handlers(app)
    for routes in (
        people, artifacts, grants, outputs, runs, refusals, policy, ledger, events, health
    ):  # fmt: skip
        app.include_router(routes.router)
    app.add_middleware(BodyLimit)
    app.add_middleware(NoTraces)
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document, with errors under the media type that they have (RFC 9457)."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title, version=app.version, summary=app.summary, routes=app.routes
        )
        for methods in document["paths"].values():
            for operation in methods.values():
                for status, response in operation["responses"].items():
                    if status >= "400":
                        response["content"] = {PROBLEM_MEDIA_TYPE: {"schema": _PROBLEM}}
        app.openapi_schema = document
    return app.openapi_schema


def _operation_id(route: APIRoute) -> str:
    return f"{route.tags[0]}-{route.name}" if route.tags else route.name
