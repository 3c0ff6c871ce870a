"""Breaking the glass: only where every rule lets it, short, said aloud, and owed a review."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_aisec.errors import LedgerError, MalformedError, RefusedError
from jupyter_aisec.grants import Policy, Refusal, Rule, parse_policy
from jupyter_aisec.grants.policy import describe
from jupyter_aisec.grants.statements import Request
from jupyter_aisec.ledger.bodies import GrantRequested, Terms
from jupyter_aisec.people.canonical import canonical, parse_canonical
from jupyter_aisec.times import format_time
from tests.effort import examples
from tests.grants.test_decide import decided, request, rule, rules, terms
from tests.grants.world import START, World, policy, refused, stocked

GLASS = {"break_glass": 900}
LET = policy(rule=GLASS)
SAID = (
    "Break-glass: no approval is asked for, at most 15m, and 1 review by person-b or "
    "person-e or person-e2 must follow."
)
POLICY = """\
mode = "enforce"
pending_for = "24h"
admins_for_policy = 2

[[rule]]
name = "one"
artifacts = ["weights/*"]
requesters = ["role:researcher"]
approvers = ["role:approver"]
approvals = 1
longest = "2h"
break_glass = "15m"
"""


def glass(*artifacts: str, **fields: Any) -> Request:
    return request(*artifacts, break_glass=True, **fields)


def opened(new: Policy = LET) -> World:
    """A world under ``new``: such a policy is never a first one."""
    world = stocked()
    world.apply_policy(new)
    return world


# -- policy


def test_a_policy_says_how_long_the_glass_may_be_broken_and_explains_it() -> None:
    found = parse_policy(POLICY)
    assert found.rule[0].break_glass == 900
    assert found.to_dict()["rule"][0]["break_glass"] == 900
    assert Policy.from_dict(found.to_dict()) == found
    assert "Break-glass: without that, at most 15m, to be reviewed after." in describe(
        found.rule[0]
    )


def test_a_policy_without_it_keeps_its_bytes_and_says_nothing_of_it() -> None:
    found = parse_policy(POLICY.replace('break_glass = "15m"\n', ""))
    assert "break_glass" not in found.to_dict()["rule"][0]
    assert "glass" not in describe(found.rule[0])


@pytest.mark.parametrize("length", ["2h1s", "5h", "0s", "soon"])
def test_a_time_without_bounds_is_refused_with_its_line(length: str) -> None:
    text = POLICY.replace('"15m"', f'"{length}"')
    with pytest.raises(
        MalformedError, match=r"^Line 12: Rule 1 \('one'\): `break_glass`"
    ) as caught:
        parse_policy(text)
    assert caught.value.code == "policy-invalid"


def test_nobody_breaks_the_glass_for_longer_than_four_hours() -> None:
    text = POLICY.replace('longest = "2h"', 'longest = "9h"')
    assert parse_policy(text.replace('"15m"', '"4h"')).rule[0].break_glass == 4 * 3600
    with pytest.raises(MalformedError, match="between 1s and 4h"):
        parse_policy(text.replace('"15m"', '"4h1s"'))


@pytest.mark.parametrize("seconds", [0, -1, 7201])
def test_a_logged_policy_is_held_to_the_same_bounds(seconds: int) -> None:
    data = parse_policy(POLICY).to_dict()
    data["rule"][0]["break_glass"] = seconds
    with refused("policy-invalid", MalformedError):
        Policy.from_dict(data)


def test_a_rule_that_denies_says_nothing_of_it() -> None:
    no = Rule(name="no", artifacts=("*",), deny=True, break_glass=60)
    with refused("policy-invalid", MalformedError):
        Policy.from_dict(policy(rules=(no,)).to_dict())


def test_a_policy_that_lets_the_glass_be_broken_waives_and_so_takes_two_admins() -> None:
    assert LET.waives
    assert not policy().waives
    with refused("waiver-needs-two-admins", RefusedError):
        World(LET)
    world = stocked(policy(admins_for_policy=1))
    with refused("waiver-needs-two-admins", RefusedError):
        world.apply_policy(LET, "admin")
    world.apply_policy(LET, "admin", "second")


# -- requests and terms


def test_a_request_from_before_there_was_break_glass_keeps_its_bytes() -> None:
    old = (
        b'{"artifacts":["weights/a"],"at":"2026-11-22T12:00:00.000Z","extends":null,"grant":"g",'
        b'"origin":"o","person":"p","reason":"r","seat":"s","seconds":1,"start":null}'
    )
    read = parse_canonical(old, Request, "It")
    assert not read.break_glass
    assert canonical(read) == old
    terms_before = (
        b'{"approvals":1,"approvers":["a"],"begin_within":1,"isolation":"none",'
        b'"pending_until":"x","policy_version":0,"reasons":[],"seconds":1}'
    )
    assert canonical(parse_canonical(terms_before, Terms, "It")) == terms_before


def test_the_terms_demand_no_approval_and_say_so_and_keep_those_who_are_told() -> None:
    found = terms((rule("r", **GLASS),), glass())
    assert found == Terms(
        approvals=0,
        approvers=("person-b", "person-e", "person-e2"),
        seconds=900,
        isolation="none",
        pending_until=format_time(START + timedelta(days=1)),
        begin_within=900,
        policy_version=4,
        reviews=1,
        reasons=(SAID, describe(rule("r", **GLASS))),
    )


def test_it_takes_as_many_reviews_as_it_would_have_taken_approvals() -> None:
    found = terms((rule("r", approvals=2, **GLASS),), glass())
    assert (found.approvals, found.reviews) == (0, 2)
    assert "2 reviews by" in found.reasons[0]


def test_who_asks_for_less_time_gets_less() -> None:
    assert terms((rule("r", **GLASS),), glass(seconds=60)).seconds == 60


def test_the_strictest_rule_wins_also_behind_the_glass() -> None:
    found = terms(
        (
            rule("short", artifacts=("weights/*",), break_glass=300, isolation="full"),
            rule("long", artifacts=("dataset/*",), break_glass=900, approvals=2),
            rule("waiver", artifacts=("*",), approvals=0, approvers=(), break_glass=600),
        ),
        glass("weights/a", "dataset/b"),
    )
    assert (found.seconds, found.begin_within, found.reviews) == (300, 300, 2)
    assert found.isolation == "full"


def test_an_ordinary_request_is_as_it_was() -> None:
    found = terms((rule("r", **GLASS),), request())
    assert (found.approvals, found.reviews) == (1, msgspec.UNSET)


REFUSED = {
    "a rule that does not let it": (
        "break-glass-not-allowed",
        ((rule("r", **GLASS), rule("strict", artifacts=("weights/*",))), glass()),
    ),
    "no rule lets it": ("break-glass-not-allowed", ((rule("r"),), glass())),
    "a deny": (
        "denied-by-policy",
        ((rule("r", **GLASS), Rule(name="no", artifacts=("w*",), deny=True)), glass()),
    ),
    "one who may not ask": (
        "requester-not-allowed",
        ((rule("r", **GLASS),), glass(person="person-k")),
    ),
    "a start": (
        "break-glass-scheduled",
        ((rule("r", **GLASS),), glass(start=format_time(START + timedelta(hours=1)))),
    ),
    "nothing to break": (
        "break-glass-needless",
        ((rule("r", approvals=0, **GLASS),), glass()),
    ),
    "nobody who could review": (
        "approvers-too-few",
        ((rule("r", approvers=("person:person-a",), **GLASS),), glass()),
    ),
    "too few who could review": (
        "approvers-too-few",
        ((rule("r", approvals=4, **GLASS),), glass()),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_keeps_the_glass_whole(case: str) -> None:
    code, given = REFUSED[case]
    found = decided(*given)
    assert isinstance(found, Refusal)
    assert (found.code, bool(found.next)) == (code, True)


def test_who_could_review_is_what_the_refusal_speaks_of() -> None:
    found = decided(*REFUSED["too few who could review"][1])
    assert isinstance(found, Refusal)
    assert "to review it" in found.what


@pytest.mark.parametrize("case", REFUSED)
def test_where_policy_only_observes_nothing_is_refused_and_no_review_is_owed(case: str) -> None:
    found = terms(*REFUSED[case][1], mode="observe")
    assert (found.approvals, found.reviews) == (0, msgspec.UNSET)


@settings(max_examples=examples(60), deadline=None)
@given(
    st.lists(rules, max_size=4, unique_by=lambda one: one.name).map(tuple),
    st.lists(st.sampled_from([None, 1, 600, 5000]), min_size=4, max_size=4),
    st.sets(st.sampled_from(["weights/a", "dataset/a", "dataset/b"]), min_size=1),
    st.sampled_from(["person-a", "person-e2", "person-k"]),
)
def test_it_opens_nothing_that_could_not_be_asked_for_and_nothing_for_longer(
    some: tuple[Rule, ...], lengths: list[int | None], artifacts: set[str], person: str
) -> None:
    """Only the approvals come later: who, isolation and the rules that refuse stay the same."""
    some = tuple(
        one if one.deny or length is None else msgspec.structs.replace(one, break_glass=length)
        for one, length in zip(some, lengths, strict=False)
    )
    asked = decided(some, request(*artifacts, person=person))
    broken = decided(some, glass(*artifacts, person=person))
    covering = [one for one in some if any(one.covers(name, ()) for name in artifacts)]
    let = all(one.break_glass for one in covering)
    if isinstance(asked, Refusal):
        assert isinstance(broken, Refusal)
    elif isinstance(broken, Refusal):
        assert not let or asked.approvals == 0
    else:
        assert let
        assert (broken.approvals, broken.reviews) == (0, asked.approvals)
        assert broken.reviews > 0
        assert (broken.approvers, broken.isolation) == (asked.approvers, asked.isolation)
        shortest = min(one.break_glass for one in covering)
        assert broken.seconds == min(asked.seconds, shortest)


# -- in the ledger


def test_it_is_open_at_once_for_its_short_time_and_every_release_says_that_nobody_approved() -> (
    None
):
    world = opened()
    grant = world.ask(break_glass=True)
    found = world.state.grants[grant]
    assert (found.state(world.now), found.break_glass, found.reviews_owed) == ("scheduled", True, 1)
    assert found.length == timedelta(minutes=15)
    kernel = world.bind(grant)
    assert world.release(grant, kernel).approvals == 0
    world.later(minutes=15)
    with refused("grant-ended"):
        world.release(grant, kernel)


def test_one_that_is_not_begun_in_that_time_is_over() -> None:
    world = opened()
    grant = world.ask(break_glass=True)
    world.later(minutes=15)
    with refused("grant-ended"):
        world.bind(grant)
    assert world.state.grants[grant].reviews_owed == 1


def test_isolation_is_demanded_as_ever() -> None:
    world = opened(policy(rule={**GLASS, "isolation": "full"}))
    with refused("isolation-too-low"):
        world.bind(world.ask(break_glass=True), isolation="partial")


def test_it_is_reviewed_not_approved() -> None:
    world = opened()
    grant = world.ask(break_glass=True)
    with refused("approved-already"):
        world.approve(grant)


def test_whoever_would_have_been_asked_can_end_it() -> None:
    world = opened()
    first = world.ask(break_glass=True)
    world.bind(first)
    world.decide("revoke", first, "approver")
    assert world.state.grants[first].ended_why(world.now) == "revoked"


def test_nobody_breaks_the_glass_again_before_the_first_was_reviewed() -> None:
    world = opened()
    first = world.ask(break_glass=True)
    with refused("review-owed", RefusedError):
        world.ask(break_glass=True)
    world.ask()  # an ordinary request is as free as ever
    world.later(days=2)
    with refused("review-owed", RefusedError):
        world.ask(break_glass=True)
    world.review(first)
    world.ask(break_glass=True)


def test_a_second_account_of_the_same_person_owes_the_review_too() -> None:
    same = (("researcher", "other"),)
    world = stocked()
    world.invite("other", "researcher")
    world.apply_policy(policy(rule=GLASS, same_person=same))
    first = world.ask(break_glass=True)
    with refused("review-owed", RefusedError):
        world.ask(break_glass=True, person="other")
    world.review(first)
    world.ask(break_glass=True, person="other")


def test_another_person_may_while_one_is_owed() -> None:
    world = stocked()
    world.invite("other", "researcher")
    world.apply_policy(LET)
    world.ask(break_glass=True)
    world.ask(break_glass=True, person="other")


def test_an_extension_by_break_glass_is_a_break_glass_request_of_the_same_rule() -> None:
    world = opened()
    first = world.ask(break_glass=True)
    with refused("review-owed", RefusedError):
        world.ask(break_glass=True, extends=first)
    world.review(first)
    second = world.state.grants[world.ask(break_glass=True, extends=first)]
    assert (second.reviews_owed, second.length) == (1, timedelta(minutes=15))


@pytest.mark.parametrize(
    "changes",
    [
        {"reviews": msgspec.UNSET},
        {"reviews": 2},
        {"approvers": ()},
        {"seconds": 3600},
        {"begin_within": 86_400},
    ],
    ids=["no review owed", "more reviews", "nobody told", "longer", "begun whenever"],
)
def test_other_terms_than_the_policys_are_refused_when_found_in_the_ledger(
    changes: dict[str, Any],
) -> None:
    world = opened()
    grant = world.ask(break_glass=True)
    body = world.entries[-1].content()
    assert isinstance(body, GrantRequested)
    world.review(grant)
    envelope = world.request(break_glass=True)
    forged = msgspec.structs.replace(
        body,
        grant=msgspec.json.decode(envelope.payload)["grant"],
        request=envelope,
        terms=msgspec.structs.replace(body.terms, **changes),
    )
    with refused("entry-illegal", LedgerError):
        world.append(forged)
    world.append(msgspec.structs.replace(forged, terms=body.terms))


def test_terms_of_break_glass_for_a_request_that_does_not_ask_for_it_are_refused() -> None:
    world = opened()
    world.ask(break_glass=True)
    body = world.entries[-1].content()
    assert isinstance(body, GrantRequested)
    world.review(body.grant)
    envelope = world.request()
    with refused("entry-illegal", LedgerError):
        world.append(
            msgspec.structs.replace(
                body, grant=msgspec.json.decode(envelope.payload)["grant"], request=envelope
            )
        )
