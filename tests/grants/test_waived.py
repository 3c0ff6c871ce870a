"""What nobody approved does not outlive the policy that asked nobody."""

from __future__ import annotations

from datetime import timedelta

import pytest

from jupyter_aisec.errors import ConflictError
from jupyter_aisec.grants import Policy, fold
from jupyter_aisec.grants.policy import LONGEST
from jupyter_aisec.grants.waived import check_waived_opening
from jupyter_aisec.times import format_time
from tests.grants.world import HOUR, START, World, policy, refused, stocked

OBSERVE, ENFORCE = policy(mode="observe"), policy()
WAIVE = policy(rule={"approvals": 0})


def observed(**fields: object) -> tuple[World, str]:
    world = stocked()
    world.apply_policy(OBSERVE)
    return world, world.ask(**fields)


@pytest.mark.parametrize("before", [OBSERVE, WAIVE], ids=["observing", "waiving"])
@pytest.mark.parametrize("after", [ENFORCE, OBSERVE, WAIVE], ids=["enforce", "observe", "waive"])
def test_a_seat_that_needed_no_approval_is_not_taken_under_another_policy(
    before: Policy, after: Policy
) -> None:
    world = stocked()
    world.apply_policy(before)
    grant = world.ask()
    world.apply_policy(after)
    with refused("policy-changed", ConflictError) as met:
        world.bind(grant, isolation="none")
    assert f"`aisec grant extend {grant} --for 1h --reason TEXT`" in met.value.next
    again = world.ask(extends=grant)
    if after is ENFORCE:
        world.approve(again)
    world.release(again, world.bind(again))


def test_a_restarted_kernel_does_not_take_it_again_either() -> None:
    world = stocked()
    world.apply_policy(WAIVE)
    grant = world.ask()
    kernel = world.bind(grant)
    world.apply_policy(ENFORCE)
    with refused("policy-changed"):
        world.bind(grant)
    world.release(grant, kernel)  # bounded by the rule's longest time, as an approved one is


def test_what_was_opened_while_a_policy_observed_opens_nothing_once_one_decides() -> None:
    world, grant = observed()
    kernel = world.bind(grant, isolation="none")
    world.release(grant, kernel, action=(action := "action_" + "0" * 26))
    world.apply_policy(policy(mode="observe", rule={"longest": HOUR}))
    world.release(grant, kernel)
    world.apply_policy(ENFORCE)
    with refused("policy-changed", ConflictError):
        world.release(grant, kernel)
    with refused("policy-changed", ConflictError):  # nor what was released already, once more
        world.release(grant, kernel, action=action)


def test_a_schedule_made_while_a_policy_observed_opens_nothing_later() -> None:
    start = START + timedelta(days=300)
    world, grant = observed(start=format_time(start))
    world.apply_policy(ENFORCE)
    world.now = start
    with refused("policy-changed"):
        world.bind(grant)


def test_an_approved_grant_is_bound_under_the_next_policy_as_ever() -> None:
    world = stocked()
    grant = world.ask()
    world.approve(grant)
    world.apply_policy(policy(rule={"longest": HOUR}))
    world.release(grant, world.bind(grant))


def test_a_policy_that_observes_again_lets_go_on_what_one_had_stopped() -> None:
    """The mode in force counts, not what came in between."""
    check_waived_opening(observed()[0].state.grants.popitem()[1], OBSERVE, OBSERVE)
    world, grant = observed()
    kernel = world.bind(grant)
    for one in (ENFORCE, OBSERVE):
        world.apply_policy(one)
    world.release(grant, kernel)


@pytest.mark.parametrize(
    ("rules", "seconds"),
    [
        (OBSERVE.rule, 4 * HOUR),
        (policy(rule={"requesters": (), "longest": 60}).rule, 60),  # it would have been refused
        (policy(rule={"artifacts": ("weights/*",)}).rule, LONGEST),  # no rule for it
        ((), LONGEST),
    ],
    ids=["longest", "refused", "elsewhere", "none"],
)
def test_ten_years_asked_of_a_policy_that_observes_are_cut_by_its_rules(
    rules: tuple[object, ...], seconds: int
) -> None:
    world = stocked()
    world.apply_policy(policy(mode="observe", rules=rules))
    assert world.state.grants[world.ask(seconds=LONGEST)].terms.seconds == seconds


def test_the_shortest_rule_of_all_that_cover_any_of_it_cuts() -> None:
    short = policy(rule={"name": "short", "artifacts": ("weights/*",), "longest": 60}).rule[0]
    deny = type(short)(name="never", artifacts=("dataset/*",), deny=True)
    world = stocked()
    world.apply_policy(policy(mode="observe", rules=(*OBSERVE.rule, short, deny)))
    both = world.ask("dataset/digits", "weights/minilm", seconds=LONGEST)
    assert world.state.grants[both].length == timedelta(minutes=1)
    one = world.ask("dataset/digits", seconds=LONGEST)
    assert world.state.grants[one].length == timedelta(hours=4)


def test_the_state_knows_every_policy_by_its_version() -> None:
    world, _ = observed()
    world.apply_policy(ENFORCE)
    again = fold(world.entries)
    assert again.policies == [policy(), OBSERVE, ENFORCE]
    assert again.policies[again.policy_version] == again.policy
