"""The policy in force, and its change by as many admins as it demands itself."""

from __future__ import annotations

from fastapi import APIRouter

from jupyter_aisec.broker.identity import BrokerDep, SignedIn, SignedInDep, require_role
from jupyter_aisec.broker.schemas import PolicyIn
from jupyter_aisec.broker.service import Broker
from jupyter_aisec.broker.statements import append_statement
from jupyter_aisec.broker.views import PolicyView
from jupyter_aisec.errors import ConflictError
from jupyter_aisec.grants.policies import propose_policy
from jupyter_aisec.grants.policy import parse_policy
from jupyter_aisec.grants.signatures import read_signed
from jupyter_aisec.grants.statements import PolicyChange
from jupyter_aisec.people.dsse import Envelope

router = APIRouter(prefix="/v1/policy", tags=["policy"])


@router.get("", summary="The policy in force, in its canonical form")
def policy(broker: BrokerDep, who: SignedInDep) -> PolicyView:
    with broker.ledger.reading() as (state, _):
        return PolicyView.of(state)


@router.post("", summary="Put another policy in force")
def apply(broker: BrokerDep, who: SignedInDep, body: PolicyIn) -> PolicyView:
    envelope = body.envelope.envelope()
    _require_signed(broker, who, envelope)
    new = parse_policy(body.policy)
    append_statement(
        broker,
        who,
        envelope,
        lambda state, envelope, now: propose_policy(state, new, envelope, now),
        action="policy",
        subject="policy",
    )
    with broker.ledger.reading() as (state, _):
        return PolicyView.of(state)


def _require_signed(broker: Broker, who: SignedIn, envelope: Envelope) -> None:
    """Nothing is made of a text that no admin sends and nobody signed for."""
    with broker.noting_refusals(who.person, "policy", "policy"):
        require_role(who, "admin")
        try:
            with broker.ledger.reading() as (state, _):
                signed = read_signed(state, envelope, PolicyChange, alone=False)
        except ConflictError as error:
            if error.code != "statement-recorded":
                raise
            return  # sent again: it was signed
        signed.verify()
