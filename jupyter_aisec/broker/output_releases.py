"""Releasing the content key of a saved output: promise P1 for all it was made from, then HPKE.

The broker gets the header alone and never the ciphertext: it unwraps that output's content key
with the private output keys of its artifacts, and nothing else. A header that does not open is
an error and no release; see :mod:`jupyter_aisec.broker.releases` for the order of things.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime

from jupyter_aisec.broker.failpoints import failpoint
from jupyter_aisec.broker.kernel_requests import KernelRequest
from jupyter_aisec.broker.releases import release_once
from jupyter_aisec.broker.schemas import OutputIn
from jupyter_aisec.broker.service import Broker
from jupyter_aisec.broker.views import OutputReleaseView, OutputSourceView, envelope_model
from jupyter_aisec.errors import TamperedError
from jupyter_aisec.grants.output_releases import propose_output_release
from jupyter_aisec.grants.state import State
from jupyter_aisec.grants.statements import OutputReleaseStatement
from jupyter_aisec.ledger.bodies import OutputReleased
from jupyter_aisec.people.dsse import sign
from jupyter_aisec.sealed.artifact import OUTPUT_KEY_ID
from jupyter_aisec.sealed.outputs import OutputHeader, OutputKey, unwrap_content_key
from jupyter_aisec.sealed.release import ReleaseKey, output_release_info, seal_key

__all__ = ["release_output"]


def release_output(broker: Broker, ask: OutputIn, signed: KernelRequest) -> OutputReleaseView:
    """The content key that the kernel asks for, if promise P1 holds; else whatever it says."""
    header = ask.header.header()

    def propose(state: State, now: datetime) -> OutputReleased:
        return propose_output_release(
            state,
            [(key.artifact, key.seal_id) for key in header.keys],
            ask.grants,
            header.ciphertext_sha256,
            signed.kernel,
            signed.action,
            signed.sha256,
            now,
        )

    def encrypt(state: State, body: OutputReleased) -> bytes:
        encrypted = _encrypt(broker, state, header, body)
        failpoint("output.encrypted")
        return encrypted

    names = ", ".join(sorted({key.artifact for key in header.keys}))
    with broker.ledger.reading():
        body, encrypted, index = release_once(
            broker, signed, propose, encrypt, action="output", subject=names[:200]
        )
        failpoint("output.released")
        return _view(broker, body, index, encrypted)


def _encrypt(broker: Broker, state: State, header: OutputHeader, body: OutputReleased) -> bytes:
    """The content key, to the release key that the kernel was bound with."""

    def private_key(key: OutputKey) -> ReleaseKey:
        wrapped = broker.ledger.wrapped_key(key.seal_id, OUTPUT_KEY_ID)
        if wrapped is None:
            raise TamperedError(
                f"The wrapped output key of {key.seal_id} is missing.",
                next="See where: `aisec audit verify`.",
            )
        return ReleaseKey(broker.key_store.unwrap(wrapped, key.seal_id, OUTPUT_KEY_ID))

    content_key = unwrap_content_key(header, private_key)
    # P1 holds for each grant, so each has this kernel in its seat.
    seat = state.grant(body.sources[0].grant).bindings[-1]
    info = output_release_info(ciphertext_sha256=body.ciphertext_sha256, kernel=body.kernel)
    return seal_key(content_key, seat.signed.statement.release_key, info)


def _view(broker: Broker, body: OutputReleased, index: int, encrypted: bytes) -> OutputReleaseView:
    statement = OutputReleaseStatement(
        entry=index,
        action=body.action,
        ciphertext_sha256=body.ciphertext_sha256,
        kernel=body.kernel,
        key_sha256=hashlib.sha256(encrypted).hexdigest(),
    )
    return OutputReleaseView(
        key=base64.b64encode(encrypted).decode(),
        sources=[OutputSourceView.of(source) for source in body.sources],
        entry=index,
        signature=envelope_model(sign(statement, statement.payload_type, broker.keys.broker)),
        checkpoint=broker.ledger.checkpoint,
    )
