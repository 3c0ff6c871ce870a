"""A kernel at the broker: its requests carry its own signature, its keys stay inside it.

Requests are signed by RFC 9421 with the key the seat was bound to. Each has an action id, so
that one whose answer was lost can be repeated and one that was recorded by somebody else
gains nothing. What the broker releases is encrypted to the kernel (HPKE) and signed by the
broker over its ledger entry; both are checked before a key is used.
"""

from __future__ import annotations

import ctypes
import hashlib
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec
import requests
from http_message_signatures import HTTPMessageSigner
from http_message_signatures.algorithms import ED25519
from http_message_signatures.resolvers import MappingKeyResolver
from requests.auth import AuthBase

from jupyter_aisec.client.catalog import get_artifact, get_versions, registration
from jupyter_aisec.client.http import BearerAuth, Http
from jupyter_aisec.client.views import (
    ArtifactView,
    GrantView,
    ListedView,
    OutputSourceView,
    SealedView,
    as_list,
    as_view,
)
from jupyter_aisec.errors import SignatureError
from jupyter_aisec.grants.statements import OutputReleaseStatement, ReleaseStatement
from jupyter_aisec.ids import new_id
from jupyter_aisec.ledger.checkpoint import open_checkpoint
from jupyter_aisec.ledger.trust import Trust
from jupyter_aisec.people import dsse
from jupyter_aisec.people.canonical import canonical
from jupyter_aisec.people.kernel_requests import ACTION_HEADER, COVERED, LABEL, TAG
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.sealed.datakey import DataKey
from jupyter_aisec.sealed.release import ReleaseKey, output_release_info, release_info

if TYPE_CHECKING:
    from jupyter_aisec.sealed.artifact import SealResult
    from jupyter_aisec.sealed.outputs import OutputHeader

__all__ = ["KernelAuth", "KernelClient", "OutputRelease", "Release"]

# References to an object that only its function holds: the function's, and getrefcount's own.
_HELD_HERE_ALONE = 2


class KernelAuth(AuthBase):
    """Signs each request that carries an action id; the rest pass as they are.

    ``beneath`` is the path of the base URL: a relay or a proxy takes it away, so the
    signature is over what is left of the path, as the broker sees it.
    """

    def __init__(
        self, key: SigningKey, bearer: BearerAuth | None = None, *, beneath: str = ""
    ) -> None:
        key_id = key.public.key_id
        self._beneath = beneath
        self._key_id = key_id
        self._bearer = bearer
        self._signer = HTTPMessageSigner(
            signature_algorithm=ED25519,
            key_resolver=MappingKeyResolver(public_keys={}, private_keys={key_id: key.private}),
        )

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if ACTION_HEADER in request.headers:
            seen = request.copy()  # as the broker sees it
            seen.url = (seen.url or "").replace(self._beneath, "", 1)
            self._signer.sign(
                seen,
                key_id=self._key_id,
                label=LABEL,
                tag=TAG,
                covered_component_ids=COVERED,
                body=_content(request),
            )
            request.headers.update(seen.headers)
        return request if self._bearer is None else self._bearer(request)

    def __repr__(self) -> str:
        return f"<KernelAuth {self._key_id[:19]}…>"


def _content(request: requests.PreparedRequest) -> bytes:
    body = request.body or b""
    return body if isinstance(body, bytes) else body.encode()


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    keys: dict[str, bytes]
    seal_id: str
    entry: int
    signature: dsse.Envelope
    checkpoint: str


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """Data keys of one artifact version, opened; never shown. Whoever gets them wipes them."""

    seal_id: str
    keys: dict[str, DataKey]
    entry: int

    def wipe(self) -> None:
        for key in self.keys.values():
            key.wipe()

    def __repr__(self) -> str:
        return f"<Release of {len(self.keys)} keys of {self.seal_id}, entry {self.entry}>"


class _OutputAnswer(msgspec.Struct, frozen=True, kw_only=True):
    key: bytes
    sources: tuple[OutputSourceView, ...]
    entry: int
    signature: dsse.Envelope
    checkpoint: str


class OutputRelease(msgspec.Struct, frozen=True, kw_only=True):
    """The content key of one saved output; never shown. Whoever gets it wipes it."""

    key: DataKey
    sources: tuple[OutputSourceView, ...]
    entry: int

    def __repr__(self) -> str:
        return f"<OutputRelease of {len(self.sources)} artifacts, entry {self.entry}>"


class KernelClient:
    """What a kernel asks of the broker, through the keeper's relay or directly."""

    def __init__(
        self,
        url: str,
        key: SigningKey,
        release_key: ReleaseKey,
        trust: Trust,
        *,
        bearer: BearerAuth | None = None,
    ) -> None:
        """``trust`` is the person's pinned trust file; ``bearer`` is only for a kernel without
        a keeper (the relay adds the person's session itself)."""
        self.key = key
        self.release_key = release_key
        self.trust = trust
        auth = KernelAuth(key, bearer, beneath=urlsplit(url).path.rstrip("/"))
        self.http = Http(url, auth=auth, repeatable_posts=True)

    def __repr__(self) -> str:
        return f"<KernelClient {self.key.public.key_id[:19]}… at {self.http.url}>"

    @property
    def kernel(self) -> str:
        """The id of the bound signing key."""
        return self.key.public.key_id

    def artifact(self, name: str, version: int | None = None) -> ArtifactView:
        return get_artifact(self.http, name, version)

    def versions(self, name: str) -> tuple[ListedView, ...]:
        return get_versions(self.http, name)

    def store(self) -> str:
        """The URL below which new versions are written."""
        return as_view(self.http.get("/v1/store"), dict[str, str])["url"]

    def grant(self, grant: str) -> GrantView:
        return as_view(self.http.get(f"/v1/grants/{grant}"), GrantView)

    def grants(self) -> tuple[GrantView, ...]:
        return as_list(self.http.pages("/v1/grants"), GrantView)

    def keys(
        self,
        grant: str,
        artifact: str,
        *,
        version: int | None = None,
        files: Sequence[str] | None = None,
    ) -> Release:
        """The data keys of an artifact version (of some files), opened and checked.

        Raises SignatureError or LedgerError where the release is not the broker's, and the
        broker's own refusals.
        """
        action = new_id("action")
        body: dict[str, Any] = {"artifact": artifact}
        if version is not None:
            body["version"] = version
        if files is not None:
            body["files"] = list(files)
        answer = as_view(self._post(f"/v1/grants/{grant}/keys", body, action), _Answer)
        self._check_release(answer, grant, action)
        keys = {
            key_id: _taken(
                self.release_key.open(
                    sealed,
                    release_info(
                        grant=grant,
                        artifact=artifact,
                        seal_id=answer.seal_id,
                        key_id=key_id,
                        kernel=self.kernel,
                    ),
                )
            )
            for key_id, sealed in answer.keys.items()
        }
        return Release(seal_id=answer.seal_id, keys=keys, entry=answer.entry)

    def output(self, header: OutputHeader, grants: Mapping[str, str]) -> OutputRelease:
        """The content key of a saved output; ``grants`` by the seal ids of its header.

        Raises as :meth:`keys` does, and WrongKeyError for a header that was changed.
        """
        action = new_id("action")
        body = {"header": header, "grants": grants}
        answer = as_view(self._post("/v1/outputs/keys", body, action), _OutputAnswer)
        digest = header.ciphertext_sha256
        statement = OutputReleaseStatement(
            entry=answer.entry,
            action=action,
            ciphertext_sha256=digest,
            kernel=self.kernel,
            key_sha256=hashlib.sha256(answer.key).hexdigest(),
        )
        self._check_signed(answer, statement)
        named = [(one.artifact, one.seal_id, one.grant) for one in answer.sources]
        if named != [(key.artifact, key.seal_id, grants[key.seal_id]) for key in header.keys]:
            raise _differs()
        info = output_release_info(ciphertext_sha256=digest, kernel=self.kernel)
        key = _taken(self.release_key.open(answer.key, info))
        return OutputRelease(key=key, sources=answer.sources, entry=answer.entry)

    def sealed(self, result: SealResult, url: str) -> SealedView:
        """Register a version that this kernel sealed at ``url``."""
        body = registration(result, url, self.trust)
        return as_view(self._post("/v1/artifacts", body), SealedView)

    def record_run(
        self, record: dsse.Envelope, seal_id: str, observation: dsse.Envelope | None = None
    ) -> Any:
        """Hand in the record of a run, and what the keeper saw of it; the bundle comes back."""
        body = {"record": record, "observation": observation, "seal_id": seal_id}
        return self._post("/v1/runs", body)

    def bundle(self, seal_id: str) -> Any:
        """The bundle of an artifact version; its file is the canonical JSON of this."""
        return self.http.get(f"/v1/bundles/{seal_id}")

    def _post(self, path: str, body: Any, action: str | None = None) -> Any:
        return self.http.post(path, body, {ACTION_HEADER: action or new_id("action")})

    def _check_release(self, answer: _Answer, grant: str, action: str) -> None:
        statement = ReleaseStatement(
            entry=answer.entry,
            action=action,
            grant=grant,
            seal_id=answer.seal_id,
            kernel=self.kernel,
            keys_sha256=hashlib.sha256(canonical(answer.keys)).hexdigest(),
        )
        self._check_signed(answer, statement)

    def _check_signed(
        self,
        answer: _Answer | _OutputAnswer,
        statement: ReleaseStatement | OutputReleaseStatement,
    ) -> None:
        """That the broker signed exactly this, and logged it before."""
        dsse.verify(answer.signature, self.trust.broker_key)
        type_ = type(statement)
        if answer.signature.read(type_, type_.payload_type, "The release") != statement:
            raise _differs()
        checkpoint = open_checkpoint(answer.checkpoint, self.trust.log_key)
        if checkpoint.size <= answer.entry:
            raise SignatureError(
                f"The release's entry {answer.entry} is not below the ledger checkpoint beside it.",
                next="Tell an admin, who runs `aisec audit verify`.",
                code="release-not-logged",
            )


def _differs() -> SignatureError:
    return SignatureError(
        "The broker's signature is over another release than the one that came.",
        next="Tell an admin: something between this kernel and the broker changes answers.",
        code="release-differs",
    )


def _taken(secret: bytes) -> DataKey:
    """A data key in memory that can be wiped, and nothing of it left in ``secret``.

    HPKE answers with ``bytes``, which nothing overwrites when they are freed. CPython's can be
    overwritten in place, as long as nobody else holds them and would see them change: their
    content ends one byte, a NUL, before the object does. Elsewhere they stay in memory until it
    is used again.
    """
    key = DataKey(secret)
    alone = sys.getrefcount(secret) == _HELD_HERE_ALONE
    if sys.implementation.name == "cpython" and alone:
        ctypes.memset(id(secret) + bytes.__basicsize__ - 1, 0xFF, len(secret))
    return key
