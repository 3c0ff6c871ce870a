"""The kernel's only way out: an HTTP server outside, listening on a socket made inside.

The routes are the caller's. Whatever they do not name is refused, and an event.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Sequence
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.web import Application, RequestHandler

from jupyter_aisec.errors import PROBLEM_MEDIA_TYPE, RefusedError

__all__ = ["HttpRelay", "RefusalObserver"]

RefusalObserver = Callable[[str, str], None]
"""Called with method and path of each request no route takes."""


class _Refused(RequestHandler):
    """403, as a problem document (RFC 9457)."""

    SUPPORTED_METHODS = (*RequestHandler.SUPPORTED_METHODS, "CONNECT", "TRACE")

    def initialize(self, on_refused: RefusalObserver) -> None:
        self._on_refused = on_refused

    def prepare(self) -> None:
        self._on_refused(self.request.method or "", self.request.path)
        refusal = RefusedError(
            f"The relay does not pass {self.request.method} {self.request.path}.",
            next="Ask an admin whether policy should name this host.",
            code="relay-refused",
        )
        self.set_status(403)
        self.set_header("Content-Type", PROBLEM_MEDIA_TYPE)
        self.finish(json.dumps(refusal.problem(403)))

    def check_xsrf_cookie(self) -> None:
        """No browser comes here."""


class _Beneath(Application):
    """An application whose URLs all start with a secret path."""

    def __init__(self, routes: list[Any], *, base: str, **settings: Any) -> None:
        super().__init__(routes, **settings)
        self._base = base

    def find_handler(self, request: HTTPServerRequest, **more: Any) -> Any:
        if self._base:
            if not request.path.startswith(self._base + "/"):
                return self.get_handler_delegate(
                    request, _Refused, self.settings["default_handler_args"]
                )
            request.path = request.path.removeprefix(self._base)
            request.uri = (request.uri or "").removeprefix(self._base)
        return super().find_handler(request, **more)


class HttpRelay:
    """The relay; make it inside a running event loop."""

    def __init__(
        self,
        listener: socket.socket,
        path: str,
        routes: Sequence[Any],
        on_refused: RefusalObserver,
    ) -> None:
        """Serve ``routes`` (as :class:`tornado.web.Application` takes them) on ``listener``.

        ``path`` is what every URL must start with; routes are matched without it.
        """
        application = _Beneath(
            list(routes),
            base=path,
            default_handler_class=_Refused,
            default_handler_args={"on_refused": on_refused},
            log_function=_quiet,
        )
        self._server = HTTPServer(application)
        listener.setblocking(False)
        self._server.add_socket(listener)

    async def close(self) -> None:
        """Stop listening and end the open connections."""
        self._server.stop()
        await self._server.close_all_connections()


def _quiet(_handler: RequestHandler) -> None:
    """The access log would go to the server's log file, with names of artifacts in it."""
