"""Artifacts: the catalog, and new versions."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query

from jupyter_aisec.broker.identity import BrokerDep, SenderDep, SignedInDep
from jupyter_aisec.broker.pages import LINKED, PageDep
from jupyter_aisec.broker.schemas import SealedIn, StatementIn
from jupyter_aisec.broker.sealing import accept_version
from jupyter_aisec.broker.statements import append_statement
from jupyter_aisec.broker.views import ArtifactView, ListedView, SealedView, StoreView
from jupyter_aisec.grants.declassify import propose_declassification
from jupyter_aisec.grants.statements import Declassification

router = APIRouter(prefix="/v1", tags=["artifacts"])


@router.get("/artifacts", summary="The newest version of every artifact", responses=LINKED)
def artifacts(
    broker: BrokerDep,
    who: SignedInDep,
    page: PageDep,
    after: Annotated[str, Query(max_length=200)] = "",
) -> list[ListedView]:
    """In the order of their names; ``after`` a name goes on."""
    with broker.ledger.reading() as (state, _):
        catalog = state.catalog
        names = sorted(name for name in catalog.names if name > after)
        return [ListedView.of(catalog.find(name)) for name in page.of(names, lambda last: last)]


@router.get("/artifacts/{kind}/{name}", summary="One version: the newest, or the one asked for")
def artifact(
    broker: BrokerDep,
    who: SignedInDep,
    kind: Literal["dataset", "weights", "results"],
    name: Annotated[str, Path(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")],
    version: Annotated[int | None, Query(ge=1, le=2**31)] = None,
) -> ArtifactView:
    with broker.ledger.reading() as (state, _):
        return ArtifactView.of(state.catalog.find(f"{kind}/{name}", version))


@router.get(
    "/artifacts/{kind}/{name}/versions",
    summary="Every version, the first first",
    responses=LINKED,
)
def versions(
    broker: BrokerDep,
    who: SignedInDep,
    kind: Literal["dataset", "weights", "results"],
    name: Annotated[str, Path(pattern="^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")],
    page: PageDep,
    after: Annotated[int, Query(ge=0, le=2**31)] = 0,
) -> list[ListedView]:
    """``after`` a version goes on."""
    with broker.ledger.reading() as (state, _):
        state.catalog.find(f"{kind}/{name}")
        found = state.catalog.versions(f"{kind}/{name}")
        return [ListedView.of(one) for one in page.of(found[after:], lambda last: last.version)]


@router.post("/artifacts", summary="Register a sealed version, and hand in its keys")
def seal(broker: BrokerDep, sender: SenderDep, body: SealedIn) -> SealedView:
    """With a session, or signed by a kernel that took a seat; the manifest by the same one."""
    version = accept_version(broker, body, sender)
    return SealedView(artifact=version.artifact, version=version.version)


@router.post("/artifacts/declassifications", summary="Drop labels of a version; several sign")
def declassify(broker: BrokerDep, who: SignedInDep, body: StatementIn) -> ArtifactView:
    """By its owner or an admin, and by others whom the policy names; the manifest stays."""
    envelope = body.envelope.envelope()
    said = envelope.read(Declassification, Declassification.payload_type, "The declassification")
    append_statement(
        broker,
        who,
        envelope,
        propose_declassification,
        action="declassify",
        subject=f"{said.artifact}@{said.version}",
    )
    with broker.ledger.reading() as (state, _):
        return ArtifactView.of(state.catalog.find(said.artifact, said.version))


@router.get("/store", summary="Where new versions are written")
def store(broker: BrokerDep, who: SignedInDep) -> StoreView:
    return StoreView(url=broker.store_url)
