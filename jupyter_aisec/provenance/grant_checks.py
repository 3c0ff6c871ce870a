"""The checks of a run's grants: asked, approved, taken by a kernel, and used in time."""

from __future__ import annotations

from typing import Any

import msgspec

from jupyter_aisec.errors import (
    ConflictError,
    IdentityError,
    LedgerError,
    MalformedError,
    RefusedError,
)
from jupyter_aisec.grants.approvals import check_given
from jupyter_aisec.grants.bindings import check_taken
from jupyter_aisec.grants.decide import Facts, Refusal, decide
from jupyter_aisec.grants.decisions import WHY
from jupyter_aisec.grants.grant import Approved, Bound, Ended, Grant
from jupyter_aisec.grants.names import check_digest, check_id, split_reference
from jupyter_aisec.grants.openings import check_labels
from jupyter_aisec.grants.output_releases import check_sources
from jupyter_aisec.grants.policy import ISOLATION
from jupyter_aisec.grants.requests import check_form
from jupyter_aisec.grants.signatures import check_fresh
from jupyter_aisec.grants.signed import Signed, payload_sha256
from jupyter_aisec.grants.statements import Approval, Binding, Decision, Request
from jupyter_aisec.grants.waived import check_waived_opening, check_waived_seat
from jupyter_aisec.ledger import bodies
from jupyter_aisec.ledger.entry import Entry
from jupyter_aisec.ledger.merkle import verify_consistency
from jupyter_aisec.people.dsse import Envelope, verify
from jupyter_aisec.provenance.chain import Chain
from jupyter_aisec.provenance.evidence import Evidence
from jupyter_aisec.provenance.labels import labels_at
from jupyter_aisec.provenance.roster import read_statement
from jupyter_aisec.sealed.manifest import read_manifest
from jupyter_aisec.times import parse_time

__all__ = [
    "check_approvals",
    "check_releases",
    "check_requests",
    "check_seats",
    "check_seen",
    "fold_grant",
]


def check_requests(e: Evidence) -> str:
    """Each grant was asked for by somebody who might, on terms no weaker than the policy's."""
    found = []
    for grant in e.run.chain.grants(e.run.record):
        entry, body = e.run.chain.requested(grant)
        request: Request = read_statement(body.request, Request, e.run.genesis.origin)
        e.require_signer(body.request, request.person, entry.index)
        if request.grant != grant:
            raise LedgerError(f"Entry {entry.index} and the request name two grants.")
        check_fresh(request, parse_time(entry.at))
        check_form(request, parse_time(entry.at))
        _require_terms(e, entry, request, body.terms)
        broke = " by breaking the glass" if body.terms.reviews else ""
        found.append(f"{request.person} asked for {', '.join(request.artifacts)}{broke}")
    return "; ".join(found)


def _require_terms(e: Evidence, entry: Entry, request: Request, terms: bodies.Terms) -> None:
    policy_terms = _decide(e, entry, request)
    if terms.policy_version != policy_terms.policy_version:
        raise LedgerError(
            f"The terms of {request.grant} name policy version {terms.policy_version}, and "
            f"version {policy_terms.policy_version} was in force.",
            code="policy-version-wrong",
        )
    if (
        terms.begin_within != policy_terms.begin_within
        or terms.pending_until > policy_terms.pending_until
        or terms.approvals < policy_terms.approvals
        or terms.seconds > policy_terms.seconds
        or terms.reviews != policy_terms.reviews
        or (terms.reviews and not set(terms.approvers) <= set(policy_terms.approvers))
        or ISOLATION.index(terms.isolation) < ISOLATION.index(policy_terms.isolation)
    ):
        raise RefusedError(
            f"The terms of {request.grant} are weaker than the policy's.", code="terms-differ"
        )


def _decide(e: Evidence, entry: Entry, request: Request) -> bodies.Terms:
    """What the policy says, going by the people and labels that this chain shows."""
    version, policy = e.policies.at(entry.index)
    labels = _labels_asked(e.run.chain, request, entry.index)
    people = {
        person.name: person.roles
        for person in e.directory.people
        if person.present_at(entry.index) and any(key.valid_at(entry.index) for key in person.keys)
    }
    facts = Facts(people=people, labels=labels, policy_version=version)
    decided = decide(policy, request, facts, parse_time(entry.at))
    if isinstance(decided, Refusal):
        raise RefusedError(decided.what, code=decided.code)
    return decided


def _labels_asked(chain: Chain, request: Request, before: int) -> dict[str, frozenset[str]]:
    """The labels of each artifact asked for, by name, as far as this chain shows them."""
    labels: dict[str, frozenset[str]] = {}
    for reference in request.artifacts:
        name, pinned = split_reference(reference)
        labels.setdefault(name, frozenset())
        for sealed, body in chain.all(bodies.ArtifactSealed):
            asked = body.artifact == name and pinned in (None, body.version)
            if asked and sealed.index < before:
                labels[name] |= labels_at(chain, body, before)
    return labels


def check_approvals(e: Evidence) -> str:
    """As many other people as the terms demand approved, before any kernel took the seat."""
    found = []
    for grant in e.run.chain.grants(e.run.record):
        entry, body = e.run.chain.requested(grant)
        request: Request = read_statement(body.request, Request, e.run.genesis.origin)
        _, policy = e.policies.at(entry.index)
        allowed = set(body.terms.approvers) & set(_decide(e, entry, request).approvers)
        humans = {policy.human(request.person)}
        begun = min(
            (seat.index for seat, _ in e.run.chain.grant(grant) if seat.type == "seat.bound"),
            default=e.run.index,
        )
        early = 0
        for approved, one in e.run.chain.approved(grant):
            approval = _read_approval(e, approved, one, body)
            in_force, _ = e.policies.at(approved.index)
            if in_force != body.terms.policy_version:
                raise ConflictError(
                    f"The policy had changed when {approval.person} approved {grant}.",
                    code="policy-changed",
                )
            if approval.person not in allowed or policy.human(approval.person) in humans:
                raise RefusedError(
                    f"The approval of {grant} by {approval.person} does not count.",
                    code="approval-not-counted",
                )
            before = fold_grant(e.run.chain, grant, approved.index)
            check_given(policy, before, approval, parse_time(approved.at))
            humans.add(policy.human(approval.person))
            early += approved.index < begun
            found.append(f"{approval.person} approved {grant}")
        if early < body.terms.approvals:
            raise RefusedError(
                f"{grant} was begun with {early} of {body.terms.approvals} approvals.",
                code="approvals-too-few",
            )
        if body.terms.reviews:
            found.append(f"no approval was demanded for {grant}: break-glass")
        elif not body.terms.approvals:
            found.append(f"no approval was demanded for {grant}")
    return "; ".join(found)


def _read_approval(
    e: Evidence, entry: Entry, body: bodies.GrantApproved, requested: bodies.GrantRequested
) -> Approval:
    approval: Approval = read_statement(body.approval, Approval, e.run.genesis.origin)
    e.require_signer(body.approval, approval.person, entry.index)
    verify(body.approval, e.run.genesis.broker_key)
    if (approval.grant, approval.request_sha256, approval.policy_version) != (
        body.grant,
        payload_sha256(requested.request),
        requested.terms.policy_version,
    ):
        raise LedgerError(
            f"The approval by {approval.person} is for another request than the one recorded.",
            code="request-changed",
        )
    check_fresh(approval, parse_time(entry.at))
    return approval


def check_seen(e: Evidence) -> str:
    """Whoever approved something looked at an earlier state of this same ledger."""
    proofs = {one.size: one.proof for one in e.bundle.seen}
    used = set()
    for entry, person, seen in e.run.chain.seen(e.run.record):
        if seen.size > entry.index or seen.size not in proofs:
            raise LedgerError(
                f"The ledger of {seen.size} entries that {person} saw is not proved "
                "to be the beginning of this one."
            )
        verify_consistency(
            seen.size, seen.root, e.checkpoint.size, e.checkpoint.root, proofs[seen.size]
        )
        used.add(seen.size)
    if used != proofs.keys():
        raise MalformedError("The bundle carries proofs that nothing needs.")
    return f"{len(used)} earlier ledger checkpoints are of this ledger"


def fold_grant(chain: Chain, grant: str, before: int) -> Grant:
    """The grant as its entries before ``before`` leave it; signatures are checked elsewhere."""
    entry, body = chain.requested(grant)
    folded = Grant(
        id=grant,
        index=entry.index,
        requested_at=parse_time(entry.at),
        signed=_unchecked(body.request, Request),
        terms=body.terms,
        labels={},
    )
    for entry, one in chain.grant(grant):
        if entry.index < before:
            folded = msgspec.structs.replace(folded, **_change(folded, entry, one))
    return folded


def _change(grant: Grant, entry: Entry, body: bodies.Body) -> dict[str, Any]:
    at = parse_time(entry.at)
    if isinstance(body, bodies.GrantApproved):
        signed = _unchecked(body.approval, Approval)
        return {"approvals": (*grant.approvals, Approved(index=entry.index, at=at, signed=signed))}
    if isinstance(body, bodies.SeatBound):
        bound = Bound(index=entry.index, at=at, signed=_unchecked(body.binding, Binding))
        return {"bindings": (*grant.bindings, bound)}
    if isinstance(body, bodies.EndingConfirmed):
        return {
            "bindings": tuple(
                msgspec.structs.replace(one, confirmed=body.how)
                if one.kernel == body.kernel
                else one
                for one in grant.bindings
            )
        }
    if isinstance(body, bodies.GrantRequested | bodies.GrantReviewed):
        return {}  # a review changes nothing of what may be opened
    decision = _unchecked(body.statement, Decision)  # type: ignore[attr-defined]
    why = WHY[decision.statement.action]
    return {"ended": Ended(index=entry.index, at=at, why=why, signed=decision)}


def _unchecked(envelope: Envelope, type_: type[Any]) -> Signed[Any]:
    statement = envelope.read(type_, type_.payload_type, f"The {type_.__name__.lower()}")
    return Signed(statement=statement, envelope=envelope, people=(statement.person,), keys=())


def check_seats(e: Evidence) -> str:
    """The kernel took the seat of each grant: in its time, isolated enough, signed for."""
    seats = e.run.chain.seats(e.run.record.kernel, e.run.index)
    grants = e.run.chain.grants(e.run.record)
    for seat in seats:
        binding: Binding = read_statement(seat.envelope, Binding, e.run.genesis.origin)
        e.require_signer(seat.envelope, binding.person, seat.entry.index)
    # Each seat of these grants counts, whatever kernel took it: the first started the clock.
    for grant in grants:
        for entry, body in e.run.chain.grant(grant):
            if isinstance(body, bodies.SeatBound):
                _check_seat(e, entry, body)
    if len({seat.binding.person for seat in seats}) > 1:
        raise IdentityError("Two people took seats for one kernel.", code="seat-of-another")
    bound = {seat.grant for seat in seats}
    if not bound or not bound.issuperset(grants):
        raise IdentityError(
            "The kernel of the record did not take the seat of every grant it names.",
            code="kernel-not-bound",
        )
    e.seat = e.run.chain.seat(e.run.record.kernel, e.run.output_entry.index).binding
    return f"{e.seat.person}'s kernel, isolation {e.seat.isolation}" + (
        ", vouched" if e.seat.vouched else ", claimed"
    )


def _check_seat(e: Evidence, entry: Entry, body: bodies.SeatBound) -> None:
    binding: Binding = read_statement(body.binding, Binding, e.run.genesis.origin)
    e.require_signer(body.binding, binding.person, entry.index)
    check_fresh(binding, parse_time(entry.at))
    grant = fold_grant(e.run.chain, body.grant, entry.index)
    if binding.grant != grant.id:
        raise IdentityError(
            f"The seat of {grant.id} was taken by somebody else.", code="seat-of-another"
        )
    check_taken(grant, binding, parse_time(entry.at))
    check_waived_seat(grant, e.policies.at(entry.index)[0])
    key = binding.kernel_key.key_id
    if e.directory.owner(key) is not None or key == e.run.genesis.broker_key.key_id:
        raise IdentityError(
            f"The seat of {grant.id} was taken with a key that is no kernel's.",
            code="kernel-key-taken",
        )


def check_releases(e: Evidence) -> str:
    """The kernel opened something only while its grant was active and covered the version."""
    _check_actions(e)
    releases = e.run.chain.releases(e.run.record.kernel, e.run.output_entry.index)
    asked: dict[str, dict[str, frozenset[str]]] = {}  # by grant: the labels known by then
    for entry, body in releases:
        grant = fold_grant(e.run.chain, body.grant, entry.index)
        state = grant.state(parse_time(entry.at))
        if state != "active":
            raise RefusedError(
                f"Entry {entry.index} is a release while {grant.id} was {state}.",
                code="grant-not-active",
            )
        if grant.seat is None or grant.seat.kernel != body.kernel:
            raise IdentityError(
                f"Entry {entry.index} is a release to a kernel without the seat.",
                code="kernel-not-bound",
            )
        e.require_signer(grant.seat.signed.envelope, grant.person, entry.index)
        asked_under = e.policies.policies[grant.terms.policy_version]
        check_waived_opening(grant, asked_under, e.policies.at(entry.index)[1])
        sealed, version = e.run.chain.sealed(body.seal_id)
        if (
            sealed.index > entry.index
            or (version.artifact, version.version) != (body.artifact, body.version)
            or not grant.allows(body.artifact, body.version)
            or not set(body.key_ids) <= {key.key_id for key in read_manifest(version.manifest).keys}
            or body.approvals != grant.terms.approvals
        ):
            raise RefusedError(
                f"Entry {entry.index} is a release that {grant.id} does not cover.",
                code="artifact-not-granted",
            )
        if grant.id not in asked:
            asked[grant.id] = _labels_asked(e.run.chain, grant.request, grant.index)
        labels = labels_at(e.run.chain, version, entry.index)
        check_labels(body.artifact, body.version, labels, asked[grant.id][body.artifact])
    return f"{len(releases)} releases, each within its grant"


def _check_actions(e: Evidence) -> None:
    """Each release is under an action id of its own, and says what was released."""
    actions: set[str] = set()
    found: list[tuple[Entry, bodies.KeysReleased | bodies.OutputReleased]] = [
        *e.run.chain.all(bodies.KeysReleased),
        *e.run.chain.all(bodies.OutputReleased),
    ]
    for entry, body in found:
        check_id(body.action, "action")
        check_digest(body.request_sha256, "The digest of the request")
        if body.action in actions:
            raise ConflictError(
                f"Entry {entry.index} is a release under an action id that was used.",
                code="action-reused",
            )
        actions.add(body.action)
        if isinstance(body, bodies.OutputReleased):
            check_sources(body)
        elif not body.key_ids:
            raise LedgerError(f"Entry {entry.index} releases no keys.", code="key-id-unknown")
