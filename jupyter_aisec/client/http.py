"""HTTP to the broker: one session, bounded answers, errors as our own.

Only what may be repeated is retried: GETs always, POSTs where the caller says that the
broker tells a repeat from a second action (kernel requests carry an action id). Redirects
are not followed, since they would carry the bearer token elsewhere. No exception that
leaves here holds a request or its headers.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.util import Retry

from jupyter_aisec.errors import (
    PROBLEM_MEDIA_TYPE,
    AisecError,
    BrokerFaultError,
    BrokerUnreachableError,
    ConflictError,
    IdentityError,
    LedgerError,
    MalformedError,
    NotFoundError,
    RefusedError,
    UsageError,
)

__all__ = ["BearerAuth", "Http", "error_of"]

CONNECT_SECONDS = 5.0
READ_SECONDS = 60.0
ANSWER_BYTES = 64 * 1024 * 1024  # the largest honest answer is a ledger export's page
PAGE = 1000  # so many of a list are asked for at a time: the most that a broker gives
_PIECE = 64 * 1024
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}
_BY_STATUS: dict[int, type[AisecError]] = {
    400: UsageError,
    401: IdentityError,
    403: RefusedError,
    404: NotFoundError,
    409: ConflictError,
    422: MalformedError,
    503: LedgerError,
}


class BearerAuth(AuthBase):
    """Puts the token in the request at the last moment, and never shows it."""

    def __init__(self, token: Callable[[], str | None]) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        token = self._token()
        if token is not None:
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    def __repr__(self) -> str:
        return "<BearerAuth>"


class Http:
    """Requests to one broker (or to the keeper's relay, which looks the same)."""

    def __init__(
        self, url: str, *, auth: AuthBase | None = None, repeatable_posts: bool = False
    ) -> None:
        """``url`` is the broker's base URL; ``repeatable_posts`` allows POSTs to be retried."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise UsageError(
                f"{url[:200]!r} is not the URL of a broker.",
                next="Say where it is: `export AISEC_BROKER=URL`, with a URL like http://127.0.0.1:8787.",
                code="broker-url-invalid",
            )
        if parts.scheme == "http" and not _stays_here(parts.hostname):
            raise UsageError(
                f"{url[:200]} would carry your session unencrypted to another machine.",
                next="Put TLS in front of the broker: `export AISEC_BROKER=https://BROKER`. "
                "Where something else encrypts the way: `export AISEC_ALLOW_HTTP=1`.",
                code="broker-not-https",
            )
        self.url = url.rstrip("/")
        self._session = requests.Session()
        # A proxy for the outside world must not see what goes to this machine.
        self._session.trust_env = parts.hostname not in _LOOPBACK
        # An explicit auth, even an empty one, keeps requests from reading ~/.netrc.
        self._session.auth = auth or BearerAuth(lambda: None)
        self._session.headers.update({"Accept": "application/json", "User-Agent": "jupyter-aisec"})
        retry = Retry(
            total=2,
            backoff_factor=0.1,
            status_forcelist=(502, 503, 504),
            allowed_methods={"GET", "POST"} if repeatable_posts else {"GET"},
            raise_on_status=False,
        )
        adapter = HTTPAdapter(max_retries=retry)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def __repr__(self) -> str:
        return f"<Http {self.url}>"

    def close(self) -> None:
        self._session.close()

    def get(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """The JSON answer to a GET."""
        return self._json(self._bytes("GET", path, params=params))

    def pages(self, path: str, params: Mapping[str, Any] | None = None) -> Iterator[Any]:
        """The JSON answers to a GET and to those that its ``Link: rel="next"`` leads to.

        Of a link only the query counts: whatever a broker says, it is the same list there.
        """
        asked: Mapping[str, Any] | None = {**(params or {}), "limit": PAGE}
        seen: set[str] = set()
        while True:
            with self._send("GET", path, params=asked) as response:
                self._raise_for(response)
                answer = self._json(self._content(response))
                link = response.links.get("next", {}).get("url", "")
            yield answer
            if not link:
                return
            if link in seen:
                raise self._fault("a list that leads in a circle")
            seen.add(link)
            asked = dict(parse_qsl(urlsplit(link).query))

    def get_bytes(self, path: str, params: Mapping[str, Any] | None = None) -> bytes:
        """The answer to a GET as it is (text of the ledger, tiles)."""
        return self._bytes("GET", path, params=params)

    def post(self, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Any:
        """The JSON answer to a POST of ``body`` (a Struct or plain JSON types)."""
        data = msgspec.json.encode({} if body is None else body)
        return self._json(self._bytes("POST", path, data=data, headers=headers))

    def lines(
        self, path: str, params: Mapping[str, Any] | None = None, *, silence: float = READ_SECONDS
    ) -> Iterator[str]:
        """The lines of a stream that stays open, ending when it does; it is open on return.

        Raises at once what the answer is instead of a stream, and BrokerUnreachableError where
        it breaks off, or after ``silence`` seconds without a byte.
        """
        response = self._send(
            "GET", path, params=params, headers={"Accept": "text/event-stream"}, silence=silence
        )
        try:
            self._raise_for(response)
        except BaseException:
            response.close()
            raise
        return self._lines(response)

    def _lines(self, response: requests.Response) -> Iterator[str]:
        with response:
            try:
                # By single bytes: larger pieces wait for more before they hand on a line.
                for line in response.iter_lines(chunk_size=1):
                    yield line.decode(errors="replace")
            except requests.RequestException:
                raise self.unreachable() from None

    # -- one request

    def _bytes(self, method: str, path: str, **options: Any) -> bytes:
        with self._send(method, path, **options) as response:
            self._raise_for(response)
            return self._content(response)

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        silence: float = READ_SECONDS,
    ) -> requests.Response:
        sent = dict(headers or {})
        if data is not None:
            sent["Content-Type"] = "application/json"
        try:
            return self._session.request(
                method,
                self.url + path,
                params=params,
                data=data,
                headers=sent,
                timeout=(CONNECT_SECONDS, silence),
                allow_redirects=False,
                stream=True,
            )
        except requests.RequestException:  # holds the request, and so the token: dropped
            raise self.unreachable() from None

    def _content(self, response: requests.Response) -> bytes:
        content = bytearray()
        try:
            for piece in response.iter_content(_PIECE):
                content += piece
                if len(content) > ANSWER_BYTES:
                    raise self._fault(f"an answer above {ANSWER_BYTES // 1024**2} MiB")
        except requests.RequestException:
            raise self.unreachable() from None
        return bytes(content)

    def _json(self, data: bytes) -> Any:
        try:
            return msgspec.json.decode(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise self._fault("something that is not JSON") from None

    # -- errors

    def _raise_for(self, response: requests.Response) -> None:
        if 200 <= response.status_code < 300:
            return
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip()
        if kind != PROBLEM_MEDIA_TYPE:
            raise self._fault(f"status {response.status_code}")
        problem = self._json(self._content(response))
        raise error_of(problem if isinstance(problem, dict) else {}, response.status_code)

    def unreachable(self) -> BrokerUnreachableError:
        """That this broker does not answer, and how it is started."""
        return BrokerUnreachableError(
            f"The broker at {self.url} cannot be reached.",
            next=self._how_to_start() + ", or say where yours is: `export AISEC_BROKER=URL`.",
        )

    def _how_to_start(self) -> str:
        """What the reader can do: only on this machine is the broker theirs to start."""
        parts = urlsplit(self.url)
        if parts.hostname not in _LOOPBACK:
            return "Ask whoever runs it to start it"
        return f"Start it, `aisec broker start --listen {parts.hostname}:{parts.port or 80}`"

    def _fault(self, what: str) -> BrokerFaultError:
        return BrokerFaultError(
            f"{self.url} answered with {what}: it may not be a broker.",
            next="If the broker is elsewhere: `export AISEC_BROKER=URL`. Else look into its log.",
        )


def _stays_here(hostname: str) -> bool:
    """Whether plain HTTP to this host is seen by nobody else, or somebody said that it is fine."""
    if hostname in _LOOPBACK or os.environ.get("AISEC_ALLOW_HTTP") == "1":
        return True
    try:
        return ipaddress.ip_address(hostname).is_loopback
    except ValueError:  # a name
        return False


def _classes(base: type[AisecError]) -> Iterator[type[AisecError]]:
    yield base
    for sub in base.__subclasses__():
        yield from _classes(sub)


def error_of(problem: dict[str, Any], status: int) -> AisecError:
    """The error that an RFC 9457 problem tells of, of the class its code or status names."""
    code = str(problem.get("code") or "")
    by_code = {kind.default_code: kind for kind in _classes(AisecError)}
    kind = by_code.get(code) or _BY_STATUS.get(status, BrokerFaultError)
    what = str(problem.get("detail") or problem.get("title") or f"Status {status}.")
    return kind(what, next=str(problem.get("next") or ""), code=code or None)
