"""Notebook outputs, sealed to the output keys of every artifact they may show.

An output is encrypted under a content key of its own, and the content key to each
artifact's public output key in turn, one inside the other: opening takes the private keys
of all of them. Sealing needs no secret, so a server can do it on save.

Opening is split: the holder of the private keys (the broker) sees the header only and
unwraps that output's content key, and nothing else; the kernel that asked opens the
ciphertext with it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from jupyter_aisec.errors import MalformedError, SealBrokenError, WrongKeyError
from jupyter_aisec.people.canonical import canonical, parse_canonical
from jupyter_aisec.sealed.release import SEALED_OVERHEAD, ReleaseKey, seal_key

if TYPE_CHECKING:
    from cryptography.utils import Buffer

__all__ = [
    "MAX_KEYS",
    "MIME_TYPE",
    "OutputHeader",
    "OutputKey",
    "OutputSealer",
    "SealedOutput",
    "check_ciphertext",
    "open_output",
    "read_output",
    "seal_output",
    "unwrap_content_key",
]

MIME_TYPE = "application/vnd.jupyter-aisec.sealed+json"
FORMAT = "jupyter-aisec/output/v1"
MAX_KEYS = 100  # of an output that is opened; sealing knows no limit
_KEY_SIZE = 32  # bytes: a content key
_KEPT = 4096  # outputs whose ciphertext is remembered
_SEALED = 65_536  # sealed outputs that are known by their digest
_AGAIN = "Take the notebook from a backup, or run the cell again."
# Each content key encrypts one output once, so its nonce need not be chosen.
_NONCE = bytes(12)


class OutputKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, order=True):
    """An artifact version, by whose output key an output is sealed."""

    artifact: str
    seal_id: str


class OutputHeader(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What unwrapping takes: no ciphertext, only its digest."""

    format: str = FORMAT
    keys: tuple[OutputKey, ...]  # sorted; the first is the innermost
    ciphertext_sha256: str
    wrapped: bytes  # the content key


class SealedOutput(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The content of the MIME type: a header and the encrypted output."""

    header: OutputHeader
    ciphertext: bytes


def seal_output(output: Mapping[str, Any], recipients: Mapping[OutputKey, bytes]) -> dict[str, Any]:
    """A notebook output (nbformat 4) that shows only which artifacts it was made from.

    ``recipients`` are the public output keys. Whatever the output was (stream, error,
    display), the result is a ``display_data``. Raises MalformedError for an output that is
    not JSON, ValueError without recipients.
    """
    if not recipients:
        raise ValueError("an output is sealed to the output key of at least one artifact")
    content_key = os.urandom(_KEY_SIZE)
    ciphertext = AESGCM(content_key).encrypt(_NONCE, _plain(output), None)
    digest = hashlib.sha256(ciphertext).hexdigest()
    keys = tuple(sorted(recipients))
    wrapped = content_key
    for layer, key in enumerate(keys):
        wrapped = seal_key(wrapped, recipients[key], _info(key, layer, digest))
    header = OutputHeader(keys=keys, ciphertext_sha256=digest, wrapped=wrapped)
    return _shown(SealedOutput(header=header, ciphertext=ciphertext))


def _shown(sealed: SealedOutput) -> dict[str, Any]:
    """All that a notebook shows of a sealed output."""
    names = ", ".join(sorted({key.artifact for key in sealed.header.keys}))
    return {
        "output_type": "display_data",
        "data": {
            MIME_TYPE: msgspec.to_builtins(sealed),
            "text/plain": f"Sealed output, made from {names}. To see it, open this notebook in "
            f'JupyterLab with the kernel "Python 3 (secure)" and a grant for {names}, and press '
            "Show.",
        },
        "metadata": {},
    }


def read_output(bundle: object) -> SealedOutput:
    """The content of :data:`MIME_TYPE` in a notebook; raises MalformedError."""
    sealed = parse_canonical(canonical(bundle), SealedOutput, "A sealed output")
    if sealed.header.format != FORMAT or not sealed.header.keys:
        raise MalformedError("A sealed output is of another format.", code="output-malformed")
    return sealed


def unwrap_content_key(
    header: OutputHeader, private_key: Callable[[OutputKey], ReleaseKey]
) -> bytes:
    """The content key of one output, from the private output keys of all its artifacts.

    Each layer is bound to its artifact, its place and the ciphertext, and takes a fixed number
    of bytes: no layer of one output passes for another's, or for a content key.

    Raises MalformedError for a header of another size, WrongKeyError (``output-header-changed``)
    for one that does not open.
    """
    keys = header.keys
    size = _KEY_SIZE + len(keys) * SEALED_OVERHEAD
    if not 1 <= len(keys) <= MAX_KEYS or len(header.wrapped) != size:
        raise MalformedError(
            "The header of a sealed output is not of its size.",
            next=_AGAIN,
            code="output-malformed",
        )
    wrapped = header.wrapped
    try:
        for layer, key in reversed(list(enumerate(keys))):
            wrapped = private_key(key).open(wrapped, _info(key, layer, header.ciphertext_sha256))
    except WrongKeyError:
        raise WrongKeyError(
            "The header of a sealed output was changed: its content key does not unwrap.",
            next=_AGAIN,
            code="output-header-changed",
        ) from None
    return wrapped


def check_ciphertext(sealed: SealedOutput) -> None:
    """Raises SealBrokenError (``output-changed``) unless it is what the header names."""
    if hashlib.sha256(sealed.ciphertext).hexdigest() != sealed.header.ciphertext_sha256:
        raise SealBrokenError("A sealed output was changed.", next=_AGAIN, code="output-changed")


def open_output(sealed: SealedOutput, content_key: Buffer) -> dict[str, Any]:
    """The output as it was: a stream, a display, a result or an error (nbformat 4).

    Anybody can seal to a public key, so what comes out is nothing to trust or to run.
    Raises WrongKeyError, SealBrokenError if it was changed, MalformedError if it is no output.
    """
    check_ciphertext(sealed)
    try:
        plain = AESGCM(content_key).decrypt(_NONCE, sealed.ciphertext, None)
    except (InvalidTag, ValueError):
        raise WrongKeyError("The content key is not that of this output.") from None
    return _read_plain(plain)


def _plain(value: Any) -> bytes:
    """An output as JSON, the same bytes for equal outputs; raises MalformedError.

    Not RFC 8785: nobody signs this, and outputs hold what that cannot carry, such as integers
    of 2**53 and more, lone surrogates (``json`` escapes them) and NaN.
    """
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise MalformedError(f"This output is not JSON: {error}.") from error


class _Stream(msgspec.Struct, tag_field="output_type", tag="stream"):
    name: Literal["stdout", "stderr"]
    text: str | list[str]


class _Display(msgspec.Struct, tag_field="output_type", tag="display_data"):
    data: dict[str, Any]
    metadata: dict[str, Any]


class _Result(msgspec.Struct, tag_field="output_type", tag="execute_result"):
    data: dict[str, Any]
    metadata: dict[str, Any]
    execution_count: int | None


class _Error(msgspec.Struct, tag_field="output_type", tag="error"):
    ename: str
    evalue: str
    traceback: list[str]


def _read_plain(data: bytes) -> dict[str, Any]:
    """The inverse, with no more than an output of its type has."""
    try:
        output = json.loads(data.decode("ascii"))
        found = msgspec.convert(output, _Stream | _Display | _Result | _Error)
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        # Its text may quote the output.
        raise MalformedError(
            f"What was sealed is not an output ({type(error).__name__}).",
            next="Run the cell again.",
            code="output-unreadable",
        ) from None
    return {name: output[name] for name in ("output_type", *found.__struct_fields__)}


class OutputSealer:
    """Seals outputs so that an unchanged one keeps its ciphertext.

    A notebook saved twice is then the same file. What is remembered are digests under a
    secret of this process, never an output. An output that only looks sealed is sealed like
    any other: its "ciphertext" may be anything.
    """

    def __init__(self) -> None:
        self._secret = os.urandom(32)
        self._known: OrderedDict[bytes, dict[str, Any]] = OrderedDict()
        self._sealed: OrderedDict[bytes, None] = OrderedDict()

    def adopt(self, output: object) -> None:
        """Keep ``output`` as it is from now on, if it is sealed: it was found on the disk."""
        with suppress(MalformedError, LookupError, TypeError):
            self._remember(read_output(output["data"][MIME_TYPE]))  # type: ignore[index]

    def _remember(self, sealed: SealedOutput) -> None:
        self._sealed[self._digest(msgspec.to_builtins(sealed))] = None
        if len(self._sealed) > _SEALED:
            self._sealed.popitem(last=False)

    def _digest(self, value: Any) -> bytes:
        return hashlib.blake2b(_plain(value), key=self._secret).digest()

    def seal(
        self, output: Mapping[str, Any], recipients: Mapping[OutputKey, bytes]
    ) -> dict[str, Any]:
        """As :func:`seal_output`; of one sealed here or adopted, only the sealed part is kept."""
        with suppress(MalformedError, LookupError, TypeError):
            sealed = read_output(output["data"][MIME_TYPE])
            if self._digest(msgspec.to_builtins(sealed)) in self._sealed:
                return _shown(sealed)
        keys: Sequence[Any] = sorted((k.artifact, k.seal_id) for k in recipients)
        known = self._digest([keys, output])
        if known not in self._known:
            self._known[known] = seal_output(output, recipients)
            self._remember(read_output(self._known[known]["data"][MIME_TYPE]))
            if len(self._known) > _KEPT:
                self._known.popitem(last=False)
        self._known.move_to_end(known)
        return self._known[known]


def _info(key: OutputKey, layer: int, ciphertext_sha256: str) -> bytes:
    return canonical(
        {
            "artifact": key.artifact,
            "ciphertext_sha256": ciphertext_sha256,
            "layer": layer,
            "purpose": "output",
            "seal_id": key.seal_id,
        }
    )
