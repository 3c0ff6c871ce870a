"""One grant from the request to its end, as the walk does it."""

from __future__ import annotations

from jupyter_aisec.grants import fold, grant_view
from tests.grants.world import stocked


def test_a_grant_from_request_to_return_and_every_state_on_the_way() -> None:
    world = stocked()
    grant = world.ask("dataset/digits", "weights/minilm")
    assert world.state.grants[grant].state(world.now) == "pending"

    world.later(minutes=5)
    world.approve(grant, seconds=1800, artifacts=("dataset/digits",))
    assert world.state.grants[grant].state(world.now) == "scheduled"

    world.later(minutes=5)
    kernel = world.bind(grant)
    released = world.release(grant, kernel)
    assert (released.version, released.approvals) == (1, 1)
    assert released.key_ids == ("key_1", "key_2")

    view = grant_view(world.state, world.state.grants[grant], world.now)
    assert view.state == "active"
    assert view.seconds == 1800
    assert view.artifacts == ("dataset/digits",)

    manifest = world.seal("weights/net", kernel.key)
    assert world.state.catalog.sealed(manifest).by == "researcher"
    world.decide("return", grant, "researcher")
    assert world.state.grants[grant].ended_why(world.now) == "returned"

    again = fold(world.entries, signatures=True)
    assert again.grants == world.state.grants
    assert again.tree.root() == world.state.tree.root()
