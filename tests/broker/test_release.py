"""Key releases over HTTP: promise P1, kernel signatures, and repeats under an action id."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import requests

from jupyter_aisec.broker.config import Config
from jupyter_aisec.errors import MalformedError
from jupyter_aisec.ids import new_id
from tests.broker.world import (
    Api,
    Clock,
    Kernel,
    Sealed,
    Site,
    ok,
    open_release,
    problem,
    seal,
    serve,
    sign_request,
)

DIGITS = "dataset/digits"


def entries(api: Api) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = api.get("/v1/ledger/entries", "approver")
    return shown


def last_refusal(api: Api) -> dict[str, Any]:
    refusals = [one for one in entries(api) if one["type"] == "action.refused"]
    body: dict[str, Any] = msgspec.json.decode(msgspec.convert(refusals[-1]["body"], bytes))
    return body


def test_a_bound_kernel_gets_the_keys_and_nobody_else_could_open_them(
    api: Api, sealed: Sealed, granted: tuple[str, Kernel]
) -> None:
    grant, kernel = granted
    answer = ok(api.release(grant, DIGITS, kernel, files=["part.bin"], version=1))
    assert list(open_release(answer, grant, DIGITS, kernel).values()) == [sealed.data_key]
    assert entries(api)[answer["entry"]]["type"] == "keys.released"


class TestPromiseOne:
    """Each of these lacks one thing that P1 asks for."""

    def test_no_approval(self, api: Api, sealed: Sealed) -> None:
        view, kernel = api.ask(DIGITS), Kernel()
        envelope = api.binding(view, kernel)
        path = f"/v1/grants/{view['id']}/bind"
        answer = api.send("POST", path, {"envelope": envelope}, person="researcher")
        problem(answer, 403, "grant-pending")
        problem(api.release(view["id"], DIGITS, kernel), 401, "kernel-signature-invalid")

    def test_self_approval(self, api: Api, sealed: Sealed) -> None:
        view = api.ask(DIGITS)
        envelope = api.approval(view, "researcher")
        path = f"/v1/grants/{view['id']}/approve"
        answer = api.send("POST", path, {"envelope": envelope}, person="researcher")
        problem(answer, 403, "self-approval")
        refusal = last_refusal(api)
        assert (refusal["person"], refusal["code"]) == ("researcher", "self-approval")
        assert api.get(f"/v1/grants/{view['id']}", "researcher")["state"] == "pending"

    def test_another_kernel(self, api: Api, granted: tuple[str, Kernel]) -> None:
        problem(api.release(granted[0], DIGITS, Kernel()), 401, "kernel-signature-invalid")

    def test_a_kernel_of_another_seat(self, api: Api, granted: tuple[str, Kernel]) -> None:
        _, other = api.granted()
        problem(api.release(granted[0], DIGITS, other), 401, "kernel-not-bound")
        assert last_refusal(api)["action"] == "keys"

    def test_another_artifact(self, api: Api, granted: tuple[str, Kernel]) -> None:
        other = seal("weights/base", api.site.keys["researcher"])
        api.seal(other, person="researcher")
        answer = api.release(granted[0], "weights/base", granted[1])
        problem(answer, 403, "artifact-not-granted")

    @pytest.mark.parametrize(
        ("action", "person"), [("revoke", "approver"), ("return", "researcher")]
    )
    def test_ended(self, api: Api, granted: tuple[str, Kernel], action: str, person: str) -> None:
        ok(api.release(granted[0], DIGITS, granted[1]))
        assert api.decide(granted[0], action, person)["state"] == "ended"
        problem(api.release(granted[0], DIGITS, granted[1]), 403, "grant-ended")

    def test_expired_and_a_clock_set_back_reopens_nothing(self, site: Site) -> None:
        clock = Clock()
        with serve(site, clock=clock) as (api, _):
            api.seal(seal(DIGITS, site.keys["researcher"]), person="researcher")
            view, kernel = api.granted()
            api.token("approver")
            ok(api.release(view["id"], DIGITS, kernel))
            clock.offset = timedelta(seconds=601)
            problem(api.release(view["id"], DIGITS, kernel), 403, "grant-ended")
            clock.offset = timedelta()
            problem(api.release(view["id"], DIGITS, kernel), 403, "grant-ended")

    def test_an_end_that_was_read_outlasts_a_clock_set_back_and_a_restart(self, site: Site) -> None:
        clock = Clock()
        with serve(site, clock=clock) as (api, _):
            api.seal(seal(DIGITS, site.keys["researcher"]), person="researcher")
            view, kernel = api.granted()
            size, _ = api.checkpoint()
            clock.offset = timedelta(seconds=601)
            assert api.get(f"/v1/grants/{view['id']}", "researcher")["state"] == "ended"
            assert api.checkpoint()[0] == size  # no entry says so
            tokens = api.tokens
        with serve(site, clock=Clock()) as (api, _):
            api.tokens = tokens
            assert api.get(f"/v1/grants/{view['id']}", "researcher")["state"] == "ended"
            problem(api.release(view["id"], DIGITS, kernel), 403, "grant-ended")

    def test_a_grant_that_ends_while_the_database_is_compared(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clock()
        with serve(site, clock=clock) as (api, broker):
            api.seal(seal(DIGITS, site.keys["researcher"]), person="researcher")
            view, kernel = api.granted()
            action = new_id("action")
            ok(api.release(view["id"], DIGITS, kernel, action=action))
            compare = broker.ledger.check_stored

            def compare_slowly() -> None:
                compare()
                clock.offset = timedelta(seconds=601)

            monkeypatch.setattr(broker.ledger, "check_stored", compare_slowly)
            problem(api.release(view["id"], DIGITS, kernel), 403, "grant-ended")
            assert last_refusal(api)["code"] == "grant-ended"
            problem(api.release(view["id"], DIGITS, kernel, action=action), 403, "grant-ended")
            released = [one for one in entries(api) if one["type"] == "keys.released"]
            assert len(released) == 1

    def test_a_grant_that_ends_while_its_keys_are_unwrapped(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = Clock()
        with serve(site, clock=clock) as (api, broker):
            api.seal(seal(DIGITS, site.keys["researcher"]), person="researcher")
            view, kernel = api.granted()
            unwrap = broker.key_store.unwrap

            def unwrap_slowly(wrapped: bytes, seal_id: str, key_id: str) -> bytes:
                clock.offset = timedelta(seconds=601)
                return unwrap(wrapped, seal_id, key_id)

            monkeypatch.setattr(broker.key_store, "unwrap", unwrap_slowly)
            problem(api.release(view["id"], DIGITS, kernel), 403, "grant-ended")
            assert last_refusal(api)["code"] == "grant-ended"
            assert not [one for one in entries(api) if one["type"] == "keys.released"]

    def test_files_are_those_of_the_version_that_the_grant_is_pinned_to(
        self, api: Api, sealed: Sealed
    ) -> None:
        later = seal(DIGITS, api.site.keys["researcher"])
        api.seal(later, person="researcher")
        pinned, kernel = api.granted(f"{DIGITS}@1")
        answer = ok(api.release(pinned["id"], DIGITS, kernel, files=["part.bin"]))
        assert answer["seal_id"] == sealed.manifest.seal_id
        released = open_release(answer, pinned["id"], DIGITS, kernel)
        assert list(released.values()) == [sealed.data_key]

    def test_an_unknown_grant_or_file(self, api: Api, granted: tuple[str, Kernel]) -> None:
        problem(api.release(new_id("grant"), DIGITS, granted[1]), 404, "grant-unknown")
        answer = api.release(granted[0], DIGITS, granted[1], files=["other.bin"])
        problem(answer, 400, "file-unknown")

    def test_a_release_that_cannot_be_encrypted_is_not_in_the_ledger(
        self, api: Api, granted: tuple[str, Kernel], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise MalformedError("No key.", code="hpke-key-malformed")

        before = api.checkpoint()
        action = new_id("action")
        with monkeypatch.context() as patch:
            patch.setattr("jupyter_aisec.broker.releases.seal_key", fail)
            problem(api.release(*granted_args(granted), action=action), 422, "hpke-key-malformed")
        assert api.checkpoint() == before
        ok(api.release(*granted_args(granted), action=action))


class TestRepeats:
    def test_an_equal_repeat_gets_the_recorded_outcome_again(
        self, api: Api, sealed: Sealed, granted: tuple[str, Kernel]
    ) -> None:
        grant, kernel = granted
        action = new_id("action")
        first = ok(api.release(grant, DIGITS, kernel, action=action))
        again = ok(api.release(grant, DIGITS, kernel, action=action))
        assert again["entry"] == first["entry"]
        assert again["keys"] != first["keys"]  # newly encrypted
        assert list(open_release(again, grant, DIGITS, kernel).values()) == [sealed.data_key]
        released = [one for one in entries(api) if one["type"] == "keys.released"]
        assert len(released) == 1

    def test_another_request_under_the_id_conflicts(
        self, api: Api, granted: tuple[str, Kernel]
    ) -> None:
        action = new_id("action")
        ok(api.release(*granted_args(granted), action=action))
        answer = api.release(*granted_args(granted), action=action, version=1)
        problem(answer, 409, "action-reused")

    def test_a_repeat_after_the_end_gets_nothing(
        self, api: Api, granted: tuple[str, Kernel]
    ) -> None:
        action = new_id("action")
        ok(api.release(*granted_args(granted), action=action))
        api.decide(granted[0], "revoke", "approver")
        problem(api.release(*granted_args(granted), action=action), 403, "grant-ended")


def granted_args(granted: tuple[str, Kernel]) -> tuple[str, str, Kernel]:
    return granted[0], DIGITS, granted[1]


class TestSignatures:
    """A request for keys, with one fault each."""

    def prepare(self, api: Api, grant: str) -> requests.PreparedRequest:
        return api.http.prepare_request(
            requests.Request(
                "POST",
                f"{api.url}/v1/grants/{grant}/keys",
                data=msgspec.json.encode({"artifact": DIGITS}),
                headers={"Content-Type": "application/json", "Aisec-Action": new_id("action")},
            )
        )

    @pytest.mark.parametrize(
        "changes",
        [
            {"created": datetime.now(UTC) - timedelta(minutes=6)},
            {"covered_component_ids": ("@method", "@path", "@query", "content-digest")},
            {"covered_component_ids": ("@method", "@path", "content-digest", "aisec-action")},
            {"tag": "other"},
            {"label": "other"},
            {"key_id": "sha256:unknown"},
        ],
        ids=["too old", "action not covered", "query not covered", "tag", "label", "key unknown"],
    )
    def test_not_as_it_must_be(
        self, api: Api, granted: tuple[str, Kernel], changes: dict[str, Any]
    ) -> None:
        request = self.prepare(api, granted[0])
        if "key_id" in changes:
            request.headers["x"] = "x"
            sign_request(request, Kernel().key)
        else:
            sign_request(request, granted[1].key, **changes)
        problem(api.http.send(request), 401, "kernel-signature-invalid")

    def test_body_changed_after_signing(self, api: Api, granted: tuple[str, Kernel]) -> None:
        request = self.prepare(api, granted[0])
        sign_request(request, granted[1].key)
        request.body = msgspec.json.encode({"artifact": "dataset/digitS"})
        problem(api.http.send(request), 401, "kernel-signature-invalid")

    def test_path_changed_after_signing(self, api: Api, granted: tuple[str, Kernel]) -> None:
        other = api.granted()[0]["id"]
        request = self.prepare(api, granted[0])
        sign_request(request, granted[1].key)
        request.url = f"{api.url}/v1/grants/{other}/keys"
        problem(api.http.send(request), 401, "kernel-signature-invalid")

    def test_a_token_alone_opens_nothing(self, api: Api, granted: tuple[str, Kernel]) -> None:
        answer = api.send(
            "POST",
            f"/v1/grants/{granted[0]}/keys",
            {"artifact": DIGITS},
            person="researcher",
            headers={"Aisec-Action": new_id("action")},
        )
        problem(answer, 401, "kernel-signature-missing")


def test_the_lease_is_short_and_never_beyond_the_end(site: Site) -> None:
    clock = Clock()
    with serve(site, clock=clock, config=Config(lease=timedelta(seconds=60))) as (api, _):
        api.seal(seal(DIGITS, site.keys["researcher"]), person="researcher")
        view, _kernel = api.granted()
        path = f"/v1/grants/{view['id']}/lease"
        lease = api.post(path, person="researcher")
        assert lease["state"] == "active"
        assert lease["now"] < lease["until"] < lease["ends_at"]
        assert len(lease["warn"]) == 2
        clock.offset = timedelta(seconds=570)
        lease = api.post(path, person="researcher")
        assert lease["until"] == lease["ends_at"]
        api.decide(view["id"], "revoke", "approver")
        lease = api.post(path, person="researcher")
        assert (lease["state"], lease["ended_why"], lease["until"]) == ("ended", "revoked", None)
