"""Dropping labels of an artifact version: the one way in which a label ever goes.

Whoever begins it owns the artifact or is an admin. It takes others: as many human beings as the
strictest rule over the version *with its present labels* demands approvals, and at least one,
each named as approver by every rule that asks for approvals. Nobody counts who has a part in the
version: who begins it, whose artifact it is, who sealed it, nor a second account of theirs.
A rule that waives approvals waives none here, and neither does the mode ``observe``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import msgspec

from jupyter_aisec.errors import ConflictError, MalformedError, RefusedError
from jupyter_aisec.grants.catalog import ArtifactVersion
from jupyter_aisec.grants.policy import Policy, names_person
from jupyter_aisec.grants.requests import MAX_TEXT, who_can_sign
from jupyter_aisec.grants.seen import check_seen
from jupyter_aisec.grants.signatures import read_signed
from jupyter_aisec.grants.signed import Signed, payload_sha256
from jupyter_aisec.grants.state import State
from jupyter_aisec.grants.statements import Declassification
from jupyter_aisec.ledger.bodies import ArtifactDeclassified
from jupyter_aisec.people.dsse import Envelope

__all__ = [
    "Demand",
    "check_beginner",
    "check_declassified",
    "check_drops",
    "check_reason",
    "demanded",
    "propose_declassification",
]


class Demand(msgspec.Struct, frozen=True, kw_only=True):
    """Whose signatures a declassification takes besides that of whoever begins it."""

    policy: Policy
    approvals: int  # distinct human beings, at least one
    approvers: tuple[str, ...]  # the accounts that count, sorted

    def missing(self, others: Iterable[str]) -> int:
        """How many more must sign when ``others`` did; raises RefusedError for one not named."""
        names = tuple(others)
        for name in names:
            if name not in self.approvers:
                raise RefusedError(
                    f"{name} is not among those who can approve this.",
                    next=f"Who can is {' or '.join(self.approvers) or 'nobody'}: "
                    "`aisec declassify countersign FILE`.",
                    code="declassifier-not-named",
                )
        return max(0, self.approvals - self._humans(names))

    def require_possible(self) -> None:
        """Raises RefusedError where there are not enough people who could sign."""
        able = self._humans(self.approvers)
        if able < self.approvals:
            raise RefusedError(
                f"{self.approvals} other {'person' if self.approvals == 1 else 'people'} would "
                f"have to sign, and {able or 'nobody'} of those whom every rule names could.",
                next="Ask an admin to add approvers: `aisec policy explain` shows the rules.",
                code="approvers-too-few",
            )

    def require(self, others: Iterable[str]) -> None:
        """Raises RefusedError unless ``others`` are enough, and all of them named."""
        if missing := self.missing(others):
            raise RefusedError(
                f"This takes {missing} more of {', '.join(self.approvers) or 'nobody'} to sign.",
                next="Let them sign the same statement: `aisec declassify countersign FILE`.",
                code="declassifiers-too-few",
            )

    def _humans(self, names: Iterable[str]) -> int:
        return len({self.policy.human(name) for name in names})


def demanded(
    policy: Policy,
    artifact: str,
    labels: Iterable[str],
    people: Mapping[str, Iterable[str]],
    apart: Iterable[str],
) -> Demand:
    """Who must sign for dropping any label of a version of ``artifact`` with these ``labels``.

    ``people`` are those who can sign, and their roles; those in ``apart`` have a part in the
    version. Raises RefusedError where no rule covers the version, or one denies it.
    """
    present = tuple(labels)
    rules = [rule for rule in policy.rule if rule.covers(artifact, present)]
    if not rules:
        raise RefusedError(
            f"No rule of the policy covers {artifact}, so nobody may approve this.",
            next="Ask an admin for a rule: `aisec policy explain` shows those there are.",
            code="no-rule",
        )
    denying = next((rule for rule in rules if rule.deny), None)
    if denying is not None:
        raise RefusedError(
            f"Rule {denying.name!r} denies this to everybody.",
            next="Ask an admin to change the policy: `aisec policy explain` shows the rules.",
            code="denied-by-policy",
        )
    # Where nobody is asked for an approval, those count whom the rules name all the same.
    asking = [rule for rule in rules if rule.approvals]
    naming = asking or [rule for rule in rules if rule.approvers]
    principals = [rule.approvers for rule in naming] or [("role:admin",)]
    involved = {policy.human(name) for name in apart}
    return Demand(
        policy=policy,
        approvals=max(1, *(rule.approvals for rule in rules)),
        approvers=tuple(
            sorted(
                name
                for name, roles in people.items()
                if policy.human(name) not in involved
                and all(names_person(some, name, tuple(roles)) for some in principals)
            )
        ),
    )


def check_drops(artifact: str, version: int, labels: frozenset[str], drops: Iterable[str]) -> None:
    """Raises unless ``drops`` are labels that the version carries, sorted and distinct."""
    dropped = list(drops)
    if not dropped or dropped != sorted(set(dropped)):
        raise MalformedError(
            "A declassification drops one label or more, sorted and distinct.",
            next="Name them: `--drop LABEL`.",
            code="drops-invalid",
        )
    if strange := [label for label in dropped if label not in labels]:
        raise RefusedError(
            f"{artifact} version {version} does not carry {', '.join(strange)[:140]}.",
            next=f"See what it carries: `aisec artifact versions {artifact}`.",
            code="label-not-carried",
        )


def check_reason(reason: str) -> None:
    """Raises MalformedError unless ``reason`` says something, and not too much."""
    if not (reason.strip() and len(reason) <= MAX_TEXT):
        raise MalformedError(
            f"A declassification needs a reason, of at most {MAX_TEXT} characters.",
            next="Say why, with `--reason TEXT`: those who sign decide by it.",
            code="declassification-reason-missing",
        )


def check_beginner(said: Declassification, roles: Iterable[str], owner: str) -> None:
    """Raises RefusedError unless who signed first, with ``roles``, is the owner or an admin."""
    if said.person != owner and "admin" not in roles:
        raise RefusedError(
            f"{said.artifact} is {owner}'s: {said.person} cannot declassify it.",
            next=f"{owner} or an admin can: "
            f"`aisec declassify {said.artifact}@{said.version} --drop {said.drops[0]} "
            "--reason TEXT`.",
            code="declassifier-not-owner",
        )


def propose_declassification(
    state: State, envelope: Envelope, now: datetime
) -> ArtifactDeclassified:
    """The entry for labels that a signed statement drops."""
    said = read_signed(state, envelope, Declassification, alone=False).statement
    body = ArtifactDeclassified(
        artifact=said.artifact,
        version=said.version,
        seal_id=said.seal_id,
        drops=said.drops,
        by=envelope,
    )
    check_declassified(state, body, state.time(now)).verify()
    return body


def check_declassified(
    state: State, body: ArtifactDeclassified, at: datetime
) -> Signed[Declassification]:
    """That the labels may be dropped: of exactly this version, by enough people."""
    signed = read_signed(state, body.by, Declassification, alone=False)
    said = signed.statement
    if (said.artifact, said.version, said.seal_id, said.drops) != (
        body.artifact,
        body.version,
        body.seal_id,
        body.drops,
    ):
        raise MalformedError(
            "The entry and the declassification differ.", code="declassification-differs"
        )
    check_reason(said.reason)
    found = state.catalog.find(said.artifact, said.version)
    _check_same(state, found, said)
    check_drops(found.artifact, found.version, found.labels, said.drops)
    owner = state.catalog.owner(said.artifact)
    people = who_can_sign(state)
    check_beginner(said, people[said.person], owner)
    demanded(
        state.policy, found.artifact, found.labels, people, (said.person, owner, found.by)
    ).require(signed.people[1:])
    return signed


def _check_same(state: State, found: ArtifactVersion, said: Declassification) -> None:
    """That this version was signed for, under this policy, in this ledger."""
    if (said.seal_id, said.manifest_sha256) != (found.seal_id, payload_sha256(found.manifest)):
        raise ConflictError(
            f"What was signed for is not {found.artifact} version {found.version}, which is "
            f"{found.seal_id}.",
            next=f"Look at it, `aisec artifact show {found.artifact}`, and begin again.",
            code="declassified-other",
        )
    if said.policy_version != state.policy_version:
        raise ConflictError(
            f"This was signed under policy version {said.policy_version}, and version "
            f"{state.policy_version} is in force.",
            next="Begin it again: who must sign may have changed.",
            code="policy-changed",
        )
    check_seen(state, said.checkpoint)
