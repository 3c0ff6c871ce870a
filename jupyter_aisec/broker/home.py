"""What an operator does with a home whose broker is not running: audit, accept a loss."""

from __future__ import annotations

from pathlib import Path

from jupyter_aisec.broker.audit import Examination, examine
from jupyter_aisec.broker.bundles import check_bundle
from jupyter_aisec.broker.clock import wall_clock
from jupyter_aisec.broker.digests import ColumnDigests
from jupyter_aisec.broker.finding import Finding, at_row, tampered
from jupyter_aisec.broker.keystore import open_key_store
from jupyter_aisec.broker.outside import OutsideCopies, read_copy
from jupyter_aisec.broker.service import DATABASE, genesis_missing
from jupyter_aisec.broker.store import HomeLock, snapshot_of
from jupyter_aisec.errors import KeyStoreError
from jupyter_aisec.ledger.note import NoteSigner
from jupyter_aisec.ledger.trust import Trust

__all__ = ["accept_rollback", "audit_home"]


def audit_home(home: Path, trust: Trust | None = None) -> list[Finding]:
    """Everything in the database of ``home`` that is not what was logged.

    Every column of every row, every signature, the copies of the ledger checkpoint outside.
    Reads only, and works while the broker runs. Raises LedgerError if there is no database
    or it cannot be read at all, KeyStoreError if its keys are not there.

    With ``trust``, a trust file's, no key is asked for, so that it works on a copied
    database: that an entry was edited is noticed, which row and column it was is not told;
    the column ``digests`` and the key store's copy of the checkpoint are not checked.
    """
    if trust is None:
        try:
            return list(_examine(home, with_copies=True).findings)
        except KeyStoreError as error:
            if error.code != "key-missing":
                raise
            raise KeyStoreError(
                error.what,
                next="Restore it from a backup. A copy without keys is checked by its trust "
                "file: `--trust FILE`.",
                code=error.code,
            ) from error
    if not (home / DATABASE).exists():
        raise genesis_missing(home)
    copy = read_copy(home)
    examination = examine(
        snapshot_of(home / DATABASE),
        trust.log_key,
        {} if copy is None else {"home": copy},
        check_bundle,
        None,
        signatures=True,
    )
    if not examination.findings and examination.entries:
        genesis = examination.entries[0]
        if genesis.leaf_hash.hex() != trust.genesis_sha256:
            what = "it is not the genesis that the trust file pins"
            return [at_row("entries", (0,), "body", what)]
    return list(examination.findings)


def accept_rollback(home: Path) -> int:
    """Accepts that entries are lost for good; returns how many the ledger has now.

    What is left must be right in itself, down to its signed checkpoint. Everybody who saw
    more (keepers, approvers, monitors) will notice, and must be told. The old copies stay
    beside the new ones, as evidence. Raises TamperedError where more is wrong.
    """
    lock = HomeLock(home)
    try:
        examination = _examine(home, with_copies=False)
        if examination.findings:
            raise tampered(examination.findings)
        copies = OutsideCopies(home, open_key_store(home))
        copies.set_aside(wall_clock())
        copies.write(examination.note)
        return len(examination.entries)
    finally:
        lock.close()


def _examine(home: Path, *, with_copies: bool) -> Examination:
    if not (home / DATABASE).exists():
        raise genesis_missing(home)
    key_store = open_key_store(home)
    keys = key_store.keys()
    return examine(
        snapshot_of(home / DATABASE),
        NoteSigner(keys.origin, keys.log).verifier_key,
        OutsideCopies(home, key_store).read() if with_copies else {},
        check_bundle,
        ColumnDigests(key_store.digest_key()),
        signatures=True,
    )
