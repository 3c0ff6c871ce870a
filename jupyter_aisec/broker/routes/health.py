"""Whether the broker is alive, and whether it may release keys."""

from __future__ import annotations

from fastapi import APIRouter

from jupyter_aisec.broker.identity import BrokerDep
from jupyter_aisec.broker.views import HealthView

router = APIRouter(tags=["health"])


@router.get("/healthz", summary="The process answers")
def alive() -> HealthView:
    return HealthView(status="ok")


@router.get("/readyz", summary="The stored ledger is what it has to be")
def ready(broker: BrokerDep) -> HealthView:
    broker.check_ready()
    return HealthView(status="ok")
