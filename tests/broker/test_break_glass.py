"""Break-glass over HTTP: at once, told to every approver, owed a review, and audited."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec
import pytest

from jupyter_aisec.grants.policies import policy_sha256
from jupyter_aisec.grants.policy import DEFAULT_POLICY_TEXT, parse_policy
from jupyter_aisec.grants.statements import PolicyChange, Review
from jupyter_aisec.ids import new_id
from jupyter_aisec.people.dsse import Envelope, sign_again
from tests.broker.test_release import entries, last_refusal
from tests.broker.world import Api, Kernel, Sealed, Site, ok, open_release, problem, seal, serve

DIGITS = "dataset/digits"
LETTING = DEFAULT_POLICY_TEXT.replace("# break_glass", "break_glass")


def apply_letting(api: Api) -> None:
    change = api.site.signed(
        PolicyChange, "researcher", policy_sha256=policy_sha256(parse_policy(LETTING)), replaces=0
    )
    both = sign_again(change, api.site.keys["approver"])
    api.post("/v1/policy", {"policy": LETTING, "envelope": both}, person="researcher")


@pytest.fixture
def letting(api: Api, sealed: Sealed) -> Api:
    """A broker whose policy lets the glass be broken."""
    apply_letting(api)
    return api


@pytest.fixture
def broken(letting: Api) -> dict[str, Any]:
    """A grant for which the researcher broke the glass."""
    view: dict[str, Any] = letting.ask(DIGITS, break_glass=True)
    return view


def review(api: Api, view: dict[str, Any], person: str, **changes: Any) -> Envelope:
    request = msgspec.convert(view["request"], Envelope)
    fields = {
        "grant": view["id"],
        "request_sha256": hashlib.sha256(request.payload).hexdigest(),
        "verdict": "justified",
    }
    return api.site.signed(Review, person, **{**fields, **changes})


def send_review(api: Api, view: dict[str, Any], person: str, **changes: Any) -> Any:
    body = {"envelope": review(api, view, person, **changes)}
    return api.send("POST", f"/v1/grants/{view['id']}/review", body, person=person)


def test_it_opens_at_once_and_the_entry_says_that_no_approval_was_demanded(
    broken: dict[str, Any], letting: Api, sealed: Sealed
) -> None:
    assert (broken["state"], broken["seconds"], broken["break_glass"]) == ("scheduled", 600, True)
    assert broken["approvers"] == broken["review_by"] == ["approver", "second"]
    kernel = Kernel()
    letting.bind(broken, kernel)
    answer = ok(letting.release(broken["id"], DIGITS, kernel))
    assert list(open_release(answer, broken["id"], DIGITS, kernel).values()) == [sealed.data_key]
    body = entries(letting)[answer["entry"]]["body"]
    assert msgspec.json.decode(msgspec.convert(body, bytes))["approvals"] == 0


def test_what_policy_would_say_is_asked_without_breaking_anything(letting: Api) -> None:
    ask = {"artifacts": [DIGITS], "seconds": 7200, "break_glass": True}
    terms = letting.post("/v1/grants/explain", ask, person="researcher")["terms"]
    assert (terms["approvals"], terms["reviews"], terms["seconds"]) == (0, 1, 900)
    asked = letting.post("/v1/grants/explain", {**ask, "break_glass": False}, person="researcher")[
        "terms"
    ]
    assert (asked["approvals"], "reviews" in asked) == (1, False)
    assert letting.get("/v1/grants", "researcher") == []


def test_every_approver_is_told_at_once(letting: Api) -> None:
    listening = {}
    for person in ("approver", "second"):
        headers = {"Authorization": f"Bearer {letting.token(person)}"}
        stream = Api(letting.site, letting.url).send(
            "GET", "/v1/events", headers=headers, stream=True
        )
        lines = stream.iter_lines(chunk_size=1)
        assert next(lines) == b": listening"
        listening[person] = (stream, lines)
    view = letting.ask(DIGITS, break_glass=True)
    for person, (stream, lines) in listening.items():
        event = json.loads(next(one for one in lines if one.startswith(b"data: "))[6:])
        told = (event["type"], event["grant"], event["break_glass"])
        assert told == ("grant.requested", view["id"], True), person
        stream.close()
        assert letting.get("/v1/whoami", person)["reviews_waiting"] == 1


def test_an_event_of_another_grant_says_that_no_glass_was_broken(letting: Api) -> None:
    letting.ask(DIGITS)
    headers = {"Authorization": f"Bearer {letting.token('approver')}"}
    with letting.send("GET", "/v1/events?after=-1", headers=headers, stream=True) as stream:
        lines = stream.iter_lines(chunk_size=1)
        event = json.loads(next(one for one in lines if one.startswith(b"data: "))[6:])
    assert event["break_glass"] is False


def test_a_review_is_recorded_once_however_often_it_is_sent(
    broken: dict[str, Any], letting: Api
) -> None:
    envelope = review(letting, broken, "approver", verdict="unjustified", comment="a drill")
    for _ in range(2):
        path = f"/v1/grants/{broken['id']}/review"
        view = letting.post(path, {"envelope": envelope}, person="approver")
    (said,) = view["reviews"]
    assert (said["person"], said["verdict"], said["comment"]) == (
        "approver",
        "unjustified",
        "a drill",
    )
    assert (view["review_by"], view["state"]) == ([], "scheduled")
    assert [one["type"] for one in entries(letting)].count("grant.reviewed") == 1
    for person in ("approver", "second", "researcher"):
        assert letting.get("/v1/whoami", person)["reviews_waiting"] == 0


def test_reviews_that_do_not_count_stay_in_the_ledger_as_attempts(
    broken: dict[str, Any], letting: Api
) -> None:
    problem(send_review(letting, broken, "researcher"), 403, "self-review")
    assert last_refusal(letting)["code"] == "self-review"
    problem(
        send_review(letting, broken, "approver", request_sha256="0" * 64), 409, "request-changed"
    )
    ok(send_review(letting, broken, "approver"))
    problem(send_review(letting, broken, "approver", comment="again"), 409, "reviewed-already")
    refusal = last_refusal(letting)
    assert (refusal["person"], refusal["action"]) == ("approver", "review")
    ordinary = letting.ask(DIGITS)
    problem(send_review(letting, ordinary, "approver"), 403, "not-break-glass")
    problem(
        send_review(letting, {**broken, "id": new_id("grant")}, "approver"), 404, "grant-unknown"
    )
    other = send_review(letting, ordinary, "approver", grant=broken["id"])
    problem(other, 422, "grant-differs")


def test_another_verdict_than_these_is_no_review(broken: dict[str, Any], letting: Api) -> None:
    answer = send_review(letting, broken, "approver", verdict="shrug")
    assert answer.status_code == 422


def test_the_glass_is_not_broken_again_before_it_is_reviewed(
    broken: dict[str, Any], letting: Api
) -> None:
    envelope = letting.request_envelope((DIGITS,), break_glass=True)
    answer = letting.send("POST", "/v1/grants", {"envelope": envelope}, person="researcher")
    problem(answer, 403, "review-owed")
    ok(send_review(letting, broken, "second"))
    letting.post("/v1/grants", {"envelope": envelope}, person="researcher")


@pytest.fixture
def kept(site: Site) -> dict[str, Any]:
    """A home where the glass was broken and reviewed, with no broker on it."""
    with serve(site) as (api, _):
        api.seal(seal(DIGITS, site.keys["researcher"]), person="researcher")
        apply_letting(api)
        view: dict[str, Any] = api.ask(DIGITS, break_glass=True)
        ok(send_review(api, view, "approver"))
    return view


def test_the_audit_holds_and_a_restart_forgets_nothing(kept: dict[str, Any], site: Site) -> None:
    with serve(site) as (api, _):
        assert api.get("/v1/audit", "approver")["findings"] == []
        view = api.get(f"/v1/grants/{kept['id']}", "second")
    assert (view["break_glass"], [one["person"] for one in view["reviews"]]) == (True, ["approver"])
