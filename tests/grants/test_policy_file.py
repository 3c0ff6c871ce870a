from __future__ import annotations

import tomllib
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jupyter_aisec.errors import MalformedError
from jupyter_aisec.grants.limits import Limits
from jupyter_aisec.grants.policy import (
    DEFAULT_POLICY_TEXT,
    LONGEST,
    VERSION_SEALERS,
    Policy,
    Rule,
    parse_policy,
)
from jupyter_aisec.grants.policy_file import render, render_policy

PRINCIPALS = st.lists(
    st.sampled_from(["role:researcher", "role:approver", "role:admin"])
    | st.text("abcé'\"\\\u202e\x07#=[]", min_size=1, max_size=5).map("person:{}".format),
    max_size=3,
).map(tuple)
TEXT = st.text(max_size=12)  # with quotes, line ends, controls and whatever else there is
SECONDS = st.integers(1, LONGEST)
COVERED = st.fixed_dictionaries(
    {
        "name": TEXT,
        "artifacts": st.lists(
            st.sampled_from(["weights/*", "dataset/[!a]?", "*"]), min_size=1, max_size=3
        ).map(tuple),
        "labels": st.lists(TEXT, max_size=2).map(tuple),
    }
)
RULES = st.one_of(
    st.builds(lambda covered: Rule(**covered, deny=True), COVERED),
    st.builds(
        lambda covered, said: Rule(**covered, **said),
        COVERED,
        st.fixed_dictionaries(
            {
                "requesters": PRINCIPALS,
                "approvers": PRINCIPALS,
                "approvals": st.integers(0, 20),
                "longest": SECONDS,
                "isolation": st.sampled_from(["none", "partial", "full"]),
                "break_glass": st.just(msgspec.UNSET) | st.integers(1, 600),
            }
        ),
    ),
)
COUNT = st.just(msgspec.UNSET) | st.integers(1, 1_000)
LIMITS = st.builds(
    Limits, grants=COUNT, artifacts=COUNT, bytes=st.integers(1, 10**12) | st.integers(1, 99)
)
ACCOUNTS = st.lists(TEXT, min_size=2, max_size=6, unique=True)
POLICIES = st.builds(
    Policy,
    mode=st.sampled_from(["enforce", "observe"]),
    pending_for=SECONDS,
    begin_within=SECONDS,
    admins_for_policy=st.integers(1, 20),
    admins_for_people=st.integers(1, 20),
    sealers=PRINCIPALS,
    version_sealers=st.just(VERSION_SEALERS) | PRINCIPALS,
    limits=st.just(msgspec.UNSET) | LIMITS,
    same_person=st.just(()) | ACCOUNTS.map(lambda names: (tuple(names),)),
    rule=st.lists(RULES, max_size=3).map(tuple),
)


@given(POLICIES)
def test_what_is_written_is_read_as_the_same_policy(policy: Policy) -> None:
    try:
        Policy.from_dict(policy.to_dict())
    except MalformedError:
        assume(False)  # not one that could be in force
    text = render_policy(policy)
    assert parse_policy(text) == policy
    assert all(char.isprintable() or char == "\n" for char in text)


def test_the_default_policy_comes_back_as_people_write_it() -> None:
    text = render_policy(parse_policy(DEFAULT_POLICY_TEXT))
    assert 'longest = "4h"\n' in text
    assert 'isolation = "none"\n' in text
    assert "[[rule]]\n" in text
    assert parse_policy(text) == parse_policy(DEFAULT_POLICY_TEXT)


def test_a_rule_that_denies_says_only_what_it_covers() -> None:
    rule = Rule(name="closed", labels=("secret",), deny=True)
    policy = msgspec.structs.replace(parse_policy(DEFAULT_POLICY_TEXT), rule=(rule,))
    written = render_policy(policy).partition("[[rule]]\n")[2]
    assert written == 'name = "closed"\nlabels = ["secret"]\ndeny = true\n'


class Inner(msgspec.Struct, frozen=True, kw_only=True):
    """Of the kinds that a policy may come to have."""

    longest: int
    of: str = "x"
    share: float = 0.5
    none: str | None = None


class Outer(msgspec.Struct, frozen=True, kw_only=True):
    rule: tuple[Inner, ...]
    table: Inner
    counts: dict[str, int]
    flag: bool = False
    inside: tuple[tuple[str, ...], ...] = ()


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    rule: tuple[Outer, ...]


@pytest.mark.parametrize("kind", ["first", "inside of a rule"])
def test_new_kinds_of_fields_come_along(kind: str) -> None:
    inner = Inner(longest=5400)
    outer: Any = Outer(
        rule=(inner,) if kind == "first" else (),
        table=inner,
        counts={'a "b"': 3},
        flag=True,
        inside=(("a", "b"), ("c",)),
    )
    read = tomllib.loads(render(outer if kind == "first" else Rules(rule=(outer,))))
    said = read if kind == "first" else read["rule"][0]
    written = {"longest": "1h30m", "of": "x", "share": 0.5}
    assert said["table"] == written
    assert said["rule"] == ([written] if kind == "first" else [])
    assert said["counts"] == {'a "b"': 3}
    assert said["flag"] is True
    assert said["inside"] == [["a", "b"], ["c"]]
