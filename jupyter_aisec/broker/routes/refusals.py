"""What keepers refused their kernels."""

from __future__ import annotations

from fastapi import APIRouter

from jupyter_aisec.broker.identity import BrokerDep, SignedInDep
from jupyter_aisec.broker.schemas import RelayRefusedIn
from jupyter_aisec.broker.views import NotedView
from jupyter_aisec.errors import RefusedError

router = APIRouter(prefix="/v1", tags=["refusals"])


@router.post("/refusals", summary="A keeper tells what its relay refused a secure kernel")
def refused(broker: BrokerDep, who: SignedInDep, body: RelayRefusedIn) -> NotedView:
    """Kept in the ledger like any refusal, as the person's whose kernel it is."""
    subject = f"{body.method} {body.route}"
    times = "" if body.count == 1 else f", {body.count:,} times"
    refusal = RefusedError(f"A secure kernel was refused {subject}{times}.", code="relay-refused")
    broker.note_refusal(who.person, "relay", subject, refusal)
    return NotedView()
