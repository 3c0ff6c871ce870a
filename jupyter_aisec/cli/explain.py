"""What policy would say about a request, for people: who is asked, how long, why not."""

from __future__ import annotations

from datetime import timedelta

from rich.table import Table

from jupyter_aisec.cli.output import emit, fields
from jupyter_aisec.client import Explained
from jupyter_aisec.ledger.bodies import Terms
from jupyter_aisec.times import format_duration

__all__ = ["show_explained"]


def show_explained(explained: Explained, json: bool) -> None:
    """Prints the terms; where policy would refuse, raises RefusedError with its reason."""
    refusal = explained.refusal
    if json or refusal is None:
        emit(explained, json, "" if explained.terms is None else _drawn(explained.terms))
    if refusal is not None:
        raise refusal.error()


def _drawn(terms: Terms) -> Table:
    asked = ", ".join(terms.approvers)
    return fields(
        (
            ("approvals", f"{terms.approvals} of {asked}" if terms.approvals else "none"),
            (
                "break-glass",
                f"{terms.reviews} of {asked} must review it" if terms.reviews else None,
            ),
            ("at most", format_duration(timedelta(seconds=terms.seconds))),
            ("isolation", f"{terms.isolation} at least"),
            ("pending until", terms.pending_until),
            ("policy", f"version {terms.policy_version}"),
            ("because", "; ".join(terms.reasons)),
        )
    )
