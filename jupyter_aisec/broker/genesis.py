"""The first entry of a broker: its people, keys and policy, from which everything follows."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from jupyter_aisec.broker.clock import wall_clock
from jupyter_aisec.broker.digests import ColumnDigests
from jupyter_aisec.broker.keystore import EmbeddedKeyStore, open_key_store
from jupyter_aisec.broker.outside import OutsideCopies
from jupyter_aisec.broker.service import DATABASE
from jupyter_aisec.broker.store import CheckpointRow, EntryRow, HomeLock, Store, has_entries
from jupyter_aisec.errors import ConflictError, KeyStoreError
from jupyter_aisec.files import make_private_folder
from jupyter_aisec.grants.policies import make_genesis
from jupyter_aisec.grants.policy import DEFAULT_POLICY_TEXT, Policy, parse_policy
from jupyter_aisec.ids import new_id
from jupyter_aisec.ledger.bodies import Founder
from jupyter_aisec.ledger.checkpoint import Checkpoint, sign_checkpoint
from jupyter_aisec.ledger.entry import SALT_SIZE, Entry, make_entry
from jupyter_aisec.ledger.merkle import Tree
from jupyter_aisec.ledger.note import NoteSigner
from jupyter_aisec.ledger.trust import Trust, trust_of
from jupyter_aisec.times import format_time

__all__ = ["create", "exists"]


def exists(home: Path) -> bool:
    """Whether the home has a broker with a genesis entry."""
    return has_entries(home / DATABASE)


def create(
    home: Path,
    admins: Iterable[Founder],
    policy_text: str = DEFAULT_POLICY_TEXT,
    origin: str | None = None,
) -> Trust:
    """Makes keys and genesis in ``home`` (0700); the trust file's content comes back.

    ``origin`` names the ledger (by default a fresh name). Nothing is left half made: called
    again after a crash it goes on where it was. Raises ConflictError (``genesis-exists``) if
    there is one, and what policy and people may be refused for.
    """
    try:
        make_private_folder(home)
    except OSError as error:
        raise KeyStoreError(
            f"No broker can be made in {home}: {error.strerror}.",
            next="Name a folder that can be written: `--home FOLDER`.",
            code="home-unwritable",
        ) from error
    lock = HomeLock(home)
    try:
        if exists(home):
            raise ConflictError(
                f"There is a broker in {home} already.",
                next=f"Start it, `aisec broker start --home {shlex.quote(str(home))}`, or make "
                "another: `--home FOLDER`.",
                code="genesis-exists",
            )
        policy = parse_policy(policy_text)
        key_store = open_key_store(home)
        entry = _genesis(key_store, admins, policy, origin)
        _write(home, key_store, entry)
    finally:
        lock.close()
    return trust_of(entry)


def _genesis(
    key_store: EmbeddedKeyStore, admins: Iterable[Founder], policy: Policy, origin: str | None
) -> Entry:
    keys = key_store.create(origin or f"aisec.local/{new_id('ledger')}")
    body = make_genesis(
        origin=keys.origin,
        log_key=NoteSigner(keys.origin, keys.log).verifier_key,
        broker_key=keys.broker.public,
        model_key=keys.model.public,
        seal_key=keys.seal.public,
        people=admins,
        policy=policy,
    )
    return make_entry(0, format_time(wall_clock()), body, os.urandom(SALT_SIZE))


def _write(home: Path, key_store: EmbeddedKeyStore, entry: Entry) -> None:
    keys = key_store.keys()
    signer, digests = NoteSigner(keys.origin, keys.log), ColumnDigests(key_store.digest_key())
    note = sign_checkpoint(Checkpoint(keys.origin, 1, Tree([entry.leaf_hash]).root()), signer)
    store = Store(home / DATABASE, signer.verifier_key, digests)
    try:
        with store.transaction() as transaction:
            transaction.insert([EntryRow.of(entry, digests)])
            transaction.replace_checkpoint(CheckpointRow(1, note))
    finally:
        store.close()
    OutsideCopies(home, key_store).write(note)
