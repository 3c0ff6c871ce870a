"""Dropping labels: by whom, of exactly what, and what flows afterwards."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from jupyter_aisec.errors import AisecError, ConflictError, LedgerError, RefusedError
from jupyter_aisec.grants import Rule, fold, propose_declassification
from jupyter_aisec.grants.declassify import Demand, check_declassified, demanded
from jupyter_aisec.grants.fold import apply
from jupyter_aisec.ledger.checkpoint import Checkpoint
from jupyter_aisec.ledger.entry import make_entry
from jupyter_aisec.people.dsse import sign_again
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.times import format_time
from tests.grants.world import ORIGIN, SALT, World, policy, refused, sha256, stocked

BASE = policy().rule[0]
PHI = msgspec.structs.replace(
    BASE, name="phi", artifacts=(), labels=("phi",), approvers=("person:approver",)
)
RESULT = "results/y"


def rule(name: str, **changes: Any) -> Rule:
    return msgspec.structs.replace(BASE, name=name, **changes)


def world(*rules: Rule, labels: tuple[str, ...] = ("internal", "phi"), **top: Any) -> World:
    """The researcher's result, with labels, under these rules."""
    made = stocked(policy(rules=rules or (BASE, PHI), **top))
    made.seal(RESULT, made.keys["researcher"], labels=list(labels))
    return made


def labels(made: World, artifact: str = RESULT) -> set[str]:
    return set(made.state.catalog.find(artifact).labels)


def meets(made: World, code: str, *drops: str, signers: tuple[str, ...], **fields: Any) -> None:
    """The declassification is refused by that name, and nothing is appended."""
    size = made.state.size
    with refused(code):
        made.declassify(RESULT, *(drops or ("phi",)), signers=signers, **fields)
    assert made.state.size == size


def test_the_owner_and_one_whom_the_rules_name_drop_a_label() -> None:
    made = world()
    index = made.declassify(RESULT, "phi", signers=("researcher", "approver"))
    found = made.state.catalog.find(RESULT)
    assert set(found.labels) == {"internal"}
    assert made.state.catalog.labels(RESULT) == {"internal"}
    assert made.state.catalog.sealed(found.seal_id) is found
    (dropped,) = found.dropped
    assert (dropped.index, dropped.labels) == (index, ("phi",))
    assert dropped.people == ("researcher", "approver")
    assert b'"phi"' in found.manifest.payload  # what was signed stays as it was
    assert fold(made.entries, signatures=True).catalog.find(RESULT) == found


def test_a_request_then_meets_only_the_rules_without_the_label() -> None:
    made = world(BASE, msgspec.structs.replace(PHI, approvals=2, approvers=("role:approver",)))
    strict = made.state.grants[made.ask(RESULT)]
    made.declassify(RESULT, "phi", signers=("researcher", "approver", "second"))
    mild = made.state.grants[made.ask(RESULT)]
    assert (strict.terms.approvals, mild.terms.approvals) == (2, 1)
    assert (strict.labels[RESULT], mild.labels[RESULT]) == ({"internal", "phi"}, {"internal"})


def test_an_admin_may_begin_it_for_the_owner() -> None:
    made = world()
    made.declassify(RESULT, "internal", "phi", signers=("admin", "approver"))
    assert labels(made) == set()


def test_it_takes_as_many_as_the_strictest_rule_over_its_present_labels() -> None:
    two = msgspec.structs.replace(PHI, approvals=2, approvers=("role:approver",))
    made = world(BASE, two)
    # Also where the label that is dropped is not the one that is so strict.
    meets(made, "declassifiers-too-few", "internal", signers=("researcher", "approver"))
    made.declassify(RESULT, "phi", signers=("researcher", "approver", "second"))
    made.declassify(RESULT, "internal", signers=("researcher", "second"))
    assert labels(made) == set()
    assert len(made.state.catalog.find(RESULT).dropped) == 2


def test_one_person_drops_nothing_alone_nor_with_their_second_account() -> None:
    made = world(BASE, same_person=(("admin", "second"),))
    meets(made, "declassifiers-too-few", signers=("researcher",))
    meets(made, "declassifiers-too-few", signers=("admin",))
    meets(made, "declassifier-not-named", signers=("admin", "second"))


def test_two_accounts_of_an_approver_count_once() -> None:
    two = rule("two", approvals=2)
    made = world(two, same_person=(("approver", "second"),))
    meets(made, "declassifiers-too-few", signers=("researcher", "approver", "second"))


def test_an_approver_does_not_count_for_what_is_theirs() -> None:
    """An admin who begins it for them does not make them another person."""
    made = world(BASE)
    made.seal("results/theirs", made.keys["approver"], labels=["phi"])
    for signers in (("admin", "approver"), ("admin", "second", "approver")):
        with refused("declassifier-not-named", RefusedError):
            made.declassify("results/theirs", "phi", signers=signers)
    made.declassify("results/theirs", "phi", signers=("admin", "second"))


def test_an_approver_does_not_count_for_what_they_sealed() -> None:
    made = world(BASE)
    made.seal(RESULT, made.keys["second"], labels=["phi"])  # as an admin, under another's name
    meets(made, "declassifier-not-named", signers=("researcher", "second"))
    made.declassify(RESULT, "phi", signers=("researcher", "approver"))


def test_an_approver_whom_one_of_the_rules_does_not_name_does_not_count() -> None:
    made = world()
    meets(made, "declassifier-not-named", signers=("researcher", "second"))
    meets(made, "declassifier-not-named", signers=("researcher", "approver", "second"))


@pytest.mark.parametrize(
    ("rules", "who"),
    [
        ((rule("open", approvals=0, approvers=()),), "second"),
        ((rule("open", approvals=0, approvers=()),), "admin"),
        ((rule("open", approvals=0, approvers=("person:approver",)),), "approver"),
        ((BASE, rule("open", approvals=0, approvers=("person:second",))), "approver"),
    ],
    ids=["an admin", "the other admin", "who is named all the same", "who is asked elsewhere"],
)
def test_a_rule_that_waives_approvals_still_takes_another_person(
    rules: tuple[Rule, ...], who: str
) -> None:
    made = stocked()
    made.apply_policy(policy(rules=rules))
    made.seal(RESULT, made.keys["researcher"], labels=["phi"])
    meets(made, "declassifiers-too-few", signers=("researcher",))
    wrong = "approver" if who in ("second", "admin") else "admin"
    meets(made, "declassifier-not-named", signers=("researcher", wrong))
    made.declassify(RESULT, "phi", signers=("researcher", who))
    assert labels(made) == set()


def test_a_policy_that_only_observes_waives_nothing_here() -> None:
    made = world()
    made.apply_policy(policy(rules=(BASE, PHI), mode="observe"))
    meets(made, "declassifiers-too-few", signers=("researcher",))
    meets(made, "declassifier-not-owner", signers=("approver", "researcher"))
    made.declassify(RESULT, "phi", signers=("researcher", "approver"))


def test_what_no_rule_covers_and_what_one_denies_is_not_declassified() -> None:
    made = world(rule("data", artifacts=("dataset/*",)))
    meets(made, "no-rule", signers=("researcher", "approver"))
    made = world(BASE, Rule(name="never", labels=("phi",), deny=True))
    meets(made, "denied-by-policy", "internal", signers=("researcher", "approver"))


def test_only_the_owner_or_an_admin_begins_it() -> None:
    made = world()
    meets(made, "declassifier-not-owner", signers=("approver", "second"))
    meets(made, "declassifier-not-owner", signers=("approver", "researcher"))


def test_a_label_that_it_does_not_carry_is_refused_also_the_second_time() -> None:
    made = world()
    meets(made, "label-not-carried", "secret", signers=("researcher", "approver"))
    meets(made, "label-not-carried", "phi", "secret", signers=("researcher", "approver"))
    made.declassify(RESULT, "phi", signers=("researcher", "approver"))
    meets(made, "label-not-carried", signers=("researcher", "approver"))


@pytest.mark.parametrize("drops", [(), ("phi", "internal"), ("phi", "phi")])
def test_labels_are_named_in_one_way(drops: tuple[str, ...]) -> None:
    meets(world(), "drops-invalid", drops=drops, signers=("researcher", "approver"))


@pytest.mark.parametrize("reason", ["", " \n", "x" * 4_001])
def test_it_takes_a_reason(reason: str) -> None:
    meets(
        world(),
        "declassification-reason-missing",
        reason=reason,
        signers=("researcher", "approver"),
    )


def test_signatures_are_for_one_version_and_no_other() -> None:
    made = world()
    first = made.declassification(RESULT, "phi", signers=("researcher", "approver"))
    made.seal(RESULT, made.keys["researcher"], labels=["phi"])
    for changes in (
        {"version": 2, "seal_id": made.state.catalog.find(RESULT, 1).seal_id},
        {"seal_id": made.state.catalog.find("dataset/digits").seal_id},
        {"manifest_sha256": sha256("another")},
    ):
        meets(made, "declassified-other", signers=("researcher", "approver"), **changes)
    made.append(propose_declassification(made.state, first, made.now))
    assert labels(made) == {"phi"}  # the second version still has it
    assert made.state.catalog.labels(RESULT) == {"internal", "phi"}


def test_a_policy_that_changed_since_takes_new_signatures() -> None:
    made = world()
    old = made.declassification(RESULT, "phi", signers=("researcher", "approver"))
    made.apply_policy(policy(rules=(BASE, PHI), pending_for=60))
    with refused("policy-changed", ConflictError):
        propose_declassification(made.state, old, made.now)
    made.declassify(RESULT, "phi", signers=("researcher", "approver"))


def test_who_saw_another_ledger_declassifies_nothing() -> None:
    made = world()
    size = made.state.size
    other = Checkpoint(ORIGIN, size, bytes(32)).brief
    ahead = Checkpoint(ORIGIN, size + 1, made.state.tree.root()).brief
    both = ("researcher", "approver")
    with pytest.raises(LedgerError):
        made.declassify(RESULT, "phi", signers=both, checkpoint=other)
    meets(made, "checkpoint-ahead", signers=both, checkpoint=ahead)
    meets(made, "checkpoint-invalid", signers=both, checkpoint="7")


def test_it_holds_days_after_the_first_signature() -> None:
    made = world()
    envelope = made.declassification(RESULT, "phi", signers=("researcher", "approver"))
    made.later(days=30)
    made.append(propose_declassification(made.state, envelope, made.now))
    with refused("statement-recorded", ConflictError):
        propose_declassification(made.state, envelope, made.now)


def test_signatures_that_are_wrong_nobodys_or_of_people_who_left_do_not_count() -> None:
    made = world()
    envelope = made.declassification(RESULT, "phi", signers=("researcher", "approver"))
    payload = envelope.payload.replace(b"Aggregates", b"Everything")
    with refused("signature-invalid"):
        propose_declassification(
            made.state, msgspec.structs.replace(envelope, payload=payload), made.now
        )
    with refused("signature-surplus"):
        propose_declassification(made.state, sign_again(envelope, SigningKey.generate()), made.now)
    others = made.declassification(RESULT, "phi", signers=("researcher",))
    renamed = msgspec.structs.replace(
        others, signatures=envelope.signatures[1:]
    )  # the approver's alone
    with refused("signer-unknown"):
        propose_declassification(made.state, renamed, made.now)
    made.remove("approver")
    with refused("person-removed"):
        propose_declassification(made.state, envelope, made.now)
    assert labels(made) == {"internal", "phi"}


def test_an_entry_that_says_other_than_was_signed_is_not_legal() -> None:
    made = world()
    envelope = made.declassification(RESULT, "phi", signers=("researcher", "approver"))
    body = propose_declassification(made.state, envelope, made.now)
    for changes in ({"drops": ("internal", "phi")}, {"seal_id": "seal_other"}, {"version": 2}):
        changed = msgspec.structs.replace(body, **changes)
        with refused("declassification-differs"):
            check_declassified(made.state, changed, made.now)
        entry = make_entry(made.state.size, format_time(made.now), changed, SALT)
        with refused("entry-illegal", LedgerError):
            apply(made.state, entry)


def test_what_a_kernel_opened_before_flows_as_it_counts_when_it_seals() -> None:
    """Rules look at the catalog: nothing else than what it says then is demanded."""
    made = world(labels=("phi",))
    grant = made.ask(RESULT)
    made.approve(grant)
    kernel = made.bind(grant)
    made.release(grant, kernel, RESULT)
    with refused("labels-missing", RefusedError):
        made.seal("weights/net", kernel.key)
    made.declassify(RESULT, "phi", signers=("researcher", "approver"))
    made.seal("weights/net", kernel.key)
    assert labels(made, "weights/net") == set()
    # What was sealed with the label keeps it, and so does what was made of that.
    made.seal("weights/other", kernel.key, labels=["phi"])
    assert labels(made, "weights/other") == {"phi"}


def test_a_source_keeps_its_label_when_what_was_made_of_it_loses_it() -> None:
    made = world(labels=("phi",))
    source = made.seal("dataset/x", made.keys["researcher"], labels=["phi"])
    result = made.seal(RESULT, made.keys["researcher"], parents=[source], labels=["phi"])
    made.declassify(RESULT, "phi", signers=("researcher", "approver"))
    made.seal("weights/clean", made.keys["researcher"], parents=[result])
    with refused("labels-missing", RefusedError):
        made.seal("weights/laundered", made.keys["researcher"], parents=[result, source])


def test_the_advice_for_missing_labels_names_the_command() -> None:
    made = world(labels=("phi",))
    with pytest.raises(AisecError) as caught:
        made.seal(
            "weights/net",
            made.keys["researcher"],
            parents=[made.state.catalog.find(RESULT).seal_id],
        )
    assert "`aisec declassify weights/net --drop phi --reason TEXT`" in caught.value.next


def test_what_nobody_could_sign_is_said_before_anybody_does() -> None:
    people = {"researcher": ("researcher",), "approver": ("approver",)}
    found = demanded(policy(), RESULT, ("phi",), people, ("researcher",))
    assert found == Demand(policy=policy(), approvals=1, approvers=("approver",))
    found.require_possible()
    for approvals, apart in ((1, ("researcher", "approver")), (2, ("researcher",))):
        twice = policy(rule={"approvals": approvals})
        with refused("approvers-too-few", RefusedError):
            demanded(twice, RESULT, (), people, apart).require_possible()
