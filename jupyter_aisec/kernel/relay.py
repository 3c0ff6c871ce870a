"""The keeper's relay: a secure kernel's only way out.

It listens inside the kernel's network namespace and speaks plain HTTP. What is on its list
is forwarded to the broker with the person's session, or done in the person's name; all else
is refused, and that is an event.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable
from contextlib import ExitStack
from typing import Any, TypeVar

import msgspec
import requests
from tornado import web
from tornado.iostream import StreamClosedError

from jupyter_aisec.client.views import ArtifactView, OutputSourceView, as_view
from jupyter_aisec.errors import (
    PROBLEM_MEDIA_TYPE,
    AisecError,
    MalformedError,
    RefusedError,
)
from jupyter_aisec.kernel.keeping import Asked, Keeping
from jupyter_aisec.kernel.listed import ARTIFACT, GRANT_KEYS, NAME, OUTPUT_KEYS, SEAL_ID, listed
from jupyter_aisec.kernel.shelf import Sink
from jupyter_aisec.people import dsse
from jupyter_aisec.sealed.manifest import read_manifest

__all__ = ["Keeping", "relay_routes"]

_T = TypeVar("_T")
_log = logging.getLogger("jupyter_aisec.keeper")
_STORED = rf"/store/({NAME})/({SEAL_ID})/(\d{{4,5}}\.sealed|manifest\.json|bundle\.json|model\.sig)"
_FORWARDED = (
    "aisec-action",
    "accept",
    "content-digest",
    "content-type",
    "signature",
    "signature-input",
)
_VERBS = frozenset({"request", "extend", "withdraw", "return", "bind", "wiped", "observe"})
_MAX_ASKED = 64 << 10  # bytes of what a kernel asks its keeper
_MAX_RECORD = 32 << 20
_LARGEST_FILE = 1 << 44  # bytes: what one sealed file may have at most
_LONGEST_RANGE = 64 << 20
_STATUS = {"not-found": 404, "sealed-file-missing": 404}


class _Registration(msgspec.Struct, frozen=True):
    """What the keeper looks at when a kernel registers a version; the broker reads the rest."""

    manifest: dsse.Envelope
    url: str


class _Opening(msgspec.Struct, frozen=True):
    """What the keeper looks at when a kernel asks for an output's key: grants, by seal id."""

    grants: dict[str, str]


class _Handler(web.RequestHandler):
    keeping: Keeping

    def initialize(self, keeping: Keeping) -> None:
        self.keeping = keeping

    def answer(self, value: Any) -> None:
        self.set_header("Content-Type", "application/json")
        self.finish(msgspec.json.encode(value))

    def problem(self, error: AisecError, status: int = 403) -> None:
        """Our errors as RFC 9457, so that the kernel raises what the keeper met."""
        self.set_status(_STATUS.get(error.code, status))
        self.set_header("Content-Type", PROBLEM_MEDIA_TYPE)
        self.finish(msgspec.json.encode(error.problem(self.get_status())))

    def refuse(self) -> None:
        """Not on the list."""
        method, path = str(self.request.method), self.request.path
        self.keeping.refused(method, path)
        self.problem(
            RefusedError(
                f"The secure kernel has no way to {method} {path[:200]}.",
                next="Do it in a terminal of your own, outside this kernel.",
                code="relay-refused",
            )
        )

    def write_error(self, status_code: int, **fault: Any) -> None:
        """A method that a route does not have is not on the list either."""
        if status_code == 405:
            self.refuse()
        else:
            super().write_error(status_code, **fault)

    def log_exception(self, *fault: Any) -> None:
        """By its kind alone: tornado's own line has the URL in it, which the kernel chose."""
        kind = getattr(fault[0], "__name__", "?") if fault else "?"
        _log.error("The relay met a fault: %s.", kind)

    async def guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except AisecError as error:
            self.problem(error)


class _Forward(_Handler):
    """The broker's own routes, as far as they are on the list."""

    async def get(self) -> None:
        await self._pass(None)

    async def post(self) -> None:
        await self._pass(self.request.body)

    async def _pass(self, body: bytes | None) -> None:
        request, path = self.request, self.request.path
        # As it came, with a query or without: nothing behind the keeper reads it otherwise.
        target = str(request.uri)
        if not listed(str(request.method), target, len(request.body)):
            return self.refuse()
        headers = {name: request.headers[name] for name in _FORWARDED if name in request.headers}
        manifest = None
        try:
            if body is not None:
                self.keeping.check_signer(headers.get("signature-input", ""))
                self._check_opening(path, body)
                if path == "/v1/artifacts":
                    manifest = await self.keeping.call(lambda: self._registration(body))
            response = await self.keeping.call(
                lambda: self.keeping.forward(str(request.method), target, headers, body)
            )
        except requests.RequestException:  # holds the request, and so the token: dropped
            return self.problem(self.keeping.person.http.unreachable(), status=503)
        except AisecError as error:
            return self.problem(error)
        if response.status_code == 200:
            try:
                await self.keeping.call(lambda: self._learn(path, response.content, body))
            except AisecError as error:
                return self.problem(error)
            if manifest is not None:
                self.keeping.shelf.registered(manifest)
        elif manifest is not None and response.status_code < 500:
            self.keeping.shelf.refused(manifest)
        self.set_status(response.status_code)
        self.set_header(
            "Content-Type", response.headers.get("Content-Type", "application/octet-stream")
        )
        if "Link" in response.headers:  # where a list goes on
            self.set_header("Link", response.headers["Link"])
        await self.finish(response.content)

    def _registration(self, body: bytes) -> dsse.Envelope:
        """The manifest that the kernel registers; raises unless it stored exactly that."""
        new = _read(body, _Registration)
        self.keeping.check_sealer(new.manifest)
        self.keeping.shelf.check_registration(new.manifest, new.url)
        return new.manifest

    def _check_opening(self, path: str, body: bytes) -> None:
        """Before keys are asked for: the ledger has one past, and each grant's end is guarded."""
        keys, output = GRANT_KEYS.fullmatch(path), OUTPUT_KEYS.fullmatch(path)
        if keys or output:
            self.keeping.check_past()
        for grant in [keys[1]] if keys else _read(body, _Opening).grants.values() if output else ():
            self.keeping.guardian.check_guarded(grant)

    def _learn(self, path: str, content: bytes, body: bytes | None) -> None:
        """From the catalog, where sealed files lie; from releases, what was opened.

        What cannot be learned from, or what nobody guards any more, is not passed on.
        """
        keeping = self.keeping
        if body is None:
            if ARTIFACT.fullmatch(path):
                version = as_view(msgspec.json.decode(content), ArtifactView)
                keeping.shelf.named(version)
                keeping.output_keys[version.seal_id] = read_manifest(version.manifest).output_key
        elif OUTPUT_KEYS.fullmatch(path):
            answer = msgspec.json.decode(content)
            keeping.watch(str(answer["checkpoint"]))
            for one in as_view(answer["sources"], tuple[OutputSourceView, ...]):
                keeping.guardian.check_guarded(one.grant)
                key = keeping.output_key(one.artifact, one.seal_id, one.version)
                keeping.opened(one.artifact, one.seal_id, key)
        elif match := GRANT_KEYS.fullmatch(path):
            answer = msgspec.json.decode(content)
            keeping.watch(str(answer["checkpoint"]))
            keeping.guardian.check_guarded(match[1])
            artifact, seal_id = str(msgspec.json.decode(body)["artifact"]), str(answer["seal_id"])
            keeping.opened(artifact, seal_id, keeping.output_key(artifact, seal_id))


class _Keeper(_Handler):
    """What the keeper does in the person's name."""

    async def get(self, verb: str) -> None:
        if verb == "about":
            return await self.guarded(self._about())
        if verb == "lease":
            return await self.guarded(self._lease())
        if verb == "events":
            return await self._events()
        return self.refuse()

    async def post(self, verb: str) -> None:
        if verb not in _VERBS:
            return self.refuse()
        await self.guarded(self._sign(verb))

    async def _sign(self, verb: str) -> None:
        if len(self.request.body) > (_MAX_RECORD if verb == "observe" else _MAX_ASKED):
            raise MalformedError("The keeper does not read as much as this.")
        asked = _read(self.request.body, Asked)
        self.answer(await self.keeping.call(lambda: self.keeping.sign(verb, asked)))

    async def _about(self) -> None:
        self.answer(await self.keeping.call(lambda: self.keeping.about))

    async def _lease(self) -> None:
        grant = self.get_query_argument("grant")
        self.keeping.check_grant(grant)
        self.answer(await self.keeping.call(lambda: self.keeping.guardian.lease(grant)))

    async def _events(self) -> None:
        """Server-sent events, until the kernel goes away."""
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-store")
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[object] = asyncio.Queue()

        def tell(event: object) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, event)

        self.keeping.guardian.subscribe(tell)
        try:
            self.write(": here\n\n")
            await self.flush()
            while True:
                try:
                    event = await asyncio.wait_for(queue.get(), 15)
                    self.write(b"data: " + msgspec.json.encode(event) + b"\n\n")
                except TimeoutError:
                    self.write(": still here\n\n")  # before the reader's patience ends
                await self.flush()
        except StreamClosedError:
            pass  # the kernel went away
        finally:
            self.keeping.guardian.unsubscribe(tell)


@web.stream_request_body
class _Store(_Handler):
    """Sealed files in and out; plaintext never passes here."""

    def initialize(self, keeping: Keeping) -> None:
        super().initialize(keeping)
        self._file: Sink | None = None
        self._stack = ExitStack()
        self._refused: Exception | None = None

    async def prepare(self) -> None:
        if self.request.method == "PUT":
            connection: Any = self.request.connection
            connection.set_max_body_size(_LARGEST_FILE)
            try:
                await self._begin(*self.path_args)
            except AisecError as error:  # said when all has come: the kernel does not listen yet
                self._refused = error

    async def _begin(self, artifact: str, seal_id: str, name: str) -> None:
        def begin() -> Sink:
            return self._stack.enter_context(self.keeping.shelf.create(artifact, seal_id, name))

        self._file = await self.keeping.call_store(begin)

    async def data_received(self, chunk: bytes) -> None:
        if (file := self._file) is not None:
            try:
                await self.keeping.call_store(lambda: file.write(chunk))
            except (AisecError, OSError) as error:
                self._file = None
                await self._drop(error)

    async def _drop(self, error: Exception) -> None:
        """Nothing of the file stays; what still comes is read over, and the answer last."""
        stack = self._stack
        try:
            await self.keeping.call_store(lambda: stack.__exit__(type(error), error, None))
            self._refused = error
        except AisecError as worded:  # an error of the system, as the store words it
            self._refused = worded

    async def put(self, artifact: str, seal_id: str, name: str) -> None:
        await self.guarded(self._end())

    async def _end(self) -> None:
        if self._refused is not None:
            raise self._refused
        self._file = None
        await self.keeping.call_store(self._stack.close)
        self.set_status(201)

    def on_connection_close(self) -> None:
        """The kernel went away in the middle: nothing stays."""
        if self._file is not None:
            self._file = None
            stack = self._stack
            error = ConnectionError("the kernel stopped sending")
            self.keeping.stores.submit(stack.__exit__, type(error), error, None)

    async def head(self, artifact: str, seal_id: str, name: str) -> None:
        await self.guarded(self._size(artifact, seal_id, name))

    async def _size(self, artifact: str, seal_id: str, name: str) -> None:
        source = await self.keeping.call_store(
            lambda: self.keeping.shelf.source(artifact, seal_id, name)
        )
        self.set_header("Content-Length", str(source.size))

    async def get(self, artifact: str, seal_id: str, name: str) -> None:
        await self.guarded(self._part(artifact, seal_id, name))

    async def _part(self, artifact: str, seal_id: str, name: str) -> None:
        match = re.fullmatch(r"bytes=(\d{1,15})-(\d{1,15})", self.request.headers.get("Range", ""))
        start, last = (int(match[1]), int(match[2])) if match else (0, -1)
        if not start <= last < start + _LONGEST_RANGE:
            raise MalformedError("Sealed files are read by ranges of up to 64 MiB.")

        def read() -> bytes:
            source = self.keeping.shelf.source(artifact, seal_id, name)
            scratch = memoryview(bytearray(last + 1 - start))
            return bytes(memoryview(source.fetch(start, last + 1, scratch)))

        data = await self.keeping.call_store(read)
        self.set_status(206)
        self.set_header("Content-Type", "application/octet-stream")
        await self.finish(data)


def _read(body: bytes, type_: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise MalformedError(f"The keeper cannot read this: {error}.") from error


def relay_routes(keeping: Keeping) -> list[Any]:
    """The relay's routes, for tornado; what none of them takes is to be refused."""
    given = {"keeping": keeping}
    return [
        (r"/v1/.*", _Forward, given),
        (r"/keeper/([a-z]+)", _Keeper, given),
        (_STORED, _Store, given),
    ]
