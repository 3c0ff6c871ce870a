from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_aisec.grants import Facts, Policy, Refusal, Rule, decide
from jupyter_aisec.grants.policy import ISOLATION
from jupyter_aisec.grants.statements import Request
from jupyter_aisec.ledger.bodies import Terms
from jupyter_aisec.times import format_time
from tests.effort import examples
from tests.grants.world import START, policy, ulid

PEOPLE = {
    "person-a": ("researcher",),
    "person-b": ("approver",),
    "person-e": ("admin", "approver"),
    "person-e2": ("approver", "researcher"),
    "person-k": ("admin",),
}


def rule(name: str, **fields: object) -> Rule:
    values = {
        "artifacts": ("*",),
        "requesters": ("role:researcher",),
        "approvers": ("role:approver",),
        "approvals": 1,
        "longest": 7200,
    }
    return Rule(name=name, **{**values, **fields})  # type: ignore[arg-type]


def request(*artifacts: str, person: str = "person-a", **fields: object) -> Request:
    values = {"seconds": 3600, "artifacts": tuple(sorted(artifacts or ("weights/a",)))}
    return Request(
        origin="o",
        person=person,
        at=format_time(START),
        grant=f"grant_{ulid(1)}",
        reason="why",
        seat="job:x",
        **{**values, **fields},  # type: ignore[arg-type]
    )


def decided(
    rules: tuple[Rule, ...],
    asked: Request,
    labels: dict[str, set[str]] | None = None,
    **top: object,
) -> Terms | Refusal:
    names = {one.partition("@")[0] for one in asked.artifacts}
    facts = Facts(
        people=PEOPLE,
        labels={name: frozenset((labels or {}).get(name, ())) for name in names},
        policy_version=4,
    )
    return decide(policy(rules=rules, **top), asked, facts, START)


def terms(*args: object, **top: object) -> Terms:
    found = decided(*args, **top)  # type: ignore[arg-type]
    assert isinstance(found, Terms), found
    return found


def test_one_rule_and_its_terms() -> None:
    found = terms((rule("r"),), request())
    assert found == Terms(
        approvals=1,
        approvers=("person-b", "person-e", "person-e2"),
        seconds=3600,
        isolation="none",
        pending_until=format_time(START + timedelta(days=1)),
        begin_within=86_400,
        policy_version=4,
        reasons=(
            "Rule 'r' asks for 1 approval by role:approver, at most 2h, isolation none or better.",
        ),
    )


def test_the_strictest_rule_wins_in_every_respect_over_all_artifacts() -> None:
    found = terms(
        (
            rule("short", artifacts=("weights/*",), longest=600),
            rule("two", artifacts=("dataset/*",), approvals=2, isolation="partial"),
            rule("full", artifacts=("dataset/s*",), isolation="full"),
            rule("other", artifacts=("results/*",), approvals=9),
        ),
        request("weights/a", "dataset/secret@2"),
    )
    assert (found.approvals, found.seconds, found.isolation) == (2, 600, "full")
    assert "The shortest cap wins: 10m instead of what was asked." in found.reasons
    assert len(found.reasons) == 4


def test_a_waiver_never_weakens_a_stricter_rule_and_has_no_say_in_who_approves() -> None:
    waiver = rule("waiver", approvals=0, approvers=())
    assert terms((waiver,), request()).approvals == 0
    assert terms((waiver,), request()).approvers == ()
    both = terms((waiver, rule("r", artifacts=("weights/*",))), request())
    assert (both.approvals, both.approvers) == (1, ("person-b", "person-e", "person-e2"))


def test_whoever_approves_is_named_by_every_rule_that_asks_for_approval() -> None:
    admins = rule("admins", artifacts=("weights/*",), approvers=("role:admin",))
    assert terms((admins, rule("r")), request()).approvers == ("person-e",)


REFUSED = {
    "no-rule": ((rule("r", artifacts=("dataset/*",)),), request("weights/a", "dataset/b")),
    "denied-by-policy": ((rule("r"), Rule(name="no", artifacts=("w*",), deny=True)), request()),
    "requester-not-allowed": ((rule("r"),), request(person="person-k")),
    "approvers-too-few": ((rule("r", approvals=4),), request()),
    "start-too-late": (
        (rule("r"),),
        request(start=format_time(START + timedelta(hours=25))),
    ),
}


@pytest.mark.parametrize("code", REFUSED)
def test_what_policy_refuses_and_why(code: str) -> None:
    found = decided(*REFUSED[code])
    assert isinstance(found, Refusal)
    assert (found.code, bool(found.what), bool(found.next)) == (code, True, True)


def test_a_deny_beats_every_other_reason_to_refuse() -> None:
    no = Rule(name="no", artifacts=("weights/*",), deny=True)
    found = decided((no, rule("r", requesters=(), approvals=9)), request("dataset/d", "weights/w"))
    assert isinstance(found, Refusal)
    assert found.code == "denied-by-policy"


def test_two_rules_with_no_approver_in_common_cannot_be_met_together() -> None:
    rules = (
        rule("w", artifacts=("weights/*",), approvers=("person:person-b",)),
        rule("d", artifacts=("dataset/*",), approvers=("person:person-e",)),
    )
    found = decided(rules, request("weights/a", "dataset/b"))
    assert isinstance(found, Refusal)
    assert (found.code, "separate requests" in found.next) == ("approvers-too-few", True)
    assert terms(rules, request("weights/a")).approvers == ("person-b",)


def test_a_rule_with_no_requesters_lets_nobody_ask() -> None:
    found = decided((rule("r", requesters=()),), request())
    assert isinstance(found, Refusal)
    assert found.code == "requester-not-allowed"


def test_the_requester_never_counts_also_not_through_a_second_account() -> None:
    asked = request(person="person-e2")
    assert terms((rule("r"),), asked).approvers == ("person-b", "person-e")
    same = (("person-e", "person-e2"),)
    assert terms((rule("r"),), asked, same_person=same).approvers == ("person-b",)
    found = decided((rule("r", approvals=2),), asked, same_person=same)
    assert isinstance(found, Refusal)


def test_two_accounts_of_one_person_count_once() -> None:
    same = (("person-e", "person-e2"),)
    assert terms((rule("r", approvals=3),), request()).approvals == 3
    found = decided((rule("r", approvals=3),), request(), same_person=same)
    assert isinstance(found, Refusal)
    assert "2 of those" in found.what


def test_a_rule_for_a_label_speaks_about_everything_that_carries_it() -> None:
    rules = (rule("r"), rule("phi", artifacts=(), labels=("phi*",), approvals=2))
    assert terms(rules, request()).approvals == 1
    assert terms(rules, request(), {"weights/a": {"phi:x"}}).approvals == 2


def test_a_request_for_a_fixed_window_lapses_when_the_window_is_over() -> None:
    start = START + timedelta(hours=2)
    found = terms((rule("r"),), request(start=format_time(start)))
    assert found.pending_until == format_time(start + timedelta(hours=1))


@pytest.mark.parametrize("code", [None, *REFUSED])
def test_observing_refuses_nothing_waits_for_nobody_and_says_what_would_be(
    code: str | None,
) -> None:
    rules, asked = REFUSED[code] if code else ((rule("r", longest=60),), request())
    found = terms(rules, asked, mode="observe")
    shortest = asked.seconds if code else 60  # ten years are no more than the rules would allow
    assert (found.approvals, found.approvers, found.seconds) == (0, (), shortest)
    assert found.reasons[0] == "The policy only observes: nothing is refused."
    assert ("would have refused" in found.reasons[1]) == (code is not None)


rules = st.builds(
    rule,
    st.sampled_from("abcdef"),
    artifacts=st.sampled_from([("weights/*",), ("dataset/*",), ("*/a",), ("*",)]),
    requesters=st.sampled_from([("role:researcher",), ("person:person-a",), ("role:admin",), ()]),
    approvers=st.sampled_from([("role:approver",), ("person:person-b",), ("role:admin",)]),
    approvals=st.integers(0, 3),
    longest=st.integers(1, 9000),
    isolation=st.sampled_from(ISOLATION),
) | st.builds(Rule, name=st.just("no"), artifacts=st.just(("*/b",)), deny=st.just(True))


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(rules, max_size=4, unique_by=lambda one: one.name).map(tuple),
    rules,
    st.sets(st.sampled_from(["weights/a", "dataset/a", "dataset/b"]), min_size=1),
    st.sampled_from(["person-a", "person-e2", "person-k"]),
)
def test_one_more_rule_only_ever_makes_it_stricter(
    some: tuple[Rule, ...], more: Rule, artifacts: set[str], person: str
) -> None:
    """Except that a rule may cover an artifact that none covered before."""
    more = msgspec.structs.replace(more, name="more")
    asked = request(*artifacts, person=person)
    before, after = decided(some, asked), decided((*some, more), asked)
    if isinstance(before, Refusal):
        assert isinstance(after, Refusal) or before.code == "no-rule"
    elif isinstance(after, Terms):
        assert after.approvals >= before.approvals
        assert after.seconds <= before.seconds <= asked.seconds
        assert ISOLATION.index(after.isolation) >= ISOLATION.index(before.isolation)
        assert not before.approvals or set(after.approvers) <= set(before.approvers)
    if isinstance(after, Terms):
        assert person not in after.approvers
        assert len(after.approvers) >= after.approvals


def test_a_policy_without_rules_lets_nobody_open_anything() -> None:
    empty = Policy.from_dict({**policy().to_dict(), "rule": []})
    facts = Facts(people=PEOPLE, labels={"weights/a": frozenset()}, policy_version=0)
    found = decide(empty, request(), facts, START)
    assert isinstance(found, Refusal)
    assert found.code == "no-rule"
