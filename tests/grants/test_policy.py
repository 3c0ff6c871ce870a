from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyter_aisec.errors import MalformedError
from jupyter_aisec.grants import DEFAULT_POLICY_TEXT, Policy, Rule, parse_policy
from jupyter_aisec.grants.policy import VERSION_SEALERS, describe, names_person
from jupyter_aisec.people.canonical import canonical
from tests.grants.world import policy

# Replaced in the default policy: fault -> (what stood there, what stands there, what is said).
FAULTS = {
    "not TOML": ('mode = "enforce"', "mode =", "The policy is not TOML"),
    "unknown mode": ('mode = "enforce"', 'mode = "maybe"', "Line 1: Invalid enum"),
    "unknown key": ("pending_for =", "pending = 1\npending_for =", "Line 2: The policy has an un"),
    "unknown key of a rule": (
        "approvals = 1",
        "approvalls = 1",
        "Line 13: Rule 1 ('one other pers",
    ),
    "missing mode": ('mode = "enforce"', "", "missing required field `mode`"),
    "bad duration": ('"4h"', '"4 hours"', "Line 14: Rule 1 ('one other person'): `longest`: '4 h"),
    "duration as a number": ('pending_for = "24h"', "pending_for = 24", "Line 2: The policy: `pen"),
    "duration without end": ('"4h"', '"9999d"', "`longest` must be between"),
    "begin_within without end": ('begin_within = "24h"', 'begin_within = "9999d"', "Line 3: `begi"),
    "no admins for policy": ("admins_for_policy = 2", "admins_for_policy = 0", "Line 4: `admins_f"),
    "too many approvals": ("approvals = 1", "approvals = 21", "Line 13: Rule 1"),
    "approvals as text": (
        "approvals = 1",
        'approvals = "1"',
        "Line 13: Rule 1 ('one other person')",
    ),
    "nobody may approve": ('["role:approver"]', "[]", "an empty list means nobody"),
    "unknown role": (
        '["role:approver"]',
        '["role:boss"]',
        "Line 12: Rule 1 ('one other person'): ",
    ),
    "unknown sealer": (
        'sealers = ["role:researcher"',
        'sealers = ["researcher"',
        "Line 6: 'resear",
    ),
    "unknown sealer of versions": (
        "[[rule]]\nname",
        'version_sealers = ["owner", "admin"]\n[[rule]]\nname',
        "Line 8: 'admin' names nobody",
    ),
    "an owner is no sealer of names": (
        'sealers = ["role:researcher"',
        'sealers = ["owner"',
        "Line 6: 'owner' names nobody",
    ),
    "empty rule": ('["weights/*", "dataset/*", "results/*"]', "[]", "covers nothing"),
    "pattern over paths": ('"weights/*"', '"weights/a/b"', "is not a pattern"),
    "empty name": ('name = "one other person"', 'name = " "', "has an empty name"),
    "no name": ('name = "one other person"', "", "Line 8: Rule 1 lacks `name`"),
    "missing keys": ('longest = "4h"', "", "Line 8: Rule 1 ('one other person') lacks `longest`"),
    "approvers missing": ('approvers = ["role:approver"]', "", "lacks `approvers`"),
    "unknown isolation": ('isolation = "none"', 'isolation = "some"', "Line 15: Rule 1"),
    "deny with people": ("approvals = 1", "deny = true", "denies, so it lists only"),
    "rule is not a table": ("[[rule]]", "[rule]", "written as [[rule]] tables"),
    "same_person of one": (
        "[[rule]]\nname",
        'same_person = [["a"]]\n[[rule]]\nname',
        "same_person",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_policy_is_refused_with_line_and_rule(fault: str) -> None:
    old, new, said = FAULTS[fault]
    assert old in DEFAULT_POLICY_TEXT
    with pytest.raises(MalformedError) as caught:
        parse_policy(DEFAULT_POLICY_TEXT.replace(old, new, 1))
    assert said in caught.value.what
    assert (caught.value.code, "policy check" in caught.value.next) == ("policy-invalid", True)


def test_an_account_is_in_one_group_of_same_person_only() -> None:
    text = 'same_person = [["a", "b"], ["b", "c"]]\n' + DEFAULT_POLICY_TEXT
    with pytest.raises(MalformedError, match="Line 1: Each group of `same_person`"):
        parse_policy(text)


def test_two_rules_of_one_name_are_refused_at_the_second() -> None:
    rule = DEFAULT_POLICY_TEXT[DEFAULT_POLICY_TEXT.index("[[rule]]") :]
    with pytest.raises(MalformedError, match="Line 24: There are two rules of the name 'one other"):
        parse_policy(DEFAULT_POLICY_TEXT + "\n" + rule)


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000,
        "a = " + "{a=" * 4000,
        "a" + ".a" * 5000 + " = 1",
        "pending_for" + ".a" * 5000 + " = 1",
        "same_person" + ".a" * 5000 + " = 1",
        "rule = [{name" + ".a" * 5000 + " = 1}]",
        "a = " + "1" * 5000,
        "a = 2020-13-45",
        'pending_for = "' + "9" * 5000 + 'd"',
        'mode = "\\ud800"',
        "#" * 16_385,
    ],
    ids=[
        "arrays",
        "inline tables",
        "dotted key",
        "duration",
        "same_person",
        "name of a rule",
        "number too long",
        "no such date",
        "duration too long",
        "surrogate",
        "file too long",
    ],
)
def test_a_file_made_to_hurt_is_no_policy(text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_policy(text)
    assert caught.value.code == "policy-invalid"


def test_a_policy_may_leave_out_what_has_a_plain_default() -> None:
    text = "\n".join(
        line
        for line in DEFAULT_POLICY_TEXT.splitlines()
        if not line.startswith(("begin_within", "admins_for_people", "sealers"))
    )
    assert parse_policy(text) == parse_policy(DEFAULT_POLICY_TEXT)


def test_a_deny_rule_needs_only_a_name_and_what_it_covers() -> None:
    found = parse_policy(
        DEFAULT_POLICY_TEXT + '[[rule]]\nname = "no"\nlabels = ["secret"]\ndeny = true\n'
    )
    assert found.rule[1].covers("weights/x", {"secret"})
    assert not found.rule[1].covers("weights/x", {"public"})
    assert describe(found.rule[1]) == "Rule 'no' denies it to everybody."


def test_a_rule_says_itself_in_a_sentence() -> None:
    one = parse_policy(DEFAULT_POLICY_TEXT).rule[0]
    assert describe(one) == (
        "Rule 'one other person' asks for 1 approval by role:approver, at most 4h, "
        "isolation none or better."
    )
    two = msgspec.structs.replace(one, approvals=2, approvers=("person:a", "person:b"))
    assert "2 approvals by person:a or person:b" in describe(two)
    assert "asks for no approval" in describe(msgspec.structs.replace(one, approvals=0))


def test_patterns_are_matched_with_case() -> None:
    rule = Rule(name="r", artifacts=("weights/Base-*",))
    assert rule.covers("weights/Base-1", ())
    assert not rule.covers("weights/base-1", ())


def test_an_empty_list_of_people_means_nobody() -> None:
    assert not names_person((), "person-a", ("admin", "approver", "researcher"))
    assert names_person(("person:person-a",), "person-a", ())
    assert names_person(("role:admin",), "person-a", ("admin",))


def test_a_policy_that_waives_anything_says_so() -> None:
    assert not policy().waives
    assert policy(mode="observe").waives
    assert policy(rule={"approvals": 0}).waives
    deny = Rule(name="no", artifacts=("*",), deny=True)
    assert not policy(rules=(deny,)).waives


def test_a_policy_of_an_older_ledger_keeps_its_digest() -> None:
    """What came later is left out of the canonical form where it says its default."""
    old = policy()
    assert "version_sealers" not in old.to_dict()
    changed = policy(version_sealers=("owner",))
    assert changed.to_dict()["version_sealers"] == ["owner"]
    spelled_out = {**old.to_dict(), "version_sealers": list(VERSION_SEALERS)}
    with pytest.raises(MalformedError, match="canonical form"):
        Policy.from_dict(spelled_out)


durations = st.integers(1, 3660 * 86_400)
principals = st.lists(
    st.sampled_from(["role:researcher", "role:approver", "role:admin", "person:person-a"]),
    min_size=1,
).map(tuple)
rules = st.builds(
    Rule,
    name=st.text("abc", min_size=1),
    artifacts=st.sampled_from([("weights/*",), ("*", "dataset/[ab]?")]),
    labels=st.sampled_from([(), ("phi",)]),
    requesters=principals,
    approvers=principals,
    approvals=st.integers(0, 20),
    longest=durations,
    isolation=st.sampled_from(["none", "partial", "full"]),
)
policies = st.builds(
    Policy,
    mode=st.sampled_from(["enforce", "observe"]),
    pending_for=durations,
    begin_within=durations,
    admins_for_policy=st.integers(1, 20),
    admins_for_people=st.integers(1, 20),
    sealers=principals,
    version_sealers=st.just(VERSION_SEALERS) | principals,
    same_person=st.sampled_from([(), (("person-a", "person-a.admin"),)]),
    rule=st.lists(rules, max_size=3, unique_by=lambda rule: rule.name).map(tuple),
)


@given(policies)
def test_the_canonical_form_goes_both_ways(found: Policy) -> None:
    data = msgspec.json.decode(canonical(found.to_dict()))
    assert Policy.from_dict(data) == found


@pytest.mark.parametrize(
    "change",
    [
        {"mode": "other"},
        {"more": 1},
        {"pending_for": 0},
        {"rule": [{"name": "short form", "artifacts": ["*"], "deny": True}]},
    ],
    ids=["unknown mode", "unknown key", "no time", "defaults left out"],
)
def test_what_is_not_canonical_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(MalformedError) as caught:
        Policy.from_dict({**policy().to_dict(), **change})
    assert caught.value.code == "policy-invalid"
