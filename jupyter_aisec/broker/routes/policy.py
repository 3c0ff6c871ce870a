"""The policy in force, and its change by as many admins as it demands itself."""

from __future__ import annotations

from fastapi import APIRouter

from jupyter_aisec.broker.identity import BrokerDep, SignedInDep
from jupyter_aisec.broker.schemas import PolicyIn
from jupyter_aisec.broker.statements import append_statement
from jupyter_aisec.broker.views import PolicyView
from jupyter_aisec.grants.policies import propose_policy
from jupyter_aisec.grants.policy import parse_policy

router = APIRouter(prefix="/v1/policy", tags=["policy"])


@router.get("", summary="The policy in force, in its canonical form")
def policy(broker: BrokerDep, who: SignedInDep) -> PolicyView:
    with broker.ledger.reading() as (state, _):
        return PolicyView.of(state)


@router.post("", summary="Put another policy in force")
def apply(broker: BrokerDep, who: SignedInDep, body: PolicyIn) -> PolicyView:
    new = parse_policy(body.policy)
    append_statement(
        broker,
        who,
        body.envelope.envelope(),
        lambda state, envelope, now: propose_policy(state, new, envelope, now),
        action="policy",
        subject="policy",
    )
    with broker.ledger.reading() as (state, _):
        return PolicyView.of(state)
