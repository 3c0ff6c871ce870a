"""The keeper's relay: a secure kernel's only way out.

It listens inside the kernel's network namespace and speaks plain HTTP. What is on its list
is forwarded to the broker with the person's session, or done in the person's name; all else
is refused, and that is an event. It never approves, and never touches people or policy.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import msgspec
import requests
from tornado import web

from jupyter_aisec.client.views import ArtifactView, as_view
from jupyter_aisec.errors import (
    AisecError,
    BrokerUnreachableError,
    MalformedError,
    NotFoundError,
    RefusedError,
)
from jupyter_aisec.kernel.desk import About
from jupyter_aisec.people import dsse
from jupyter_aisec.people.keys import PublicKey
from jupyter_aisec.provenance.facts import Observation, Record
from jupyter_aisec.sealed.manifest import read_manifest
from jupyter_aisec.sealed.store import UrlFolder, version_url

if TYPE_CHECKING:
    from jupyter_aisec.client.person import PersonClient
    from jupyter_aisec.confine.level import LevelName
    from jupyter_aisec.kernel.guardian import Guardian
    from jupyter_aisec.kernel.observer import Observer

__all__ = ["Keeping", "relay_routes"]

_T = TypeVar("_T")
_GRANT = r"grant_[0-9A-Z]{26}"
_NAME = r"(?:dataset|weights|results)/[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_GET = re.compile(
    rf"/v1/(?:whoami|store|trust|artifacts(?:/{_NAME})?|grants(?:/{_GRANT})?"
    r"|runs(?:/run_[0-9A-Z]{26})?|bundles/seal_[0-9A-Z]{26}|ledger/[a-z0-9/.]{1,100})"
)
_POST = re.compile(rf"/v1/(?:artifacts|runs|grants/{_GRANT}/keys)")
_STORED = (
    rf"/store/({_NAME})/(seal_[0-9A-Z]{{26}})"
    r"/(\d{4,5}\.sealed|manifest\.json|bundle\.json|model\.sig)"
)
_FORWARDED = (
    "aisec-action",
    "accept",
    "content-digest",
    "content-type",
    "signature",
    "signature-input",
)
_VERBS = frozenset({"request", "extend", "withdraw", "return", "bind", "wiped", "observe"})
_LARGEST_FILE = 1 << 44  # bytes: what one sealed file may have at most
_LONGEST_RANGE = 64 << 20
_STATUS = {"not-found": 404, "sealed-file-missing": 404}


class _Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a kernel may ask the keeper to sign, all verbs together."""

    grant: str = ""
    artifacts: tuple[str, ...] = ()
    seconds: int = 0
    reason: str = ""
    kernel_key: PublicKey | None = None
    release_key: bytes = b""
    how: str = "wiped"
    record: dsse.Envelope | None = None


class Keeping:
    """What the relay acts on: the person, the observer, the guardian of leases."""

    def __init__(
        self,
        person: PersonClient,
        *,
        seat: str,
        isolation: LevelName,
        missing: tuple[str, ...],
        observer: Observer,
        guardian: Guardian,
        opened: Callable[[str, str, bytes], None],
        refused: Callable[[str, str], None],
    ) -> None:
        """``opened(artifact, seal_id, output_key)`` hears of each key release,
        ``refused(method, path)`` of each request that is not on the list."""
        self.person = person
        self._seat = seat
        self._isolation = isolation
        self._missing = missing
        self.observer = observer
        self.guardian = guardian
        self.opened = opened
        self.refused = refused
        self.pool = ThreadPoolExecutor(8, thread_name_prefix="aisec-relay")
        # Of versions that the broker's catalog named to this kernel, and of its own new ones.
        self.urls: dict[tuple[str, str], str] = {}
        self.output_keys: dict[str, bytes] = {}
        self._session = requests.Session()
        self._session.trust_env = False

    @cached_property
    def about(self) -> About:
        """Whose kernel this is; asks the broker, so that a kernel starts without one."""
        return About(
            person=self.person.person,
            seat=self._seat,
            trust=self.person.trust,
            isolation=self._isolation,
            missing=self._missing,
        )

    async def call(self, function: Callable[[], _T]) -> _T:
        """A blocking call, off the loop."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, function)

    def forward(
        self, method: str, target: str, headers: dict[str, str], body: bytes | None
    ) -> requests.Response:
        """The broker's answer to a request as the kernel made (and signed) it."""
        return self._session.request(
            method,
            self.person.http.url + target,
            headers=headers,
            data=body,
            auth=self.person.bearer,
            timeout=60,
            allow_redirects=False,
        )

    # -- in the person's name

    def sign(self, verb: str, asked: _Asked) -> Any:
        person = self.person
        match verb:
            case "request":
                return person.request(
                    asked.artifacts, asked.seconds, asked.reason, seat=self.about.seat
                )
            case "extend":
                return person.extend(asked.grant, asked.seconds, asked.reason)
            case "withdraw":
                return person.withdraw(asked.grant, asked.reason)
            case "return":
                return person.return_(asked.grant, asked.reason)
            case "bind":
                return self._bind(asked)
            case "wiped":
                self.guardian.confirmed(asked.grant)
                return {}
            case _:
                return self._observe(asked)

    def _bind(self, asked: _Asked) -> Any:
        if asked.kernel_key is None:
            raise MalformedError("A binding names the kernel's key.")
        asked.kernel_key.load()
        grant = self.person.grant(asked.grant)
        seat = self.person.read_request(grant).seat
        if grant.state == "active" and seat != self.about.seat:
            raise RefusedError(
                f"{asked.grant} is in use in another notebook.",
                next='Ask for this one: %grant request NAME --for 1h --reason "…"',
                code="seat-taken",
            )
        view = self.person.bind(
            asked.grant,
            seat=seat,
            kernel_key=asked.kernel_key,
            release_key=asked.release_key,
            isolation=self.about.isolation,
            missing=self.about.missing,
        )
        self.guardian.guard(view, asked.kernel_key.key_id)
        return view

    def _observe(self, asked: _Asked) -> Any:
        """The observation beside a record, signed with the person's key."""
        if asked.record is None:
            raise MalformedError("There is no record to observe.")
        record = asked.record.read(Record, Record.payload_type, "The record")
        observation = self.observer.observation(
            origin=self.about.trust.origin,
            person=self.about.person,
            run=record.run,
            kernel=record.kernel,
            record_sha256=hashlib.sha256(asked.record.payload).hexdigest(),
            isolation=self.about.isolation,
        )
        return dsse.sign(observation, Observation.payload_type, self.person.home.key())

    # -- sealed files

    def output_key(self, artifact: str, seal_id: str) -> bytes:
        """Of a version; asked of the broker if the kernel never asked for its manifest."""
        if seal_id not in self.output_keys:
            view = self.person.artifact(artifact)
            self.output_keys[view.seal_id] = read_manifest(view.manifest).output_key
        return self.output_keys[seal_id]

    def folder(self, artifact: str, seal_id: str) -> UrlFolder:
        """Of a version that the broker's catalog named to this kernel."""
        url = self.urls.get((artifact, seal_id))
        if url is None:
            raise NotFoundError(f"{artifact} {seal_id} was not asked for here.")
        return UrlFolder(url)

    def new_folder(self, artifact: str, seal_id: str) -> UrlFolder:
        """Of a version that this kernel seals."""
        url = version_url(self.person.store(), artifact, seal_id)
        self.urls[artifact, seal_id] = url
        return UrlFolder(url)


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
        self.set_header("Content-Type", "application/problem+json")
        self.finish(
            msgspec.json.encode(
                {
                    "type": f"urn:jupyter-aisec:error:{error.code}",
                    "title": type(error).__name__,
                    "status": self.get_status(),
                    "detail": error.what,
                    "next": error.next,
                    "code": error.code,
                }
            )
        )

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

    async def guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except AisecError as error:
            self.problem(error)


class _Forward(_Handler):
    """The broker's own routes, as far as they are on the list."""

    async def get(self) -> None:
        await self._pass(_GET, None)

    async def post(self) -> None:
        await self._pass(_POST, self.request.body)

    async def _pass(self, allowed: re.Pattern[str], body: bytes | None) -> None:
        request, path = self.request, self.request.path
        if not allowed.fullmatch(path):
            return self.refuse()
        headers = {name: request.headers[name] for name in _FORWARDED if name in request.headers}
        target = path + (f"?{request.query}" if request.query else "")
        try:
            response = await self.keeping.call(
                lambda: self.keeping.forward(str(request.method), target, headers, body)
            )
        except requests.RequestException:  # holds the request, and so the token: dropped
            return self.problem(
                BrokerUnreachableError(
                    "The broker cannot be reached from the keeper.",
                    next="Try again; `aisec broker start` starts one.",
                ),
                status=503,
            )
        except AisecError as error:
            return self.problem(error)
        if response.status_code == 200:
            self._learn(path, response.content, body)
        self.set_status(response.status_code)
        self.set_header(
            "Content-Type", response.headers.get("Content-Type", "application/octet-stream")
        )
        await self.finish(response.content)

    def _learn(self, path: str, content: bytes, body: bytes | None) -> None:
        """From the catalog, where sealed files lie; from key releases, what was opened."""
        keeping = self.keeping
        if path.startswith("/v1/artifacts/"):
            version = as_view(msgspec.json.decode(content), ArtifactView)
            keeping.urls[version.artifact, version.seal_id] = version.url
            keeping.output_keys[version.seal_id] = read_manifest(version.manifest).output_key
        elif path.endswith("/keys") and body is not None:
            artifact = str(msgspec.json.decode(body)["artifact"])
            seal_id = str(msgspec.json.decode(content)["seal_id"])
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
        try:
            asked = msgspec.json.decode(self.request.body, type=_Asked)
        except msgspec.MsgspecError as error:
            raise MalformedError(f"The keeper cannot read this: {error}.") from error
        self.answer(await self.keeping.call(lambda: self.keeping.sign(verb, asked)))

    async def _about(self) -> None:
        self.answer(await self.keeping.call(lambda: self.keeping.about))

    async def _lease(self) -> None:
        grant = self.get_query_argument("grant")
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
        finally:
            self.keeping.guardian.unsubscribe(tell)


@web.stream_request_body
class _Store(_Handler):
    """Sealed files in and out; plaintext never passes here."""

    def initialize(self, keeping: Keeping) -> None:
        super().initialize(keeping)
        self._file: BinaryIO | None = None
        self._stack = ExitStack()

    async def prepare(self) -> None:
        if self.request.method == "PUT":
            connection: Any = self.request.connection
            connection.set_max_body_size(_LARGEST_FILE)
            await self.guarded(self._begin(*self.path_args))

    async def _begin(self, artifact: str, seal_id: str, name: str) -> None:
        def begin() -> BinaryIO:
            return self._stack.enter_context(
                self.keeping.new_folder(artifact, seal_id).create(name)
            )

        self._file = await self.keeping.call(begin)

    async def data_received(self, chunk: bytes) -> None:
        if (file := self._file) is not None:
            await self.keeping.call(lambda: file.write(chunk))

    async def put(self, artifact: str, seal_id: str, name: str) -> None:
        await self.guarded(self._end())

    async def _end(self) -> None:
        self._file = None
        await self.keeping.call(self._stack.close)
        self.set_status(201)

    def on_connection_close(self) -> None:
        """The kernel went away in the middle: nothing stays."""
        if self._file is not None:
            self._file = None
            stack = self._stack
            error = ConnectionError("the kernel stopped sending")
            self.keeping.pool.submit(stack.__exit__, type(error), error, None)

    async def head(self, artifact: str, seal_id: str, name: str) -> None:
        await self.guarded(self._size(artifact, seal_id, name))

    async def _size(self, artifact: str, seal_id: str, name: str) -> None:
        source = await self.keeping.call(
            lambda: self.keeping.folder(artifact, seal_id).source(name)
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
            source = self.keeping.folder(artifact, seal_id).source(name)
            scratch = memoryview(bytearray(last + 1 - start))
            return bytes(memoryview(source.fetch(start, last + 1, scratch)))

        data = await self.keeping.call(read)
        self.set_status(206)
        self.set_header("Content-Type", "application/octet-stream")
        await self.finish(data)


def relay_routes(keeping: Keeping) -> list[Any]:
    """The relay's routes, for tornado; what none of them takes is to be refused."""
    given = {"keeping": keeping}
    return [
        (r"/v1/.*", _Forward, given),
        (r"/keeper/([a-z]+)", _Keeper, given),
        (_STORED, _Store, given),
    ]
