"""A declassification before it is sent: what it is of, and whose signatures it takes.

The rules are the broker's (:mod:`jupyter_aisec.grants.declassify`). They are asked here too, so
that nobody is asked to sign what would be refused, and so that the last signer knows to send it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from jupyter_aisec.client.views import ArtifactView
from jupyter_aisec.errors import ConflictError
from jupyter_aisec.grants.declassify import (
    Demand,
    check_beginner,
    check_drops,
    check_reason,
    demanded,
)
from jupyter_aisec.grants.policy import Policy
from jupyter_aisec.grants.signed import payload_sha256
from jupyter_aisec.grants.statements import Declassification
from jupyter_aisec.ledger.checkpoint import Checkpoint

if TYPE_CHECKING:
    from jupyter_aisec.client.person import PersonClient

__all__ = ["declassification", "demand", "find_declassified", "labels_left"]


def declassification(
    client: PersonClient, name: str, version: int | None, drops: Sequence[str], reason: str
) -> Declassification:
    """What whoever begins it signs: labels of a version, by default the newest.

    Raises what the broker would, where others could not put it right by signing.
    """
    check_reason(reason)
    view = client.artifact(name, version)
    who = client.whoami()
    statement = client.statement(
        Declassification,
        person=who.person,
        artifact=view.artifact,
        version=view.version,
        seal_id=view.seal_id,
        manifest_sha256=payload_sha256(view.manifest),
        drops=tuple(sorted(set(drops))),
        reason=reason,
        policy_version=client.policy().version,
        checkpoint=client.watch.latest().brief,
    )
    check_drops(view.artifact, view.version, frozenset(view.labels), statement.drops)
    check_beginner(statement, who.roles, client.artifact(name, 1).by)
    demand(client, statement, view).require_possible()
    return statement


def find_declassified(client: PersonClient, said: Declassification) -> ArtifactView:
    """What a statement speaks of, as the catalog has it.

    Raises ConflictError unless that is what was signed for, under the policy in force, and
    LedgerError where whoever began it saw another ledger than this home.
    """
    view = client.artifact(said.artifact, said.version)
    if (view.seal_id, payload_sha256(view.manifest)) != (said.seal_id, said.manifest_sha256):
        raise ConflictError(
            f"What was signed for is not {said.artifact} version {said.version}, which is "
            f"{view.seal_id}.",
            next="Do not sign it. Ask whoever gave you the file.",
            code="declassified-other",
        )
    if said.policy_version != (version := client.policy().version):
        raise ConflictError(
            f"This was signed under policy version {said.policy_version}, and version {version} "
            "is in force.",
            next=f"{said.person} begins it again: "
            f"`aisec declassify {said.artifact}@{said.version} --drop {said.drops[0]} "
            "--reason TEXT`.",
            code="policy-changed",
        )
    check_drops(said.artifact, said.version, frozenset(view.labels), said.drops)
    client.watch.require_seen(Checkpoint.from_brief(client.trust.origin, said.checkpoint))
    return view


def labels_left(view: ArtifactView, said: Declassification) -> tuple[str, ...]:
    """The labels that the version carries once it is in the ledger."""
    return tuple(label for label in view.labels if label not in said.drops)


def demand(client: PersonClient, said: Declassification, view: ArtifactView) -> Demand:
    """Whose signatures it takes; raises RefusedError where the policy lets nobody."""
    return demanded(
        Policy.from_dict(client.policy().policy),
        view.artifact,
        view.labels,
        dict(_who_can_sign(client)),
        (said.person, client.artifact(view.artifact, 1).by, view.by),
    )


def _who_can_sign(client: PersonClient) -> Iterable[tuple[str, tuple[str, ...]]]:
    for person in client.people():
        if person.removed is None and any(one.revoked is None for one in person.keys):
            yield person.name, person.roles
