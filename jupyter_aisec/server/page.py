"""``POST /aisec/page``: our lab extension says that this page saves through this server.

A kernel's websocket that brings no such cookie belongs to a client that may write files of its
own (a remote VS Code, a script with the server's token): it gets sealed outputs. This is
against accidents: whoever wants to can ask for the cookie too.
"""

from __future__ import annotations

import re

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from tornado import web

__all__ = ["PageHandler", "is_our_page"]

_DAYS = 31
_VALUE = "page"


class PageHandler(APIHandler):
    """POST, so that it needs the XSRF token; answers with a cookie that this server signed."""

    auth_resource = "aisec"

    @web.authenticated
    @authorized
    async def post(self) -> None:
        self.set_signed_cookie(
            _cookie(self),
            _VALUE,
            expires_days=None,
            path=self.base_url,
            httponly=True,
            samesite="Strict",
            secure=self.request.protocol == "https",
        )
        self.set_status(204)
        self.finish()


def is_our_page(handler: JupyterHandler) -> bool:
    """Whether a request comes from a page in which our lab extension runs."""
    said = handler.get_signed_cookie(_cookie(handler), max_age_days=_DAYS)
    return said is not None and said == _VALUE.encode()


def _cookie(handler: JupyterHandler) -> str:
    # Cookies know no ports: servers on one host would share the name.
    return "aisec-page-" + re.sub("[^A-Za-z0-9]", "-", handler.request.host)
