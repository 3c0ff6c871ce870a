"""Releasing data keys to a kernel: promise P1 in one place.

No data key leaves unless the whole ledger shows, at that moment: a requester who may ask;
as many distinct approvers as the policy demanded, none of them the requester, each
signature valid; the window open; nothing that ended it; and the asking key bound to the
seat, by a signature whose key was not revoked since.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from jupyter_aisec.errors import ConflictError, IdentityError, NotFoundError, RefusedError
from jupyter_aisec.grants.approvals import ended_error
from jupyter_aisec.grants.catalog import ArtifactVersion
from jupyter_aisec.grants.grant import Grant
from jupyter_aisec.grants.names import check_digest, check_id, split_reference
from jupyter_aisec.grants.signed import valid_key
from jupyter_aisec.ledger.bodies import KeysReleased

if TYPE_CHECKING:
    from jupyter_aisec.grants.state import State

__all__ = ["check_released", "find_version", "propose_release"]


def propose_release(
    state: State,
    grant: str,
    artifact: str,
    version: int | None,
    key_ids: Iterable[str] | None,
    kernel: str,
    action: str,
    request_sha256: str,
    now: datetime,
) -> KeysReleased:
    """The entry for a release of ``artifact``'s data keys (all, or ``key_ids``) to ``kernel``.

    ``action`` is the kernel's id for what it asks, ``request_sha256`` the digest of the
    signed request. Asked again with the same three, the entry that is *recorded* comes back
    (``body is state.actions[action].body``: nothing is to be appended), while P1 still
    holds; anything else under that id raises ConflictError ``action-reused``.
    """
    recorded = state.actions.get(action)
    if recorded is not None:
        body = recorded.body
        if (body.grant, body.kernel, body.request_sha256) != (grant, kernel, request_sha256):
            raise ConflictError(
                "This action id was used for another request.",
                next="Every request makes an id of its own.",
                code="action-reused",
            )
    else:
        found = find_version(state, state.grant(grant), artifact, version)
        body = KeysReleased(
            grant=grant,
            action=action,
            request_sha256=request_sha256,
            artifact=artifact,
            version=found.version,
            seal_id=found.seal_id,
            key_ids=found.key_ids if key_ids is None else tuple(sorted(set(key_ids))),
            kernel=kernel,
            approvals=state.grant(grant).terms.approvals,
        )
    if recorded is None:
        check_released(state, body, state.time(now))
    else:
        _check_p1(state, body, state.time(now))
    for signed in state.grant(grant).statements():
        state.verify_once(signed)
    return body


def check_released(state: State, body: KeysReleased, at: datetime) -> None:
    """That the release may be recorded at ``at``, under an action id that is new."""
    check_id(body.action, "action")
    check_digest(body.request_sha256, "The digest of the request")
    if body.action in state.actions:
        raise ConflictError("This action id was used before.", code="action-reused")
    _check_p1(state, body, at)


def _check_p1(state: State, body: KeysReleased, at: datetime) -> None:
    """The rule itself. Approvals were counted and checked one by one as they were recorded."""
    grant = state.grant(body.grant)
    _check_window(grant, at)
    _check_kernel(state, grant, body.kernel)
    version = find_version(state, grant, body.artifact, body.version)
    labels = grant.labels[body.artifact]
    if new := sorted(version.labels - labels):
        raise RefusedError(
            f"{body.artifact} version {version.version} carries labels that nobody was asked "
            f"about: {', '.join(new)}.",
            next="Ask again: `aisec grant request` puts them before the approvers.",
            code="labels-new",
        )
    if (body.seal_id, body.approvals) != (version.seal_id, grant.terms.approvals):
        raise RefusedError("The release is not what the grant allows.", code="release-differs")
    if not body.key_ids or not set(body.key_ids) <= set(version.key_ids):
        raise NotFoundError(
            f"{body.artifact} version {version.version} has no such data keys.",
            next=f"`aisec artifact show {body.artifact}` shows its files.",
            code="key-id-unknown",
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
            next="A kernel that started again binds again: `%grant show` does it.",
            code="kernel-not-bound",
        )
    # A key that was stolen and revoked takes every seat it took with it.
    for key in seat.signed.keys:
        valid_key(state, grant.person, key.key_id)


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
