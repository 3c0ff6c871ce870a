"""New versions entering the catalog: their keys are opened, checked, wrapped, and logged."""

from __future__ import annotations

import hashlib

from jupyter_aisec.broker.failpoints import failpoint
from jupyter_aisec.broker.schemas import SealedIn, decode
from jupyter_aisec.broker.service import Broker
from jupyter_aisec.broker.store import WrappedKeyRow
from jupyter_aisec.errors import (
    ConflictError,
    IdentityError,
    MalformedError,
    RefusedError,
    WrongKeyError,
)
from jupyter_aisec.grants.artifacts import propose_sealed
from jupyter_aisec.grants.catalog import ArtifactVersion
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.sealed.artifact import OUTPUT_KEY_ID
from jupyter_aisec.sealed.datakey import DataKey
from jupyter_aisec.sealed.manifest import Manifest, read_manifest
from jupyter_aisec.sealed.release import ReleaseKey, deposit_info
from jupyter_aisec.sealed.store import version_url

__all__ = ["accept_version"]


def accept_version(broker: Broker, sealed: SealedIn, sender: str) -> ArtifactVersion:
    """The version as it is in the catalog now.

    ``sender`` is the person of the session, or the key id of the kernel, that sent it: whoever
    signed the manifest. The same manifest sent again is the version that it became.
    """
    envelope = sealed.manifest.envelope()
    manifest = read_manifest(envelope)
    _require_own(broker, envelope, sender)
    _require_place(broker, manifest, sealed.url, sender)
    rows = _wrap(broker, manifest, sealed)
    failpoint("artifact.wrapped")
    digests = {row.key_id: hashlib.sha256(row.wrapped).hexdigest() for row in rows}
    try:
        sealed_as = broker.ledger.append(
            lambda state, now: propose_sealed(state, envelope, sealed.url, digests, now),
            lambda _: rows,
        ).body
    except ConflictError:
        with broker.ledger.reading() as (state, _):
            found = state.catalog.sealed(manifest.seal_id)
        if found is None or found.manifest != envelope:
            raise
        return found
    with broker.ledger.reading() as (state, _):
        return state.catalog.find(sealed_as.artifact, sealed_as.version)


def _require_own(broker: Broker, envelope: Envelope, sender: str) -> None:
    """The manifest is signed by whoever sends it: nobody registers another's work."""
    with broker.ledger.reading() as (state, _):
        signers = {
            name
            for signature in envelope.signatures
            for name in (signature.keyid, state.directory.owner(signature.keyid))
        }
    if sender not in signers:
        raise IdentityError(
            "The manifest is not signed by the one who sends it.",
            next="Send it from the account, or the kernel, that sealed it.",
            code="manifest-of-another",
        )


def _require_place(broker: Broker, manifest: Manifest, url: str, sender: str) -> None:
    """What a kernel sealed lies in the broker's store: no other place is its to name."""
    with broker.ledger.reading() as (state, _):
        kernel = state.kernels.get(sender)
    place = version_url(broker.store_url, manifest.artifact, manifest.seal_id)
    if kernel is not None and url != place:
        raise RefusedError(
            f"{url[:140]!r} is not where a kernel seals {manifest.artifact}.",
            next="Save it with %save_secure, which puts it into the broker's store.",
            code="url-elsewhere",
        )


def _wrap(broker: Broker, manifest: Manifest, sealed: SealedIn) -> list[WrappedKeyRow]:
    """Every key of the manifest: opened, held against its commitment, wrapped."""
    if set(sealed.keys) != {key.key_id for key in manifest.keys}:
        raise MalformedError(
            "The keys sent are not those that the manifest names.", code="deposit-differs"
        )
    seal_id = manifest.seal_id
    rows = []
    for key_id, encrypted in sealed.keys.items():
        data_key = DataKey(_open(broker, encrypted, seal_id, key_id))
        try:
            data_key.check(manifest.commitment(key_id), key_id)
            wrapped = broker.key_store.wrap(bytes(data_key.secret), seal_id, key_id)
        finally:
            data_key.wipe()
        rows.append(WrappedKeyRow(seal_id, key_id, wrapped))
    output_key = _open(broker, sealed.output_key, seal_id, OUTPUT_KEY_ID)
    if ReleaseKey(output_key).public != manifest.output_key:
        raise WrongKeyError("The output key sent is not the one in the manifest.")
    wrapped = broker.key_store.wrap(output_key, seal_id, OUTPUT_KEY_ID)
    return [*rows, WrappedKeyRow(seal_id, OUTPUT_KEY_ID, wrapped)]


def _open(broker: Broker, encrypted: str, seal_id: str, key_id: str) -> bytes:
    info = deposit_info(seal_id=seal_id, key_id=key_id)
    return broker.keys.seal.open(decode(encrypted), info)
