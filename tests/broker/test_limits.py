"""Limits at a broker: refused, kept and alerted; only noted while a policy observes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jupyter_aisec.grants.limits import HOUR
from jupyter_aisec.grants.policy import DEFAULT_POLICY_TEXT
from jupyter_aisec.ids import new_id
from jupyter_aisec.times import format_time
from tests.broker import world
from tests.broker.policies import OBSERVING, apply_policy
from tests.broker.saved_outputs import ask_output, saved_output
from tests.broker.test_release import entries
from tests.broker.world import Api, Clock, Kernel, Sealed, Site, ok, problem, seal, serve

LIMITS = '[limits]\ngrants = 3\nartifacts = 1\nbytes = "1MB"\n'
LIMITED = DEFAULT_POLICY_TEXT + LIMITS


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """One whose researcher has no other role."""
    roles = {
        "researcher": ("researcher",),
        "approver": ("admin", "approver"),
        "second": ("admin",),
    }
    monkeypatch.setattr(Site, "ROLES", roles)
    return Site(tmp_path / "home", LIMITED)


@pytest.fixture
def two(api: Api, sealed: Sealed) -> tuple[Sealed, Sealed]:
    """Two artifacts of the researcher's."""
    other = seal("dataset/letters", api.site.keys["researcher"])
    api.seal(other, person="researcher")
    return sealed, other


def begun(api: Api, *made: Sealed) -> tuple[str, Kernel]:
    """An active grant for these, and its kernel."""
    view, kernel = api.ask(*sorted(one.artifact for one in made)), Kernel()
    if view["approvals_needed"]:
        api.approve(view)
    api.bind(view, kernel)
    return view["id"], kernel


def refused_request(api: Api, artifact: str) -> dict[str, Any]:
    envelope = api.request_envelope((artifact,))
    answer = api.send("POST", "/v1/grants", {"envelope": envelope}, person="researcher")
    return problem(answer, 403, "limit-reached")


def said(api: Api, *types: str) -> list[tuple[str, dict[str, Any]]]:
    """The entries of these types: which, and what they say."""
    return [
        (one["type"], msgspec.json.decode(msgspec.convert(one["body"], bytes)))
        for one in entries(api)
        if one["type"] in types
    ]


def events(api: Api, person: str, until: str) -> list[dict[str, Any]]:
    """What that person is told of everything so far, up to the first event of type ``until``."""
    headers = {"Authorization": f"Bearer {api.token(person)}"}
    answer = Api(api.site, api.url).send("GET", "/v1/events?after=-1", headers=headers, stream=True)
    found: list[dict[str, Any]] = []
    with answer:
        lines: Iterator[bytes] = answer.iter_lines(chunk_size=1)
        while not found or found[-1]["type"] != until:
            line = next(lines)
            if line.startswith(b"data: "):
                found.append(json.loads(line[6:]))
    return found


def test_requests_beyond_the_limit_are_refused_and_kept_and_are_one_alert(
    api: Api, sealed: Sealed
) -> None:
    for _ in range(3):
        grant = api.ask(sealed.artifact)["id"]
    for _ in range(2):
        assert "There is room again at 20" in refused_request(api, sealed.artifact)["next"]
    kept = said(api, "action.refused", "alert.raised")
    assert [kind for kind, _ in kept] == ["action.refused", "alert.raised", "action.refused"]
    refusal, alert = kept[0][1], kept[1][1]
    assert (refusal["code"], refusal["action"]) == ("limit-reached", "request")
    assert (alert["person"], alert["limit"], alert["most"]) == ("researcher", "grants", 3)
    assert (alert["used"], alert["asked"], alert["what"]) == (3, 1, refusal["what"])
    api.decide(grant, "withdraw", "researcher")
    for person in ("approver", "second"):
        heard = events(api, person, "grant.withdrawn")
        assert [one["index"] for one in heard] == sorted(one["index"] for one in heard)
        (told,) = [one for one in heard if one["type"] == "alert.raised"]
        assert (told["person"], told["grant"]) == ("researcher", None)
    types = [one["type"] for one in events(api, "researcher", "grant.withdrawn")]
    assert types == ["grant.requested"] * 3 + ["grant.withdrawn"]
    assert api.get("/v1/audit", "approver")["findings"] == []


def test_there_is_room_again_after_an_hour_and_then_another_alert(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(world, "timestamp", lambda: format_time(clock()))
    with serve(site, clock=clock) as (api, _):
        sealed = seal("dataset/digits", site.keys["researcher"])
        api.seal(sealed, person="researcher")
        for _ in range(3):
            api.ask(sealed.artifact)
        for alerts in (1, 2):
            refused_request(api, sealed.artifact)
            assert len(said(api, "alert.raised")) == alerts
            clock.offset += HOUR
            for _ in range(3):
                api.ask(sealed.artifact)


def test_keys_beyond_the_limit_are_not_released_and_a_restart_is_not_counted(
    api: Api, two: tuple[Sealed, Sealed]
) -> None:
    grant, kernel = begun(api, *two)
    action = new_id("action")
    ok(api.release(grant, two[0].artifact, kernel, action=action))
    problem(api.release(grant, two[1].artifact, kernel), 403, "limit-reached")
    answer = ask_output(api, saved_output(two[1]), [grant], kernel)
    problem(answer, 403, "limit-reached")
    again = Kernel()
    api.bind(api.get(f"/v1/grants/{grant}", "researcher"), again)
    ok(api.release(grant, two[0].artifact, again))
    ok(ask_output(api, saved_output(two[0]), [grant], again))
    (alert,) = [body for _, body in said(api, "alert.raised")]
    assert (alert["limit"], alert["action"], alert["subject"]) == ("artifacts", "keys", grant)
    assert len(said(api, "keys.released", "output.released")) == 3
    assert api.get("/v1/audit", "approver")["findings"] == []


def test_a_policy_that_observes_refuses_nothing_and_raises_the_alert(
    api: Api, two: tuple[Sealed, Sealed]
) -> None:
    apply_policy(api, OBSERVING + LIMITS, "approver", "second")
    grant, kernel = begun(api, *two)
    ok(api.release(grant, two[0].artifact, kernel))
    assert said(api, "alert.raised") == []
    for _ in range(2):
        ok(api.release(grant, two[1].artifact, kernel))
    for _ in range(3):
        api.ask(two[0].artifact)
    found = said(api, "action.refused", "alert.raised")
    assert [(kind, body["limit"], body["used"], body["asked"]) for kind, body in found] == [
        ("alert.raised", "artifacts", 2, 0),
        ("alert.raised", "grants", 4, 0),
    ]
    assert found[0][1]["action"] == "keys"
    assert api.get("/v1/audit", "approver")["findings"] == []


def test_a_dry_run_says_that_a_limit_is_reached_and_raises_no_alert(
    api: Api, sealed: Sealed
) -> None:
    body = {"artifacts": [sealed.artifact], "seconds": 600}
    for asked in range(3):
        found = api.post("/v1/grants/explain", body, person="researcher")
        said_so = f"Within the hour researcher asked for {asked} of 3 grants."
        assert said_so in found["terms"]["reasons"]
        api.ask(sealed.artifact)
    found = api.post("/v1/grants/explain", body, person="researcher")
    assert found["refusal"]["code"] == "limit-reached"
    assert said(api, "action.refused", "alert.raised") == []


def test_a_broker_starts_again_on_what_it_limited(site: Site) -> None:
    with serve(site) as (api, _):
        sealed = seal("dataset/digits", site.keys["researcher"])
        api.seal(sealed, person="researcher")
        for _ in range(3):
            api.ask(sealed.artifact)
        refused_request(api, sealed.artifact)
    with serve(site) as (again, _):
        refused_request(again, sealed.artifact)
        assert len(said(again, "alert.raised")) == 1
