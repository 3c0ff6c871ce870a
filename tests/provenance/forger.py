"""A dishonest broker: entries changed, under proofs and a checkpoint that are in order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from jupyter_aisec import grants
from jupyter_aisec.grants.statements import Approval, Declassification, PolicyChange, Statement
from jupyter_aisec.ledger import Checkpoint, Entry, Tree, make_entry, sign_checkpoint
from jupyter_aisec.ledger import bodies as b
from jupyter_aisec.people import Envelope, sign, sign_again
from jupyter_aisec.provenance import Bundle, Report, parse_bundle, verify_bundle
from jupyter_aisec.provenance.bundle import SeenCheckpoint, prove
from jupyter_aisec.provenance.verify import CHECKS
from tests.provenance.world import ORIGIN, Walked

NAMES = [step.name for step in CHECKS]
replace = msgspec.structs.replace


def verify(walked: Walked, bundle: bytes | Bundle) -> Report:
    data = bundle if isinstance(bundle, bytes) else bundle.to_bytes()
    world, seal_id = walked.world, walked.seal_id
    return verify_bundle(
        data, world.trust, world.manifest_file(seal_id), world.sealed_files(seal_id)
    )


def first_failed(report: Report) -> str:
    assert [check.name for check in report.checks] == NAMES
    assert [check.number for check in report.checks] == list(range(1, len(NAMES) + 1))
    return next(check.name for check in report.checks if not check.ok)


class Forger:
    """Writes a walked ledger again with some bodies changed, and proves it in order.

    Everything but what is changed stays honest: approvals name the ledger as it now is.
    """

    def __init__(self, walked: Walked) -> None:
        self.walked, self.world = walked, walked.world
        self.changes: dict[int, b.Body] = {}
        self.times: dict[int, str] = {}
        self.approval: dict[str, Any] = {}  # changes of the approval, honestly signed again
        self.record = walked.record
        self.spare = self.find(b.GrantRequested, 1)[0]  # between binding and the releases

    def find(self, type_: type[b.Body], which: int = 0) -> tuple[int, Any]:
        """The index and body of the ``which``-th entry of a type."""
        found = [one for one in self.world.entries if isinstance(one.content(), type_)]
        return found[which].index, found[which].content()

    def change(self, type_: type[b.Body], which: int = 0, /, **changes: Any) -> None:
        index, body = self.find(type_, which)
        self.changes[index] = replace(body, **changes)

    def resign(
        self,
        envelope: Envelope,
        type_: type[Statement],
        *signers: str,
        **changes: Any,
    ) -> Envelope:
        """The statement changed, and signed by these instead."""
        statement = replace(envelope.read(type_, type_.payload_type, "It"), **changes)
        signed = sign(statement, type_.payload_type, self.world.keys[signers[0]])
        for name in signers[1:]:
            signed = sign_again(signed, self.world.keys[name])
        return signed

    def names(self, envelope: Envelope) -> list[str]:
        """Who signed it."""
        keys = {key.public.key_id: name for name, key in self.world.keys.items()}
        return [keys[one.keyid] for one in envelope.signatures]

    def ledger(self) -> tuple[list[Entry], Tree, dict[int, int]]:
        """The whole of it, and the sizes that signers saw, by the entry that says so."""
        entries: list[Entry] = []
        tree = Tree()
        seen: dict[int, int] = {}  # by entry: the size of the ledger that its signer saw
        for one in self.world.entries:
            body: Any = self.changes.get(one.index, one.content())
            if isinstance(body, b.GrantApproved):
                approval = body.approval.read(Approval, Approval.payload_type, "It")
                if one.index not in self.changes:
                    brief = Checkpoint(ORIGIN, tree.size, tree.root()).brief
                    changes = {"checkpoint": brief, **self.approval}
                    again = self.resign(body.approval, Approval, "approver", "broker", **changes)
                    body = replace(body, approval=again)
                    seen[one.index] = tree.size
                else:
                    seen[one.index] = int(approval.checkpoint.split(":")[0])
            elif isinstance(body, b.ArtifactDeclassified):
                said = body.by.read(Declassification, Declassification.payload_type, "It")
                if one.index not in self.changes:
                    brief = Checkpoint(ORIGIN, tree.size, tree.root()).brief
                    names = self.names(body.by)
                    again = self.resign(body.by, Declassification, *names, checkpoint=brief)
                    body = replace(body, by=again)
                    seen[one.index] = tree.size
                else:
                    seen[one.index] = int(said.checkpoint.split(":")[0])
            at = self.times.get(one.index, one.at)
            entries.append(make_entry(one.index, at, body, one.salt))
            tree.append(entries[-1].leaf_hash)
        return entries, tree, seen

    def bundle(self) -> Bundle:
        bundle = parse_bundle(self.walked.bundle)
        chosen = {one.index for one in bundle.entries} | set(self.changes)
        entries, tree, seen = self.ledger()
        note = sign_checkpoint(Checkpoint(ORIGIN, tree.size, tree.root()), self.world.log)
        return replace(
            bundle,
            record=self.world.sign_record(self.record),
            checkpoint=note,
            entries=prove([one for one in entries if one.index in chosen], tree, tree.size),
            seen=tuple(
                SeenCheckpoint(size=size, proof=tree.consistency_proof(size))
                for size in sorted({size for index, size in seen.items() if index in chosen})
            ),
        )


Forgery = Callable[[Forger], None]
FORGERIES: dict[str, tuple[str, Forgery]] = {}


def forgery(check: str) -> Callable[[Forgery], Forgery]:
    def register(forge: Forgery) -> Forgery:
        FORGERIES[forge.__name__] = (check, forge)
        return forge

    return register


def change_policy(f: Forger, index: int, text: str, *signers: str, **changes: Any) -> None:
    """A policy that these signed, in the place of the entry ``index``."""
    policy = grants.parse_policy(text)
    digest = grants.policy_sha256(policy)
    by = f.world.sign(
        PolicyChange, signers[0], **({"policy_sha256": digest, "replaces": 0} | changes)
    )
    for name in signers[1:]:
        by = sign_again(by, f.world.keys[name])
    f.changes[index] = b.PolicyApplied(policy=policy.to_dict(), by=by)
