"""Runs: what kernels hand in, and the bundles that verify offline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query, Response

from jupyter_aisec.broker.identity import BrokerDep, KernelDep, SignedInDep
from jupyter_aisec.broker.pages import LINKED, PageDep
from jupyter_aisec.broker.runs import record_run
from jupyter_aisec.broker.schemas import RunIn
from jupyter_aisec.broker.service import Broker
from jupyter_aisec.broker.views import RecordedView, RunView
from jupyter_aisec.errors import NotFoundError
from jupyter_aisec.ledger.bodies import RunRecorded

router = APIRouter(prefix="/v1", tags=["runs"])

_ULID = "[0-7][0-9A-HJKMNP-TV-Z]{25}$"
_RUN = f"^run_{_ULID}"


@router.post("/runs", summary="Hand in a run's record; its bundle comes back")
def record(broker: BrokerDep, kernel: KernelDep, body: RunIn) -> RecordedView:
    run, bundle = record_run(broker, body, kernel)
    return RecordedView(run=run, bundle=msgspec.json.decode(bundle))


@router.get("/runs", summary="Every recorded run, the first first", responses=LINKED)
def runs(
    broker: BrokerDep,
    who: SignedInDep,
    page: PageDep,
    after: Annotated[str | None, Query(pattern=_RUN)] = None,
) -> list[RunView]:
    """``after`` an id goes on."""
    with broker.ledger.reading():
        recorded = _recorded(broker)
        if after:
            _find(recorded, after)
        return page.of(recorded, lambda last: last.run)


@router.get("/runs/{run}")
def run(broker: BrokerDep, who: SignedInDep, run: Annotated[str, Path(pattern=_RUN)]) -> RunView:
    with broker.ledger.reading():
        return _find(_recorded(broker), run)


@router.get(
    "/bundles/{seal_id}",
    response_class=Response,
    responses={200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
    summary="The bundle of an artifact version, byte for byte",
)
def bundle(
    broker: BrokerDep, who: SignedInDep, seal_id: Annotated[str, Path(pattern=f"^seal_{_ULID}")]
) -> Response:
    with broker.ledger.reading():
        found = broker.ledger.bundle(seal_id)
    if found is None:
        raise NotFoundError(
            f"No run is recorded that sealed {seal_id}.",
            next="See them: `aisec run list`.",
            code="bundle-unknown",
        )
    return Response(found, media_type="application/json")


def _recorded(broker: Broker) -> Iterator[RunView]:
    for entry in broker.ledger.entries:
        if isinstance(body := entry.content(), RunRecorded):
            yield RunView.of(body, entry)


def _find(recorded: Iterator[RunView], run: str) -> RunView:
    """That run; what is left of ``recorded`` came after it."""
    for found in recorded:
        if found.run == run:
            return found
    raise NotFoundError(
        f"There is no run {run}.", next="See them: `aisec run list`.", code="run-unknown"
    )
