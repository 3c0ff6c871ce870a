"""Releasing data keys: promise P1 over the whole stored ledger, then HPKE to one kernel.

The lock is held from the comparison of the database with memory to the logged release, so
that nothing can come in between. A repeat under the same action id gets the recorded
outcome again, newly encrypted to the same kernel, as long as P1 still holds.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final

import msgspec

from jupyter_aisec.broker.failpoints import failpoint
from jupyter_aisec.broker.kernel_requests import KernelRequest
from jupyter_aisec.broker.schemas import KeysIn
from jupyter_aisec.broker.service import Broker
from jupyter_aisec.broker.views import ReleaseView, envelope_model
from jupyter_aisec.errors import TamperedError
from jupyter_aisec.grants.releases import propose_release
from jupyter_aisec.grants.state import State
from jupyter_aisec.ledger.bodies import KeysReleased
from jupyter_aisec.people.canonical import canonical
from jupyter_aisec.people.dsse import sign
from jupyter_aisec.sealed.datakey import DataKey
from jupyter_aisec.sealed.manifest import read_manifest
from jupyter_aisec.sealed.release import release_info, seal_key

__all__ = ["RELEASE_TYPE", "ReleaseStatement", "release_keys"]

RELEASE_TYPE: Final = "application/vnd.jupyter-aisec.release+json"


class ReleaseStatement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the broker signs over each key release (HPKE base mode names no sender)."""

    entry: int  # the index of the ledger entry that logged it
    action: str
    grant: str
    seal_id: str
    kernel: str
    keys_sha256: str  # of the canonical JSON of the encrypted keys


def release_keys(broker: Broker, grant_id: str, ask: KeysIn, signed: KernelRequest) -> ReleaseView:
    """The data keys that the kernel asks for, if promise P1 holds; else whatever it says."""
    ledger = broker.ledger
    with ledger.reading() as (state, now):
        ledger.check_stored()
        person = state.grant(grant_id).person
        with broker.noting_refusals(person, "keys", grant_id):
            body = propose_release(
                state,
                grant_id,
                ask.artifact,
                ask.version,
                _key_ids(state, ask),
                signed.kernel,
                signed.action,
                signed.sha256,
                now,
            )
        recorded = state.actions.get(signed.action)
        if recorded is not None:
            index = recorded.index
        else:
            index = ledger.append(lambda state, now: body).entry.index
        failpoint("keys.released")
        view = _encrypt(broker, state, body, index)
    failpoint("keys.encrypted")
    return view


def _key_ids(state: State, ask: KeysIn) -> tuple[str, ...] | None:
    """The keys of the files asked for; None for all."""
    if ask.files is None:
        return None
    manifest = read_manifest(state.catalog.find(ask.artifact, ask.version).manifest)
    return tuple(manifest.file(name).key_id for name in ask.files)


def _encrypt(broker: Broker, state: State, body: KeysReleased, index: int) -> ReleaseView:
    seat = next(one for one in state.grant(body.grant).bindings if one.kernel == body.kernel)
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
        signature=envelope_model(sign(statement, RELEASE_TYPE, broker.keys.broker)),
        checkpoint=broker.ledger.checkpoint,
    )
