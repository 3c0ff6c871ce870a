"""Releasing the content key of a saved output, if promise P1 holds for all it was made from.

An output shows something of every artifact version that its header names, so each of them must
be one that the kernel may open at that moment; each may be so by another grant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from jupyter_aisec.errors import MalformedError, NotFoundError
from jupyter_aisec.grants.alerts import require_room_to_open
from jupyter_aisec.grants.catalog import ArtifactVersion
from jupyter_aisec.grants.names import MAX_REFERENCES, check_digest
from jupyter_aisec.grants.openings import (
    action_reused,
    check_action,
    check_opening,
    verify_statements,
)
from jupyter_aisec.grants.state import State
from jupyter_aisec.ledger.bodies import OutputReleased, OutputSource

__all__ = ["check_output_released", "check_sources", "propose_output_release"]


def propose_output_release(
    state: State,
    keys: Sequence[tuple[str, str]],
    grants: Mapping[str, str],
    ciphertext_sha256: str,
    kernel: str,
    action: str,
    request_sha256: str,
    now: datetime,
) -> OutputReleased:
    """The entry for releasing an output's content key to ``kernel``.

    ``keys`` are the artifacts and seal ids of the output's header, in its order; ``grants``
    names, for each seal id, the grant to open it under. A repeat under the same ``action``
    and ``request_sha256`` is met as in :func:`~jupyter_aisec.grants.releases.propose_release`.
    """
    recorded = state.actions.get(action)
    if recorded is not None:
        body = recorded.body
        if not isinstance(body, OutputReleased) or (body.kernel, body.request_sha256) != (
            kernel,
            request_sha256,
        ):
            raise action_reused()
        _check_p1(state, body, state.time(now))
    else:
        if set(grants) != {seal_id for _, seal_id in keys}:
            raise MalformedError(
                "The grants named are not one for each artifact version of the output.",
                code="output-grants-differ",
            )
        body = OutputReleased(
            action=action,
            request_sha256=request_sha256,
            kernel=kernel,
            ciphertext_sha256=ciphertext_sha256,
            sources=tuple(_source(state, *key, grants[key[1]]) for key in keys),
        )
        check_output_released(state, body, state.time(now))
    for source in body.sources:
        verify_statements(state, source.grant)
    return body


def _source(state: State, artifact: str, seal_id: str, grant: str) -> OutputSource:
    return OutputSource(
        artifact=artifact,
        version=_find(state, artifact, seal_id).version,
        seal_id=seal_id,
        grant=grant,
        approvals=state.grant(grant).terms.approvals,
    )


def _find(state: State, artifact: str, seal_id: str) -> ArtifactVersion:
    found = state.catalog.sealed(seal_id)
    if found is None or found.artifact != artifact:
        raise NotFoundError(
            f"This output was made from {artifact[:140]}, {seal_id[:40]}, which this broker does "
            "not have.",
            next="Use the broker that it was made with: `export AISEC_BROKER=URL`.",
            code="output-source-unknown",
        )
    return found


def check_output_released(state: State, body: OutputReleased, at: datetime) -> None:
    """That the release may be recorded at ``at``, under an action id that is new."""
    check_action(state, body.action, body.request_sha256)
    check_sources(body)
    versions = _check_p1(state, body, at)
    require_room_to_open(state, body.kernel, versions, at)


def check_sources(body: OutputReleased) -> None:
    """Raises MalformedError unless an output of that digest could be made from these."""
    check_digest(body.ciphertext_sha256, "The digest of the ciphertext")
    names = [(one.artifact, one.seal_id) for one in body.sources]
    if not 1 <= len(names) <= MAX_REFERENCES or names != sorted(set(names)):
        raise MalformedError(
            f"An output is opened that was made from 1 to {MAX_REFERENCES} artifact versions, "
            "sorted and distinct.",
            next="Run the cell again.",
            code="output-sources-invalid",
        )


def _check_p1(state: State, body: OutputReleased, at: datetime) -> list[ArtifactVersion]:
    return [
        check_opening(
            state,
            grant=source.grant,
            artifact=source.artifact,
            version=source.version,
            seal_id=source.seal_id,
            approvals=source.approvals,
            kernel=body.kernel,
            at=at,
        )
        for source in body.sources
    ]
