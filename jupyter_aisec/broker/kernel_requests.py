"""Requests that a kernel signed with its bound key (RFC 9421).

The signature (:mod:`jupyter_aisec.people.kernel_requests`) says *which kernel asks for exactly
this*; a stolen bearer token alone says neither. It is fresh for five minutes; what a repeat
under the same action id gets is decided by the ledger.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import timedelta

import msgspec
from fastapi import Request
from http_message_signatures import HTTPMessageVerifier, HTTPSignatureKeyResolver, algorithms
from http_message_signatures.exceptions import HTTPMessageSignaturesException

from jupyter_aisec.errors import IdentityError, MalformedError
from jupyter_aisec.ids import is_id
from jupyter_aisec.people.kernel_requests import ACTION_HEADER, COVERED, LABEL, TAG
from jupyter_aisec.people.keys import PublicKey

__all__ = ["KernelRequest", "is_signed", "verify_kernel_request"]

_MAX_AGE = timedelta(minutes=5)


class KernelRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Who signed (a key id), under which action id, and what: a digest of the whole request."""

    kernel: str
    action: str
    sha256: str


class _Resolver(HTTPSignatureKeyResolver):
    def __init__(self, find: Callable[[str], PublicKey | None]) -> None:
        self._find = find

    def resolve_public_key(self, key_id: str) -> object:
        key = self._find(key_id)
        return None if key is None else key.load()

    def resolve_private_key(self, key_id: str) -> object:
        raise NotImplementedError  # the broker does not sign requests


def is_signed(request: Request) -> bool:
    return "signature-input" in request.headers


def verify_kernel_request(
    request: Request, body: bytes, find_key: Callable[[str], PublicKey | None]
) -> KernelRequest:
    """What a bound kernel asks for; ``find_key`` knows the keys of bound kernels.

    Raises IdentityError for a missing or wrong signature, or an unknown kernel.
    """
    if not is_signed(request):
        raise IdentityError(
            "This request is not signed by a kernel: a token alone opens nothing.",
            next="Ask from the kernel that was bound: `%load_secure NAME as VAR`.",
            code="kernel-signature-missing",
        )
    action = request.headers.get(ACTION_HEADER, "")
    if not is_id(action, "action"):
        raise MalformedError(
            f"The header {ACTION_HEADER} is not an action id.", code="action-malformed"
        )
    verifier = HTTPMessageVerifier(
        signature_algorithm=algorithms.ED25519, key_resolver=_Resolver(find_key)
    )
    try:
        results = verifier.verify(
            request,
            body=body,
            max_age=_MAX_AGE,
            expect_tag=TAG,
            expect_label=LABEL,
            require_components=COVERED,
        )
    except (HTTPMessageSignaturesException, ValueError) as error:
        raise IdentityError(
            "The kernel's signature does not verify, is too old, or is by a kernel not bound here.",
            next="Check the clock, and bind the kernel again: `%reload_ext jupyter_aisec`.",
            code="kernel-signature-invalid",
        ) from error
    what = f"{request.method} {request.url.path}?{request.url.query}\n".encode()
    return KernelRequest(
        kernel=str(results[0].parameters["keyid"]),
        action=action,
        sha256=hashlib.sha256(what + body).hexdigest(),
    )
