"""The JSON of requests, as pydantic models: strict, nothing unknown, inputs never in errors."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from jupyter_aisec.errors import MalformedError
from jupyter_aisec.grants.policy import MAX_POLICY
from jupyter_aisec.ledger.bodies import EndedHow
from jupyter_aisec.people.dsse import Envelope, Signature
from jupyter_aisec.sealed.manifest import MAX_FILES
from jupyter_aisec.sealed.outputs import MAX_KEYS, OutputHeader, OutputKey

__all__ = [
    "EndedIn",
    "EnrolIn",
    "EnvelopeModel",
    "ExplainIn",
    "KeysIn",
    "OutputIn",
    "PolicyIn",
    "RelayRefusedIn",
    "RunIn",
    "SealedIn",
    "StatementIn",
]

_BASE64 = r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
Base64 = Annotated[str, Field(pattern=_BASE64)]
KeyId = Annotated[str, Field(min_length=1, max_length=100)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class SignatureModel(Strict):
    keyid: KeyId
    sig: Annotated[Base64, Field(max_length=200)]


class EnvelopeModel(Strict):
    """A DSSE envelope (https://github.com/secure-systems-lab/dsse)."""

    payload: Base64
    payloadType: str = Field(max_length=200)  # noqa: N815 - the name in DSSE
    signatures: list[SignatureModel] = Field(max_length=64)

    def envelope(self) -> Envelope:
        return Envelope(
            payload=decode(self.payload),
            payload_type=self.payloadType,
            signatures=tuple(
                Signature(keyid=one.keyid, sig=decode(one.sig)) for one in self.signatures
            ),
        )


class StatementIn(Strict):
    """Something that a person signed."""

    envelope: EnvelopeModel


class EnrolIn(Strict):
    """A new key, and the one-time token of an invitation where there is no key yet."""

    envelope: EnvelopeModel
    token: SecretStr | None = Field(default=None, max_length=200)


class ExplainIn(Strict):
    """What a request would ask for."""

    artifacts: list[Annotated[str, Field(max_length=200)]] = Field(min_length=1, max_length=1000)
    seconds: int = Field(ge=1, le=2**31)
    break_glass: bool = False


class PolicyIn(Strict):
    """A policy (TOML), and the change that admins signed."""

    policy: str = Field(max_length=MAX_POLICY)
    envelope: EnvelopeModel


class SealedIn(Strict):
    """A new version: its manifest, where its sealed files are, its keys (HPKE to the broker)."""

    manifest: EnvelopeModel
    url: str = Field(min_length=1, max_length=4096)
    keys: dict[KeyId, Annotated[Base64, Field(max_length=4096)]] = Field(max_length=1024)
    output_key: Annotated[Base64, Field(max_length=4096)]


class KeysIn(Strict):
    """Which artifact to open: the newest version, or one; all its files, or some."""

    artifact: str = Field(max_length=200)
    version: int | None = Field(default=None, ge=1, le=2**31)
    files: list[Annotated[str, Field(max_length=1024)]] | None = Field(
        default=None, min_length=1, max_length=MAX_FILES
    )


class OutputKeyModel(Strict):
    artifact: str = Field(min_length=1, max_length=200)
    seal_id: str = Field(min_length=1, max_length=40)


class OutputHeaderModel(Strict):
    """What a notebook says of a sealed output; its ciphertext stays where it is."""

    format: Literal["jupyter-aisec/output/v1"]
    keys: list[OutputKeyModel] = Field(min_length=1, max_length=MAX_KEYS)
    ciphertext_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    wrapped: Annotated[Base64, Field(max_length=200_000)]

    def header(self) -> OutputHeader:
        return OutputHeader(
            format=self.format,
            keys=tuple(OutputKey(artifact=one.artifact, seal_id=one.seal_id) for one in self.keys),
            ciphertext_sha256=self.ciphertext_sha256,
            wrapped=decode(self.wrapped),
        )


class OutputIn(Strict):
    """Which saved output to open, and for each of its seal ids the grant to open it under."""

    header: OutputHeaderModel
    grants: dict[Annotated[str, Field(max_length=40)], Annotated[str, Field(max_length=40)]] = (
        Field(max_length=MAX_KEYS)
    )


class RelayRefusedIn(Strict):
    """What a relay refused, and how often: which kind of request, and nothing that was in it."""

    method: str = Field(pattern="^[A-Z]{1,10}$")
    route: str = Field(pattern="^[a-z-]{1,20}$")
    count: int = Field(ge=1, le=1000)


class EndedIn(Strict):
    """A kernel confirms that its keys and buffers are gone."""

    kernel: KeyId
    how: EndedHow


class RunIn(Strict):
    """A run's record by the kernel, and what the keeper saw of it."""

    record: EnvelopeModel
    observation: EnvelopeModel | None = None
    seal_id: str = Field(max_length=40)


def decode(text: str) -> bytes:
    """Base64 with one spelling for each byte string; raises MalformedError."""
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise MalformedError("A value is not base64.", code="base64-malformed") from error
    if base64.b64encode(data).decode() != text:
        raise MalformedError("A value is not canonical base64.", code="base64-malformed")
    return data
