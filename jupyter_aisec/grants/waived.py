"""Grants that nobody approved: good under the policy that waived the approval, and no other.

An approval names the policy version that its signer saw, so a grant that needs one cannot be
taken over into another policy unseen. One that needs none is compared here instead: when a
kernel takes the seat, and, where it was asked for while a policy only observed, each time
something is opened. Whoever puts a policy in force decides what from then on takes an approval.
"""

from __future__ import annotations

from jupyter_aisec.errors import ConflictError
from jupyter_aisec.grants.grant import Grant
from jupyter_aisec.grants.policy import Policy
from jupyter_aisec.times import format_duration

__all__ = ["check_waived_opening", "check_waived_seat"]


def check_waived_seat(grant: Grant, policy_version: int) -> None:
    """Raises ConflictError for a seat under a policy other than the one that asked nobody."""
    if grant.terms.approvals == 0 and grant.terms.policy_version != policy_version:
        raise _changed(
            grant,
            f"{grant.id} needed no approval under policy version {grant.terms.policy_version}, "
            f"and version {policy_version} is in force.",
        )


def check_waived_opening(grant: Grant, asked_under: Policy, in_force: Policy) -> None:
    """Raises ConflictError once a policy decides, for what was asked while one only observed."""
    if asked_under.mode == "observe" and in_force.mode == "enforce":
        raise _changed(
            grant,
            f"{grant.id} was asked for while the policy only observed, and the policy in force "
            "decides.",
        )


def _changed(grant: Grant, what: str) -> ConflictError:
    return ConflictError(
        what,
        next=f"Ask again: `aisec grant extend {grant.id} --for {format_duration(grant.length)} "
        "--reason TEXT`.",
        code="policy-changed",
    )
