"""The check of dropped labels: by the broker's rule, on what the chain of custody shows.

A declassification that is left out of a bundle leaves the label where it was: more is demanded
then, never less.
"""

from __future__ import annotations

from jupyter_aisec.errors import LedgerError, SignatureError
from jupyter_aisec.grants.declassify import check_beginner, check_drops, demanded
from jupyter_aisec.grants.signed import payload_sha256
from jupyter_aisec.grants.statements import Declassification
from jupyter_aisec.ledger.bodies import ArtifactDeclassified
from jupyter_aisec.ledger.entry import Entry
from jupyter_aisec.provenance.evidence import Evidence
from jupyter_aisec.provenance.labels import labels_at
from jupyter_aisec.provenance.roster import read_statement
from jupyter_aisec.provenance.run_checks import read_sealed

__all__ = ["check_declassifications"]


def check_declassifications(e: Evidence) -> str:
    """Each label that was dropped was dropped by its owner or an admin, and by enough others."""
    found = []
    for entry, body in e.run.chain.all(ArtifactDeclassified):
        people = _check(e, entry, body)
        found.append(
            f"{', '.join(body.drops)} of {body.artifact} version {body.version} "
            f"by {people[0]} with {', '.join(people[1:])}"
        )
    return "; ".join(found) or "no label was dropped"


def _check(e: Evidence, entry: Entry, body: ArtifactDeclassified) -> tuple[str, ...]:
    """That one of them holds; who signed it, whoever began it first."""
    chain, index = e.run.chain, entry.index
    said: Declassification = read_statement(body.by, Declassification, e.run.genesis.origin)
    sealed_in, sealed = chain.sealed(body.seal_id)
    version, policy = e.policies.at(index)
    read_sealed(e, sealed_in, sealed)
    if sealed_in.index > index or (
        said.artifact,
        said.version,
        said.seal_id,
        said.drops,
        said.manifest_sha256,
    ) != (
        body.artifact,
        body.version,
        body.seal_id,
        body.drops,
        payload_sha256(sealed.manifest),
    ):
        raise LedgerError(
            f"Entry {index} drops labels of another version than was signed for.",
            code="declassification-differs",
        )
    if (sealed.artifact, sealed.version) != (body.artifact, body.version):
        raise LedgerError(
            f"Entry {index} names a version that {body.seal_id[:40]} is not.",
            code="declassification-differs",
        )
    if said.policy_version != version:
        raise LedgerError(
            f"The declassification of entry {index} was signed under policy version "
            f"{said.policy_version}, and version {version} was in force.",
            code="policy-version-wrong",
        )
    labels = labels_at(chain, sealed, index)
    check_drops(body.artifact, body.version, labels, body.drops)
    first_in, first = chain.first(body.artifact)
    read_sealed(e, first_in, first)
    names = e.directory.signers(body.by, index)
    if said.person not in names or len(names) != len(body.by.signatures):
        raise SignatureError(
            f"The declassification of entry {index} is not signed by {said.person}, whom it "
            "names, or carries signatures that nothing here checks.",
            code="signer-wrong",
        )
    roles = {name: e.directory.person(name).roles for name in names}
    check_beginner(said, roles[said.person], first.by)
    others = tuple(name for name in names if name != said.person)
    demanded(policy, body.artifact, labels, roles, (said.person, first.by, sealed.by)).require(
        others
    )
    return (said.person, *others)
