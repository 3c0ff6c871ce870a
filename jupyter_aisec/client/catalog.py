"""The catalog, as people and kernels both use it: finding a version, registering a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jupyter_aisec.client.http import Http
from jupyter_aisec.client.views import ArtifactView, ListedView, as_list, as_view
from jupyter_aisec.ledger.trust import Trust
from jupyter_aisec.sealed.manifest import check_artifact_name

if TYPE_CHECKING:
    from jupyter_aisec.sealed.artifact import SealResult

__all__ = ["get_artifact", "get_versions", "registration"]


def get_artifact(http: Http, name: str, version: int | None) -> ArtifactView:
    """The newest version of an artifact, or the one asked for; raises NotFoundError."""
    check_artifact_name(name)
    params = {} if version is None else {"version": version}
    return as_view(http.get(f"/v1/artifacts/{name}", params), ArtifactView)


def get_versions(http: Http, name: str) -> tuple[ListedView, ...]:
    """Every version of an artifact, the first one first; raises NotFoundError."""
    check_artifact_name(name)
    return as_list(http.pages(f"/v1/artifacts/{name}/versions"), ListedView)


def registration(result: SealResult, url: str, trust: Trust) -> dict[str, Any]:
    """The body of ``POST /v1/artifacts``; its keys open only for the broker that is trusted."""
    deposit = result.deposit(trust.seal_key)
    return {
        "manifest": result.envelope,
        "url": url,
        "keys": deposit.keys,
        "output_key": deposit.output_key,
    }
