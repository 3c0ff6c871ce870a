"""A scripted HTTP server: for answers that a real broker never gives."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import msgspec


class Got(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Answer(NamedTuple):
    status: int = 200
    body: bytes = b"{}"
    kind: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    cut: int = 0  # bytes promised and not sent


def problem(status: int, **fields: Any) -> Answer:
    return Answer(status, msgspec.json.encode(fields), "application/problem+json")


class Scripted:
    """Gives the answers of ``script`` in turn (the last one for ever); keeps what was asked."""

    def __init__(self) -> None:
        self.got: list[Got] = []
        self.script: list[Answer] = [Answer()]
        self.route: Callable[[Got], Answer] = lambda _: (
            self.script.pop(0) if len(self.script) > 1 else self.script[0]
        )
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                got = Got(self.command, self.path, dict(self.headers), body)
                outer.got.append(got)
                answer = outer.route(got)
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.kind)
                self.send_header("Content-Length", str(len(answer.body) + answer.cut))
                for name, value in answer.headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer.body)
                if answer.cut:
                    self.close_connection = True

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def serving() -> Iterator[Scripted]:
    scripted = Scripted()
    thread = threading.Thread(target=scripted.server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield scripted
    finally:
        scripted.server.shutdown()
        thread.join()
        scripted.server.server_close()
