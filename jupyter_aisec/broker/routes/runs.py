"""Runs: what kernels hand in, and the bundles that verify offline."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Response

from jupyter_aisec.broker.identity import BrokerDep, KernelDep, SignedInDep
from jupyter_aisec.broker.runs import record_run
from jupyter_aisec.broker.schemas import RunIn
from jupyter_aisec.broker.views import RecordedView, RunView
from jupyter_aisec.errors import NotFoundError
from jupyter_aisec.ledger.bodies import RunRecorded
from jupyter_aisec.ledger.entry import Entry

router = APIRouter(prefix="/v1", tags=["runs"])

_ULID = "[0-7][0-9A-HJKMNP-TV-Z]{25}$"


@router.post("/runs", summary="Hand in a run's record; its bundle comes back")
def record(broker: BrokerDep, kernel: KernelDep, body: RunIn) -> RecordedView:
    run, bundle = record_run(broker, body, kernel)
    return RecordedView(run=run, bundle=msgspec.json.decode(bundle))


@router.get("/runs", summary="Every recorded run, the first first")
def runs(broker: BrokerDep, who: SignedInDep) -> list[RunView]:
    with broker.ledger.reading():
        return [_view(entry) for entry in broker.ledger.entries if entry.type == "run.recorded"]


@router.get("/runs/{run}")
def run(
    broker: BrokerDep, who: SignedInDep, run: Annotated[str, Path(pattern=f"^run_{_ULID}")]
) -> RunView:
    found = next((one for one in runs(broker, who) if one.run == run), None)
    if found is None:
        raise NotFoundError(
            f"There is no run {run}.", next="See them: `aisec run list`.", code="run-unknown"
        )
    return found


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


def _view(entry: Entry) -> RunView:
    body = entry.content()
    assert isinstance(body, RunRecorded)  # noqa: S101 - the caller looked at its type
    return RunView.of(body, entry)
