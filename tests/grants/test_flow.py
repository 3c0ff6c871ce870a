"""What counts as opened by a kernel, whatever keys it makes."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_aisec.errors import RefusedError
from jupyter_aisec.grants import propose_ending
from jupyter_aisec.grants.flow import Flow
from jupyter_aisec.grants.view import grant_view
from tests.effort import examples
from tests.grants.world import Kernel, World, refused, stocked, ulid


def labelled() -> World:
    world = stocked()
    world.seal("dataset/secret", labels=["phi"])
    return world


def bound(world: World, *artifacts: str, kernel: Kernel | None = None, **fields: Any) -> Any:
    grant = world.ask(*artifacts, **fields)
    world.approve(grant)
    return grant, world.bind(grant, kernel)


def gone(world: World, grant: str, kernel: Kernel) -> None:
    world.append(propose_ending(world.state, grant, kernel.id, "exited", world.now))


def carries(world: World, kernel: Kernel) -> bool:
    """Whether what the kernel seals must carry the label of ``dataset/secret``."""
    name = f"results/of-{world.state.size}"
    if not world.state.labels(kernel.id):
        world.seal(name, kernel.key)
        return False
    with refused("labels-missing", RefusedError):
        world.seal(name, kernel.key)
    world.seal(name, kernel.key, labels=["phi"])
    return True


def test_a_second_key_in_the_same_seat_does_not_shed_labels() -> None:
    world = labelled()
    grant, first = bound(world, "dataset/secret")
    world.release(grant, first, "dataset/secret")
    second = world.bind(grant)
    with refused("labels-missing", RefusedError):
        world.seal("results/laundered", second.key)
    world.seal("results/honest", second.key, labels=["phi"])


def test_nor_does_the_first_key_once_the_second_opens() -> None:
    world = labelled()
    grant, first = bound(world, "dataset/secret")
    second = world.bind(grant)
    world.release(grant, second, "dataset/secret")
    assert carries(world, first)


def test_nor_does_a_key_that_is_bound_under_another_grant_of_that_seat() -> None:
    world = labelled()
    grant, first = bound(world, "dataset/secret")
    _, second = bound(world, "dataset/digits")
    world.release(grant, first, "dataset/secret")
    assert carries(world, second)
    _, third = bound(world, "dataset/digits")
    assert carries(world, third)


def test_a_kernel_starts_fresh_after_the_one_before_was_confirmed_gone() -> None:
    world = labelled()
    grant, first = bound(world, "dataset/secret")
    world.release(grant, first, "dataset/secret")
    gone(world, grant, first)
    second = world.bind(grant)
    assert not carries(world, second)
    world.release(grant, second, "dataset/secret")
    assert carries(world, second)


def test_a_kernel_is_gone_when_all_of_its_seats_are() -> None:
    world = labelled()
    grant, first = bound(world, "dataset/secret")
    other, _ = bound(world, "dataset/digits", kernel=first)
    world.release(grant, first, "dataset/secret")
    gone(world, grant, first)
    assert carries(world, world.bind(other))
    gone(world, other, first)
    _, third = bound(world, "dataset/digits")
    assert carries(world, third)  # the second one, which carries it too, is not gone


def test_another_seat_and_another_person_are_other_kernels() -> None:
    world = labelled()
    world.invite("rita", "researcher")
    grant, first = bound(world, "dataset/secret")
    world.release(grant, first, "dataset/secret")
    _, elsewhere = bound(world, "dataset/digits", seat=f"session:{ulid(8)}")
    _, theirs = bound(world, "dataset/digits", person="rita")
    assert not carries(world, elsewhere)
    assert not carries(world, theirs)


def test_a_grant_shows_what_its_kernel_has_to_carry() -> None:
    world = labelled()
    grant, first = bound(world, "dataset/secret")

    def labels() -> tuple[str, ...]:
        return grant_view(world.state, world.state.grants[grant], world.now).labels

    assert labels() == ()
    world.release(grant, first, "dataset/secret")
    assert labels() == ("phi",)
    second = world.bind(grant)
    assert labels() == ("phi",)
    gone(world, grant, second)
    assert labels() == ()


KERNELS, GRANTS, SEATS = "abcd", "123", "xy"
events = st.lists(
    st.tuples(
        st.sampled_from(["bound", "released", "confirmed"]),
        st.sampled_from(KERNELS),
        st.sampled_from(GRANTS),
    ),
    max_size=40,
)


@settings(max_examples=examples(1000), deadline=None)
@given(events=events, seats=st.fixed_dictionaries({one: st.sampled_from(SEATS) for one in GRANTS}))
def test_kernels_that_may_be_one_process_count_as_one(
    events: list[tuple[str, str, str]], seats: dict[str, str]
) -> None:
    """Against pairs: whether two of them are together is worked out anew at each step."""
    flow: Flow[int] = Flow()
    own: dict[str, set[int]] = {one: set() for one in KERNELS}
    counted: dict[str, set[int]] = {one: set() for one in KERNELS}
    held: set[tuple[str, str]] = set()
    took: set[tuple[str, str]] = set()
    for number, (what, kernel, grant) in enumerate(events):
        if what == "bound":
            flow.bound(kernel, grant, "p", seats[grant])
            held.add((kernel, grant))
            took.add((kernel, seats[grant]))
        elif what == "released":
            flow.released(kernel, [number])
            own[kernel].add(number)
        else:
            flow.confirmed(kernel, grant)
            held.discard((kernel, grant))
        there = {one for one, _ in held}
        alike = {
            one
            for one in there
            if kernel in there
            and any((one, seat) in took and (kernel, seat) in took for seat in SEATS)
        }
        news = own[kernel].union(*(counted[one] for one in alike | {kernel}))
        for one in alike | {kernel}:
            if what == "bound":
                counted[one] |= news
            elif what == "released":
                counted[one].add(number)
        for one in KERNELS:
            found = flow.counted(one)
            assert set(found) == counted[one]
            assert own[one] <= set(found)
            assert len(found) == len(set(found))
            kin = flow.kin(one)
            assert one in kin
            assert set(found) <= {release for other in kin for release in own[other]}
