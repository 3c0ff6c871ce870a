"""Errors, limits, the open ledger and events over HTTP; and what nobody may find in errors."""

from __future__ import annotations

import json
import logging
import socket
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from jupyter_aisec.broker.limits import LARGE, SMALL
from jupyter_aisec.broker.views import PersonView
from jupyter_aisec.ids import new_id
from jupyter_aisec.ledger.checkpoint import open_checkpoint
from jupyter_aisec.ledger.entry import Entry
from jupyter_aisec.ledger.merkle import Tree
from jupyter_aisec.ledger.trust import parse_trust
from tests.broker.world import Api, Recorded, Sealed, ok_text, problem, run_body, seal
from tests.ledger.model import tiles_of

CANARY = "canary-7f3a91"


class TestProblems:
    @pytest.mark.parametrize(
        ("method", "path", "status", "code"),
        [
            ("GET", "/v1/nothing", 404, "route-unknown"),
            ("GET", "/docs", 404, "route-unknown"),
            ("DELETE", "/v1/grants", 405, "method-not-allowed"),
            ("GET", "/v1/grants/x/", 404, "route-unknown"),
            ("GET", "/v1/ledger/tile/0/xyz", 422, "content-malformed"),
            ("GET", "/v1/ledger/tile/0/999", 404, "tile-unknown"),
            ("GET", "/v1/ledger/tile/entries/999", 404, "tile-unknown"),
            ("GET", "/v1/ledger/tile/0/000.p/999", 422, "tile-path"),
        ],
    )
    def test_every_error_is_one(
        self, api: Api, method: str, path: str, status: int, code: str
    ) -> None:
        answer = api.send(method, path)
        problem(answer, status, code)
        assert answer.json()["next"]

    def test_a_body_that_is_not_json_is_said_to_be_that(self, api: Api) -> None:
        said = problem(
            api.send("POST", "/v1/people/enrol", b"[" * 100_000), 400, "request-malformed"
        )
        assert said["detail"] == "The body is not JSON."
        assert "openapi" in said["next"]

    @pytest.mark.parametrize(
        "body",
        [
            CANARY.encode(),
            b"[" * 100_000,
            b'"' + CANARY.encode() + b'"',
            json.dumps({CANARY: CANARY}).encode(),
            json.dumps({"envelope": CANARY}).encode(),
            json.dumps({"envelope": {"payload": CANARY, "payloadType": 1}}).encode(),
            json.dumps({"envelope": None, "token": {"x": CANARY}}).encode(),
            b"\xff\xfe",
        ],
    )
    def test_what_was_sent_is_not_in_the_answer_or_the_log(
        self, api: Api, caplog: pytest.LogCaptureFixture, body: bytes
    ) -> None:
        with caplog.at_level(logging.DEBUG, logger="jupyter_aisec"):
            answer = api.send("POST", "/v1/people/enrol", body)
        assert answer.status_code in (400, 422)
        assert CANARY not in answer.text
        assert CANARY not in caplog.text

    def test_an_unforeseen_error_says_nothing_of_what_was_sent(
        self, api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(*_: object) -> object:
            raise RuntimeError(CANARY)

        api.token("researcher")
        monkeypatch.setattr(PersonView, "of", fail)
        answer = api.send("GET", "/v1/people", person="researcher")
        problem(answer, 500, "internal")
        assert CANARY not in answer.text + caplog.text
        assert "RuntimeError" in caplog.text

    def test_base64_has_one_spelling(self, api: Api) -> None:
        body = {"envelope": {"payload": "QR==", "payloadType": "x", "signatures": []}}
        problem(api.send("POST", "/v1/sessions", body), 422, "base64-malformed")


class TestLimits:
    def test_announced(self, api: Api) -> None:
        problem(api.send("POST", "/v1/sessions", b" " * (SMALL + 1)), 413, "content-too-large")

    def test_streamed(self, api: Api) -> None:
        def pieces() -> Any:
            for _ in range(SMALL // 65_536 + 1):
                yield b" " * 65_536

        answer = api.http.post(f"{api.url}/v1/sessions", data=pieces(), timeout=30)
        problem(answer, 413, "content-too-large")

    def test_larger_for_manifests(self, api: Api) -> None:
        api.token("researcher")
        answer = api.send("POST", "/v1/artifacts", b" " * (SMALL + 1), person="researcher")
        assert answer.status_code == 422
        request = b"POST /v1/artifacts HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (
            LARGE + 1
        )
        address = urlsplit(api.url)
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(request)
            assert connection.recv(64).startswith(b"HTTP/1.1 413")


class TestLedger:
    def test_monitors_can_follow_it(self, recorded: Recorded) -> None:
        with recorded.serve() as api:
            key = ok_text(api.send("GET", "/v1/ledger/key"))
            checkpoint = open_checkpoint(ok_text(api.send("GET", "/v1/ledger/checkpoint")), key)
            shown = [
                msgspec.convert(one, Entry) for one in api.get("/v1/ledger/entries", "approver")
            ]
            tree = Tree(entry.leaf_hash for entry in shown)
            assert (tree.size, tree.root()) == (checkpoint.size, checkpoint.root)
            for tile in tiles_of(checkpoint.size):
                answer = api.send("GET", f"/v1/ledger/{tile.path}")
                assert answer.status_code == 200
                if tile.level == "entries":
                    assert all(entry.leaf in answer.content for entry in shown)
                else:
                    assert answer.content == b"".join(entry.leaf_hash for entry in shown)

    def test_the_trust_file_pins_the_genesis(self, api: Api) -> None:
        assert parse_trust(api.send("GET", "/v1/trust").content) == api.site.trust

    def test_pages_and_who_sees_what(self, recorded: Recorded) -> None:
        with recorded.serve() as api:
            page = api.get("/v1/ledger/entries?from=2&to=4", "approver")
            assert [one["index"] for one in page] == [2, 3]
            assert api.get("/v1/ledger/entries?from=4&to=2", "approver") == []
            problem(api.send("GET", "/v1/ledger/entries"), 401, "session-missing")

    def test_audit_is_for_those_who_answer_for_it(self, api: Api) -> None:
        assert api.get("/v1/audit", "second") == {
            "size": 2,
            "checkpoint": ok_text(api.send("GET", "/v1/ledger/checkpoint")),
            "findings": [],
        }


class TestRuns:
    def test_views_and_bundle(self, recorded: Recorded) -> None:
        with recorded.serve() as api:
            run = recorded.answer["run"]
            (view,) = api.get("/v1/runs", "second")
            assert view == api.get(f"/v1/runs/{run}", "second")
            assert view["seal_ids"] == [recorded.output.manifest.seal_id]
            path = f"/v1/bundles/{recorded.output.manifest.seal_id}"
            assert api.get(path, "second") == recorded.answer["bundle"]
            missing = api.send("GET", f"/v1/bundles/{new_id('seal')}", person="second")
            problem(missing, 404, "bundle-unknown")
            missing = api.send("GET", f"/v1/runs/{new_id('run')}", person="second")
            problem(missing, 404, "run-unknown")

    @pytest.mark.parametrize(
        ("fault", "status", "code"),
        [
            ("another kernel's", 401, "record-of-another"),
            ("another output", 422, "output-differs"),
            ("recorded otherwise", 409, "run-recorded"),
            ("of another ledger", 403, "run-refused"),
        ],
    )
    def test_faults(self, recorded: Recorded, fault: str, status: int, code: str) -> None:
        one = recorded
        with one.serve() as api:
            output, sender, changes = one.output, one.kernel, {}
            if fault == "another kernel's":
                sender = api.granted()[1]
            elif fault == "of another ledger":
                output = seal(
                    "weights/other", one.kernel.key, parents=(one.given.manifest.seal_id,)
                )
                api.seal(output, kernel=one.kernel)
                changes = {"origin": "other.example/ledger"}
            body = run_body(api, one.grant, one.kernel, one.given, output, **changes)
            if fault == "another output":
                body["seal_id"] = new_id("seal")
            problem(api.send("POST", "/v1/runs", body, kernel=sender), status, code)


class TestEvents:
    def read(self, api: Api, after: int | None, count: int, person: str) -> list[dict[str, Any]]:
        path = "/v1/events" if after is None else f"/v1/events?after={after}"
        found: list[dict[str, Any]] = []
        with api.send("GET", path, person=person, stream=True) as answer:
            for line in answer.iter_lines(chunk_size=1):
                if line.startswith(b"data: "):
                    found.append(json.loads(line.removeprefix(b"data: ")))
                if len(found) == count:
                    return found
        raise AssertionError("the stream ended")

    def test_what_was_and_what_comes(self, api: Api, sealed: Sealed) -> None:
        view, kernel = api.granted()
        events = self.read(api, -1, 3, "researcher")
        types = ["grant.requested", "grant.approved", "seat.bound"]
        assert [one["type"] for one in events] == types
        assert {one["grant"] for one in events} == {view["id"]}
        api.token("researcher")
        other = Api(api.site, api.url)
        with other.send(
            "GET",
            "/v1/events",
            headers={"Authorization": f"Bearer {api.token('researcher')}"},
            stream=True,
        ) as answer:
            lines = answer.iter_lines(chunk_size=1)
            assert next(lines) == b": listening"
            api.release(view["id"], "dataset/digits", kernel)
            event = next(line for line in lines if line.startswith(b"data: "))
            assert json.loads(event.removeprefix(b"data: "))["type"] == "keys.released"
