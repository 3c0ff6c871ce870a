"""A policy is put in force while kernels hold grants that an observing one gave them."""

from __future__ import annotations

from jupyter_aisec.grants.policy import DEFAULT_POLICY_TEXT
from tests.broker.policies import OBSERVING, apply_policy
from tests.broker.world import Api, Kernel, Sealed, ok, problem


def test_what_was_opened_while_observing_ends_with_its_lease(api: Api, sealed: Sealed) -> None:
    apply_policy(api, OBSERVING)
    view, kernel = api.ask(sealed.artifact), Kernel()
    api.bind(view, kernel)
    lease = f"/v1/grants/{view['id']}/lease"
    ok(api.release(view["id"], sealed.artifact, kernel))
    assert api.post(lease, person="researcher")["until"]
    apply_policy(api, DEFAULT_POLICY_TEXT)
    problem(api.send("POST", lease, {}, person="researcher"), 409, "policy-changed")
    problem(api.release(view["id"], sealed.artifact, kernel), 409, "policy-changed")
