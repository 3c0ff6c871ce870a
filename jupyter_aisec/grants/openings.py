"""Whether a kernel may open an artifact version now: promise P1 in one place.

Nothing of a version leaves the broker, neither its data keys nor the content key of an output
that was made from it, unless the whole ledger shows, at that moment: a requester who may ask;
as many distinct approvers as the policy demanded, none of them the requester, each
signature valid; the window open; nothing that ended it; and the asking key bound to the
seat, by a signature whose key was not revoked since.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from jupyter_aisec.errors import ConflictError, IdentityError, RefusedError
from jupyter_aisec.grants.approvals import ended_error
from jupyter_aisec.grants.catalog import ArtifactVersion
from jupyter_aisec.grants.grant import Grant
from jupyter_aisec.grants.names import check_digest, check_id, split_reference
from jupyter_aisec.grants.state import State, unknown_grant
from jupyter_aisec.grants.waived import check_waived_opening

__all__ = [
    "action_reused",
    "check_action",
    "check_labels",
    "check_opening",
    "find_version",
    "known_grant",
    "verify_statements",
]


def check_opening(
    state: State,
    *,
    grant: str,
    artifact: str,
    version: int,
    seal_id: str,
    approvals: int,
    kernel: str,
    at: datetime,
) -> ArtifactVersion:
    """The version, if ``kernel`` may open it under ``grant`` at ``at``; else whatever says no.

    ``seal_id`` and ``approvals`` are what an entry says of it. Approvals were counted and
    checked one by one as they were recorded; their signatures: :func:`verify_statements`.
    """
    found = known_grant(state, grant, kernel)
    _check_window(found, at)
    check_waived_opening(found, state.policies[found.terms.policy_version], state.policy)
    _check_kernel(state, found, kernel)
    sealed = find_version(state, found, artifact, version)
    check_labels(artifact, sealed.version, sealed.labels, found.labels[artifact])
    if (seal_id, approvals) != (sealed.seal_id, found.terms.approvals):
        raise RefusedError("The release is not what the grant allows.", code="release-differs")
    return sealed


def check_labels(
    artifact: str, version: int, labels: Iterable[str], asked: Collection[str]
) -> None:
    """Raises RefusedError where a version carries labels that were not among those asked about."""
    if new := sorted(set(labels).difference(asked)):
        raise RefusedError(
            f"{artifact} version {version} carries labels that nobody was asked "
            f"about: {', '.join(new)}.",
            next="Ask again, so that the approvers see them: "
            f"`%grant request {artifact} --for 1h --reason TEXT`.",
            code="labels-new",
        )


def known_grant(state: State, grant: str, kernel: str) -> Grant:
    """The grant, if it is of the person whose kernel asks; else there is none, in the same words.

    Asked first: what a grant covers, and whether it has ended, is nothing for other kernels.
    Raises NotFoundError (``grant-unknown``).
    """
    found, known = state.grant(grant), state.kernels.get(kernel)
    if known is not None and known.person != found.person:
        raise unknown_grant(grant)
    return found


def verify_statements(state: State, grant: str) -> None:
    """Raises SignatureError unless every signature that the grant rests on verifies."""
    for signed in state.grant(grant).statements():
        state.verify_once(signed)


def check_action(state: State, action: str, request_sha256: str) -> None:
    """That a release may be recorded under this action id: it is new, and of its form."""
    check_id(action, "action")
    check_digest(request_sha256, "The digest of the request")
    if action in state.actions:
        raise ConflictError("This action id was used before.", code="action-reused")


def action_reused() -> ConflictError:
    """What to say about an action id that stands for another request."""
    return ConflictError(
        "This action id was used for another request.",
        next="Every request makes an id of its own.",
        code="action-reused",
    )


def _check_window(grant: Grant, at: datetime) -> None:
    state = grant.state(at)
    if state == "ended":
        raise ended_error(grant, at)
    if state != "active":
        raise RefusedError(
            f"{grant.id} is {state}, not active.",
            next=f"`aisec grant show {grant.id}` says what it waits for.",
            code="grant-not-active",
        )


def _check_kernel(state: State, grant: Grant, kernel: str) -> None:
    seat = grant.seat
    if seat is None or seat.kernel != kernel:
        raise IdentityError(
            f"This kernel does not hold the seat of {grant.id}.",
            next="Another kernel of this notebook took it, or none did. To take it here: "
            "`%reload_ext jupyter_aisec`.",
            code="kernel-not-bound",
        )
    # A key that was stolen and revoked takes every seat it took with it.
    for key in seat.signed.keys:
        state.valid_key(grant.person, key.key_id)


def find_version(state: State, grant: Grant, artifact: str, version: int | None) -> ArtifactVersion:
    """The version asked for, or the last one that the grant covers; raises RefusedError."""
    pinned = [
        split_reference(one)[1] for one in grant.artifacts if split_reference(one)[0] == artifact
    ]
    if not pinned:
        raise RefusedError(
            f"{grant.id} does not cover {artifact[:140]}.",
            next=f"It covers {', '.join(grant.artifacts)}.",
            code="artifact-not-granted",
        )
    if version is None and None not in pinned:
        version = max(one for one in pinned if one is not None)
    found = state.catalog.find(artifact, version)
    if not grant.allows(artifact, found.version):
        raise RefusedError(
            f"{grant.id} does not cover {artifact} version {found.version}.",
            next=f"It covers {', '.join(grant.artifacts)}.",
            code="artifact-not-granted",
        )
    return found
