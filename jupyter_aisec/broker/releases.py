"""Releasing data keys: promise P1 over the whole stored ledger, then HPKE to one kernel.

The lock is held from the comparison of the database with memory to the logged release, so
that nothing can come in between. The reply is encrypted before it is logged, so that no release
is in the ledger that could not be made, and leaves after. A repeat under the same action id
gets the recorded outcome again, newly encrypted to the same kernel, as long as P1 still holds.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from jupyter_aisec.broker.failpoints import failpoint
from jupyter_aisec.broker.kernel_requests import KernelRequest
from jupyter_aisec.broker.ledger import Propose
from jupyter_aisec.broker.schemas import KeysIn
from jupyter_aisec.broker.service import Broker
from jupyter_aisec.broker.views import ReleaseView, envelope_model
from jupyter_aisec.errors import TamperedError
from jupyter_aisec.grants.openings import find_version, known_grant
from jupyter_aisec.grants.releases import propose_release
from jupyter_aisec.grants.state import State
from jupyter_aisec.grants.statements import ReleaseStatement
from jupyter_aisec.ledger.bodies import Body, KeysReleased
from jupyter_aisec.people.canonical import canonical
from jupyter_aisec.people.dsse import sign
from jupyter_aisec.sealed.datakey import DataKey
from jupyter_aisec.sealed.manifest import read_manifest
from jupyter_aisec.sealed.release import release_info, seal_key

__all__ = ["release_keys", "release_once"]

B = TypeVar("B", bound=Body)
E = TypeVar("E")


def release_keys(broker: Broker, grant_id: str, ask: KeysIn, signed: KernelRequest) -> ReleaseView:
    """The data keys that the kernel asks for, if promise P1 holds; else whatever it says."""

    def propose(state: State, now: datetime) -> KeysReleased:
        repeated = signed.action in state.actions
        return propose_release(
            state,
            grant_id,
            ask.artifact,
            ask.version,
            None if repeated else _key_ids(state, grant_id, ask, signed.kernel),
            signed.kernel,
            signed.action,
            signed.sha256,
            now,
        )

    def encrypt(state: State, body: KeysReleased) -> dict[str, bytes]:
        keys = _encrypt(broker, state, body)
        failpoint("keys.encrypted")
        return keys

    with broker.ledger.reading():
        body, keys, index = release_once(
            broker, signed, propose, encrypt, action="keys", subject=grant_id
        )
        failpoint("keys.released")
        return _view(broker, body, index, keys)


def release_once(
    broker: Broker,
    signed: KernelRequest,
    propose: Propose[B],
    encrypt: Callable[[State, B], E],
    *,
    action: str,
    subject: str,
) -> tuple[B, E, int]:
    """What ``propose`` allowed, ``encrypt`` made of it, and the index of the entry that says so.

    It is appended once for each action id; a repeat is only proposed again, at the time it
    comes. ``action`` and ``subject`` name it where a refusal is kept.
    """
    ledger = broker.ledger
    with ledger.reading():
        ledger.check_stored()
        with ledger.reading() as (state, now):  # the comparison took its time
            person = state.kernels[signed.kernel].person  # its signature was checked with its key
            with broker.noting_refusals(person, action, subject):
                body = propose(state, now)
                encrypted = encrypt(state, body)
                if signed.action not in state.actions:
                    # Asked again, at the very time that the entry bears: a grant that ended
                    # meanwhile is refused. Nothing else can differ under the lock.
                    ledger.append(propose)
            return body, encrypted, state.actions[signed.action].index


def _key_ids(state: State, grant_id: str, ask: KeysIn, kernel: str) -> tuple[str, ...] | None:
    """The keys of the files asked for, in the version that is released; None for all."""
    if ask.files is None:
        return None
    version = find_version(state, known_grant(state, grant_id, kernel), ask.artifact, ask.version)
    manifest = read_manifest(version.manifest)
    return tuple(manifest.file(name).key_id for name in ask.files)


def _encrypt(broker: Broker, state: State, body: KeysReleased) -> dict[str, bytes]:
    """Each data key by its id; raises MalformedError for a release key that is none."""
    bindings = reversed(state.grant(body.grant).bindings)
    seat = next(one for one in bindings if one.kernel == body.kernel)
    recipient = seat.signed.statement.release_key
    manifest = read_manifest(state.catalog.find(body.artifact, body.version).manifest)
    keys = {}
    for key_id in body.key_ids:
        wrapped = broker.ledger.wrapped_key(body.seal_id, key_id)
        if wrapped is None:
            raise TamperedError(
                f"The wrapped data key {key_id} of {body.seal_id} is missing.",
                next="See where: `aisec audit verify`.",
            )
        data_key = DataKey(broker.key_store.unwrap(wrapped, body.seal_id, key_id))
        try:
            data_key.check(manifest.commitment(key_id), key_id)
            info = release_info(
                grant=body.grant,
                artifact=body.artifact,
                seal_id=body.seal_id,
                key_id=key_id,
                kernel=body.kernel,
            )
            keys[key_id] = seal_key(data_key.secret, recipient, info)
        finally:
            data_key.wipe()
    return keys


def _view(broker: Broker, body: KeysReleased, index: int, keys: dict[str, bytes]) -> ReleaseView:
    statement = ReleaseStatement(
        entry=index,
        action=body.action,
        grant=body.grant,
        seal_id=body.seal_id,
        kernel=body.kernel,
        keys_sha256=hashlib.sha256(canonical(keys)).hexdigest(),
    )
    return ReleaseView(
        keys={key_id: base64.b64encode(sealed).decode() for key_id, sealed in keys.items()},
        seal_id=body.seal_id,
        entry=index,
        signature=envelope_model(sign(statement, statement.payload_type, broker.keys.broker)),
        checkpoint=broker.ledger.checkpoint,
    )
