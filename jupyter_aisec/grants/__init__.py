"""Grants: what is asked, decided, allowed and ended, as the fold of a ledger. Pure.

``propose_…`` functions say whether something may be appended, and what exactly;
:meth:`State.apply` holds what *was* appended against the same rules.
"""

from jupyter_aisec.grants.approvals import propose_approval
from jupyter_aisec.grants.artifacts import propose_run, propose_sealed
from jupyter_aisec.grants.bindings import propose_binding, propose_ending
from jupyter_aisec.grants.catalog import ArtifactVersion, Catalog
from jupyter_aisec.grants.decide import Facts, Refusal, decide
from jupyter_aisec.grants.decisions import propose_decision, propose_refusal
from jupyter_aisec.grants.declassify import propose_declassification
from jupyter_aisec.grants.duties import reviews_waiting, unreviewed, who_reviews
from jupyter_aisec.grants.enrolments import propose_enrolment, propose_login, propose_revocation
from jupyter_aisec.grants.fold import apply, fold
from jupyter_aisec.grants.grant import Approved, Bound, Ended, Grant, GrantState, Reviewed
from jupyter_aisec.grants.output_releases import propose_output_release
from jupyter_aisec.grants.persons import propose_invitation, propose_removal
from jupyter_aisec.grants.policies import make_genesis, policy_sha256, propose_policy
from jupyter_aisec.grants.policy import DEFAULT_POLICY_TEXT, Policy, Rule, parse_policy
from jupyter_aisec.grants.releases import propose_release
from jupyter_aisec.grants.requests import explain_request, propose_request
from jupyter_aisec.grants.reviews import propose_review
from jupyter_aisec.grants.signed import Signed, payload_sha256
from jupyter_aisec.grants.state import Kernel, Recorded, Session, State
from jupyter_aisec.grants.view import GrantView, grant_view, who_is_asked

__all__ = [
    "DEFAULT_POLICY_TEXT",
    "Approved",
    "ArtifactVersion",
    "Bound",
    "Catalog",
    "Ended",
    "Facts",
    "Grant",
    "GrantState",
    "GrantView",
    "Kernel",
    "Policy",
    "Recorded",
    "Refusal",
    "Reviewed",
    "Rule",
    "Session",
    "Signed",
    "State",
    "apply",
    "decide",
    "explain_request",
    "fold",
    "grant_view",
    "make_genesis",
    "parse_policy",
    "payload_sha256",
    "policy_sha256",
    "propose_approval",
    "propose_binding",
    "propose_decision",
    "propose_declassification",
    "propose_ending",
    "propose_enrolment",
    "propose_invitation",
    "propose_login",
    "propose_output_release",
    "propose_policy",
    "propose_refusal",
    "propose_release",
    "propose_removal",
    "propose_request",
    "propose_review",
    "propose_revocation",
    "propose_run",
    "propose_sealed",
    "reviews_waiting",
    "unreviewed",
    "who_is_asked",
    "who_reviews",
]
