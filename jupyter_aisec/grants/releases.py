"""Releasing the data keys of an artifact version to a kernel, if promise P1 holds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from jupyter_aisec.errors import NotFoundError
from jupyter_aisec.grants.alerts import require_room_to_open
from jupyter_aisec.grants.catalog import ArtifactVersion
from jupyter_aisec.grants.openings import (
    action_reused,
    check_action,
    check_opening,
    find_version,
    known_grant,
    verify_statements,
)
from jupyter_aisec.grants.state import State
from jupyter_aisec.ledger.bodies import KeysReleased

__all__ = ["check_released", "propose_release"]


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
    holds; anything else under that id raises ConflictError ``action-reused``. Limits are asked
    for what is new.
    """
    recorded = state.actions.get(action)
    if recorded is not None:
        body = recorded.body
        asked = (grant, kernel, request_sha256)
        if (
            not isinstance(body, KeysReleased)
            or (body.grant, body.kernel, body.request_sha256) != asked
        ):
            raise action_reused()
    else:
        found = find_version(state, known_grant(state, grant, kernel), artifact, version)
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
    verify_statements(state, grant)
    return body


def check_released(state: State, body: KeysReleased, at: datetime) -> None:
    """That the release may be recorded at ``at``, under an action id that is new."""
    check_action(state, body.action, body.request_sha256)
    version = _check_p1(state, body, at)
    require_room_to_open(state, body.kernel, [version], at)


def _check_p1(state: State, body: KeysReleased, at: datetime) -> ArtifactVersion:
    version = check_opening(
        state,
        grant=body.grant,
        artifact=body.artifact,
        version=body.version,
        seal_id=body.seal_id,
        approvals=body.approvals,
        kernel=body.kernel,
        at=at,
    )
    if not body.key_ids or not set(body.key_ids) <= set(version.key_ids):
        raise NotFoundError(
            f"{body.artifact} version {version.version} has no such data keys.",
            next=f"`aisec artifact show {body.artifact}` shows its files.",
            code="key-id-unknown",
        )
    return version
