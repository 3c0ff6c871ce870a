"""Lists that take more than one answer: every link leads on, to everything, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

from jupyter_aisec.ids import new_id
from tests.broker.world import Api, Recorded, Sealed, Site, ok, problem, record_run, seal


class Four(Site):
    """With one more researcher, who sees nothing of the other's."""

    ROLES = {**Site.ROLES, "other": ("researcher",)}  # noqa: RUF012 - a constant


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Four(tmp_path / "home")


def follow(api: Api, path: str, person: str) -> list[list[Any]]:
    """The pages of a list, by the links in its answers."""
    pages = []
    while path:
        answer = api.send("GET", path, person=person)
        pages.append(ok(answer))
        link = answer.links.get("next", {}).get("url", "")
        path = urljoin(path, link) if link else ""
    return pages


def ids(pages: list[list[dict[str, Any]]], name: str = "id") -> list[list[Any]]:
    return [[one[name] for one in page] for page in pages]


@pytest.fixture
def asked(api: Api, sealed: Sealed) -> list[str]:
    """Five requests, the first first; the ids were not made in this order."""
    made = sorted((new_id("grant") for _ in range(5)), reverse=True)
    return [api.ask("dataset/digits", grant=one)["id"] for one in made]


@pytest.mark.parametrize(("limit", "sizes"), [(1, [1] * 5), (2, [2, 2, 1]), (5, [5]), (1000, [5])])
def test_every_grant_is_on_one_page(
    api: Api, asked: list[str], limit: int, sizes: list[int]
) -> None:
    pages = ids(follow(api, f"/v1/grants?limit={limit}", "approver"))
    assert [len(page) for page in pages] == sizes
    assert [one for page in pages for one in page] == asked


def test_a_state_that_was_asked_for_stays_so(api: Api, asked: list[str]) -> None:
    api.decide(asked[1], "withdraw", "researcher")
    pages = ids(follow(api, "/v1/grants?state=pending&limit=2", "approver"))
    assert pages == [[asked[0], asked[2]], asked[3:]]


def test_what_comes_in_meanwhile_comes_last(api: Api, asked: list[str]) -> None:
    first = api.send("GET", "/v1/grants?limit=3", person="researcher")
    last = api.ask("dataset/digits", grant="grant_00000000000000000000000000")["id"]
    path = urljoin("/v1/grants", first.links["next"]["url"])
    assert ids(follow(api, path, "researcher")) == [[*asked[3:], last]]


def test_a_link_is_relative_and_says_nothing_but_the_question(api: Api, asked: list[str]) -> None:
    answer = api.send("GET", "/v1/grants?limit=1&note=%22%3E%0d%0aX:1", person="researcher")
    assert answer.headers["Link"] == f'<?limit=1&after={asked[0]}>; rel="next"'


def test_grants_of_others_are_neither_listed_nor_a_place_to_go_on(
    api: Api, asked: list[str]
) -> None:
    for grant in (asked[0], "grant_01ARZ3NDEKTSV4RRFFQ69G5FAV"):
        answer = api.send("GET", f"/v1/grants?after={grant}", person="other")
        problem(answer, 404, "grant-unknown")
    assert follow(api, "/v1/grants?limit=2", "other") == [[]]


@pytest.mark.parametrize("path", ["/v1/grants", "/v1/runs", "/v1/artifacts"])
@pytest.mark.parametrize(
    "limit", ["0", "-1", "1001", "9" * 30, "x", "", "1.5", "2&limit=9999", "%00", "%EF%BC%91"]
)
def test_a_limit_out_of_bounds_is_refused(api: Api, path: str, limit: str) -> None:
    problem(api.send("GET", f"{path}?limit={limit}", person="second"), 422, "content-malformed")


@pytest.mark.parametrize("path", ["/v1/grants", "/v1/runs"])
@pytest.mark.parametrize(
    "after",
    [
        "",
        "x",
        "grant_01ARZ3NDEKTSV4RRFFQ69G5FA",
        "grant_01arz3ndektsv4rrffq69g5fav",
        "run_01ARZ3NDEKTSV4RRFFQ69G5FAV%0d%0aX:1",
        "artifact_01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "%F0%9F%92%A9",
    ],
)
def test_what_is_no_id_is_no_place_to_go_on(api: Api, path: str, after: str) -> None:
    problem(api.send("GET", f"{path}?after={after}", person="second"), 422, "content-malformed")


def test_the_usual_and_the_most_are_described(api: Api) -> None:
    document = api.get("/openapi.json")["paths"]
    for path in ("/v1/grants", "/v1/runs", "/v1/artifacts"):
        described = document[path]["get"]
        (limit,) = [one["schema"] for one in described["parameters"] if one["name"] == "limit"]
        assert (limit["default"], limit["minimum"], limit["maximum"]) == (100, 1, 1000)
        assert "Link" in described["responses"]["200"]["headers"]


def test_every_run_is_on_one_page(recorded: Recorded) -> None:
    with recorded.serve() as api:
        first = recorded.answer["run"]
        runs = [first]
        for _ in range(2):
            _, answer = record_run(api, recorded.grant, recorded.kernel, recorded.given)
            runs.append(answer["run"])
        pages = ids(follow(api, "/v1/runs?limit=2", "second"), "run")
        assert pages == [runs[:2], runs[2:]]
        assert ids(follow(api, f"/v1/runs?limit=2&after={first}", "second"), "run") == [runs[1:]]
        missing = api.send("GET", f"/v1/runs?after={new_id('run')}", person="second")
        assert "aisec run list" in problem(missing, 404, "run-unknown")["next"]


def test_artifacts_and_versions_go_on_too(api: Api) -> None:
    for name in ("weights/c", "dataset/a", "results/b", "dataset/a", "dataset/a"):
        api.seal(seal(name, api.site.keys["researcher"]), person="researcher")
    pages = ids(follow(api, "/v1/artifacts?limit=2", "second"), "artifact")
    assert pages == [["dataset/a", "results/b"], ["weights/c"]]
    path = "/v1/artifacts/dataset/a/versions?limit=2"
    assert ids(follow(api, path, "second"), "version") == [[1, 2], [3]]
