"""Alerts about limits, appended beside what met them.

Where a limit refused something, the refusal is kept as any other is, and the alert comes beside
it. Where the policy only observes, the alert follows what was let pass, before anybody is told
that it was.
"""

from __future__ import annotations

from jupyter_aisec.broker.ledger import Ledger
from jupyter_aisec.broker.refusals import Attempt
from jupyter_aisec.errors import AisecError
from jupyter_aisec.grants.alerts import overstepped, propose_alert
from jupyter_aisec.grants.limits import Reached

__all__ = ["alert_overstepped", "raise_alert"]

_NEEDLESS = frozenset({"alert-raised", "alert-differs"})  # said already, or there is room again


def raise_alert(ledger: Ledger, attempt: Attempt, reached: Reached) -> None:
    """Append that ``attempt`` reached a limit, unless that was said within the hour."""
    try:
        ledger.append(
            lambda state, now: propose_alert(
                state, attempt.person, reached, attempt.action, attempt.subject, now
            )
        )
    except AisecError as error:
        if error.code not in _NEEDLESS:
            raise


def alert_overstepped(ledger: Ledger, attempt: Attempt) -> None:
    """The same for what a policy that observes has let pass beyond a limit."""
    with ledger.reading() as (state, now):
        found = overstepped(state, attempt.person, now)
    for reached in found:
        raise_alert(ledger, attempt, reached)
