"""What the ledger keeps of refusals, and in whose name."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec

from jupyter_aisec.broker.refusals import KEPT
from jupyter_aisec.grants.policy import DEFAULT_POLICY_TEXT
from jupyter_aisec.grants.statements import Request
from jupyter_aisec.ids import new_id
from tests.broker.world import Api, Clock, Kernel, Sealed, Site, problem, seal, serve

DIGITS = "dataset/digits"


def refusals(api: Api) -> list[dict[str, Any]]:
    shown = api.get("/v1/ledger/entries", "approver")
    return [
        msgspec.json.decode(msgspec.convert(one["body"], bytes))
        for one in shown
        if one["type"] == "action.refused"
    ]


def test_a_kernel_that_asks_for_keys_of_another_grant_is_named_by_its_own_person(
    site: Site,
) -> None:
    policy = DEFAULT_POLICY_TEXT.replace('["role:researcher"]', '["role:researcher", "role:admin"]')
    site = Site(site.home.with_name("both"), policy)
    with serve(site) as (api, _):
        api.seal(seal(DIGITS, site.keys["researcher"]), person="researcher")
        _, kernel = api.granted()
        envelope = site.signed(
            Request,
            "approver",
            grant=new_id("grant"),
            artifacts=(DIGITS,),
            seconds=60,
            reason="mine",
            seat=f"session:{new_id('seat').removeprefix('seat_')}",
        )
        other = api.post("/v1/grants", {"envelope": envelope}, person="approver")
        problem(api.release(other["id"], DIGITS, kernel), 404, "grant-unknown")
        (refusal,) = refusals(api)
    assert (refusal["person"], refusal["subject"]) == ("researcher", other["id"])


class TestLimit:
    def refuse(self, api: Api, view: dict[str, Any], kernel: Kernel, times: int) -> None:
        for _ in range(times):
            problem(api.release(view["id"], DIGITS, kernel), 403, "grant-not-active")

    def test_the_first_are_kept_and_the_others_counted(self, site: Site) -> None:
        clock = Clock()
        with serve(site, clock=clock) as (api, _):
            api.seal(seal(DIGITS, site.keys["researcher"]), person="researcher")
            _, kernel = api.granted()
            view = api.ask(DIGITS)
            self.refuse(api, view, kernel, KEPT + 7)
            assert [one["code"] for one in refusals(api)] == ["grant-not-active"] * KEPT
            clock.offset = timedelta(seconds=61)
            self.refuse(api, view, kernel, 1)
            *_, counted, refused = refusals(api)
            assert len(refusals(api)) == KEPT + 2
            assert (counted["person"], counted["code"]) == ("researcher", "refusals-counted")
            assert counted["what"].startswith("7 more")
            assert refused["code"] == "grant-not-active"

    def test_nobody_uses_up_what_is_kept_of_others(self, api: Api, sealed: Sealed) -> None:
        _, kernel = api.granted()
        view = api.ask(DIGITS)
        self.refuse(api, view, kernel, KEPT + 1)
        withdrawal = {"envelope": api.decision(view["id"], "withdraw", "second")}
        path = f"/v1/grants/{view['id']}/withdraw"
        problem(api.send("POST", path, withdrawal, person="second"), 403, "not-the-requester")
        assert refusals(api)[-1]["person"] == "second"

    def test_what_was_counted_is_kept_when_the_broker_ends(self, site: Site) -> None:
        with serve(site) as (api, _):
            api.seal(seal(DIGITS, site.keys["researcher"]), person="researcher")
            _, kernel = api.granted()
            self.refuse(api, api.ask(DIGITS), kernel, KEPT + 3)
        with serve(site) as (api, _):
            assert refusals(api)[-1]["what"].startswith("3 more")
