"""The check of reviews: what became of the duty, where somebody broke the glass.

That the glass *might* be broken, for how long and who had to be told, the terms show; so a
grant that nobody has reviewed yet holds, and what is said of it is that. A bundle has the
reviews there were when its run was recorded; later ones are in the ledger.
"""

from __future__ import annotations

from jupyter_aisec.errors import LedgerError, RefusedError
from jupyter_aisec.grants.signed import payload_sha256
from jupyter_aisec.grants.statements import Request, Review
from jupyter_aisec.ledger import bodies
from jupyter_aisec.ledger.entry import Entry
from jupyter_aisec.provenance.evidence import Evidence
from jupyter_aisec.provenance.roster import read_statement

__all__ = ["check_reviews"]


def check_reviews(e: Evidence) -> str:
    """Each review is by another person, who was told, and of exactly that request."""
    found = []
    for grant in e.run.chain.grants(e.run.record):
        _, requested = e.run.chain.requested(grant)
        people: list[str] = []
        for entry, body in e.run.chain.reviewed(grant):
            review = _read_review(e, entry, body, requested)
            _require_other(e, entry, review, requested, people)
            people.append(review.person)
            found.append(f"{review.person} found {grant} {review.verdict}")
        owed = (requested.terms.reviews or 0) - len(people)
        if owed > 0:
            found.append(f"{grant}: break-glass, {owed} review{'s' if owed > 1 else ''} owed")
    return "; ".join(found) or "no glass was broken"


def _read_review(
    e: Evidence, entry: Entry, body: bodies.GrantReviewed, requested: bodies.GrantRequested
) -> Review:
    review: Review = read_statement(body.statement, Review, e.run.genesis.origin)
    e.require_signer(body.statement, review.person, entry.index)
    if (review.grant, review.request_sha256) != (body.grant, payload_sha256(requested.request)):
        raise LedgerError(
            f"The review by {review.person} is of another request than the one recorded.",
            code="request-changed",
        )
    return review


def _require_other(
    e: Evidence,
    entry: Entry,
    review: Review,
    requested: bodies.GrantRequested,
    before: list[str],
) -> None:
    """Raises RefusedError unless it counts: by another person, once, who was told.

    An admin may stand in where those who were told have left. That they have is for the whole
    ledger to show, as everything that may be left out of a bundle.
    """
    _, policy = e.policies.at(entry.index)
    request: Request = read_statement(requested.request, Request, e.run.genesis.origin)
    others = {policy.human(name) for name in (request.person, *before)}
    told = review.person in requested.terms.approvers or e.directory.has_role(
        review.person, "admin", entry.index
    )
    if not requested.terms.reviews or not told or policy.human(review.person) in others:
        raise RefusedError(
            f"The review of {requested.grant} by {review.person} does not count.",
            code="review-not-counted",
        )
