"""Grants over HTTP: repeats, refusals that stay in the ledger, who sees what."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest

from jupyter_aisec.grants.statements import Request
from jupyter_aisec.ids import new_id
from jupyter_aisec.people.dsse import Envelope, Signature, sign
from jupyter_aisec.people.keys import SigningKey
from tests.broker.test_release import entries, last_refusal
from tests.broker.world import ORIGIN, Api, Kernel, Sealed, Site, ok, problem, seal, timestamp

DIGITS = "dataset/digits"


class TestRepeats:
    """A reply may be lost: the same statement again is answered as it was."""

    def test_request_approval_and_binding(self, api: Api, sealed: Sealed) -> None:
        envelope = api.request_envelope((DIGITS,))
        for _ in range(2):
            view = api.post("/v1/grants", {"envelope": envelope}, person="researcher")
        approval, kernel = api.approval(view), Kernel()
        binding = api.binding(view, kernel)
        for _ in range(2):
            path = f"/v1/grants/{view['id']}"
            api.post(f"{path}/approve", {"envelope": approval}, person="approver")
        for _ in range(2):
            view = api.post(f"{path}/bind", {"envelope": binding}, person="researcher")
        assert view["state"] == "active"
        types = [one["type"] for one in entries(api)]
        assert types.count("grant.requested") == types.count("grant.approved") == 1
        assert types.count("seat.bound") == 1
        assert "action.refused" not in types

    def test_the_same_payload_under_another_signature_conflicts(
        self, api: Api, sealed: Sealed
    ) -> None:
        envelope = api.request_envelope((DIGITS,))
        api.post("/v1/grants", {"envelope": envelope}, person="researcher")
        forged = msgspec.structs.replace(
            envelope, signatures=(Signature(keyid=envelope.signatures[0].keyid, sig=b"x"),)
        )
        answer = api.send("POST", "/v1/grants", {"envelope": forged}, person="researcher")
        problem(answer, 409, "statement-recorded")

    def test_an_ending_confirmed_twice(self, api: Api, granted: tuple[str, Kernel]) -> None:
        body = {"kernel": granted[1].id, "how": "wiped"}
        path = f"/v1/grants/{granted[0]}/ended"
        assert api.post(path, body, person="researcher") == {"recorded": True}
        assert api.post(path, body, person="researcher") == {"recorded": False}
        other = {**body, "kernel": Kernel().id}
        problem(api.send("POST", path, other, person="researcher"), 403, "kernel-not-bound")


class TestRefusals:
    def act(self, api: Api, grant: str, action: str, envelope: Envelope, person: str) -> object:
        return api.send(
            "POST", f"/v1/grants/{grant}/{action}", {"envelope": envelope}, person=person
        )

    def test_a_second_decision(self, api: Api, sealed: Sealed) -> None:
        view = api.ask(DIGITS)
        api.approve(view)
        again = api.approval(view, comment="again")
        answer = self.act(api, view["id"], "approve", again, "approver")
        problem(answer, 409, "decided-already")
        assert last_refusal(api)["code"] == "decided-already"

    def test_after_the_end(self, api: Api, sealed: Sealed) -> None:
        view = api.ask(DIGITS)
        assert api.decide(view["id"], "deny", "approver")["ended_why"] == "denied"
        answer = self.act(api, view["id"], "approve", api.approval(view, "second"), "second")
        problem(answer, 403, "grant-ended")
        assert last_refusal(api)["person"] == "second"

    def test_a_token_of_somebody_else(self, api: Api, sealed: Sealed) -> None:
        view = api.ask(DIGITS)
        answer = self.act(api, view["id"], "approve", api.approval(view), "researcher")
        problem(answer, 401, "token-of-another")
        refusal = last_refusal(api)
        assert (refusal["person"], refusal["action"]) == ("researcher", "approve")

    @pytest.mark.parametrize("route", ["lease", "ended"])
    def test_a_grant_of_somebody_else_is_as_unknown_as_none(
        self, api: Api, granted: tuple[str, Kernel], route: str
    ) -> None:
        body = {"kernel": granted[1].id, "how": "wiped"} if route == "ended" else {}
        answers = [
            api.send("POST", f"/v1/grants/{grant}/{route}", body, person="second").json()
            for grant in (granted[0], new_id("grant"))
        ]
        assert [answer["code"] for answer in answers] == ["grant-unknown"] * 2
        assert "researcher" not in answers[0]["detail"]
        refusal = last_refusal(api)
        assert (refusal["person"], refusal["subject"]) == ("second", granted[0])

    def test_another_grant_in_the_path(self, api: Api, sealed: Sealed) -> None:
        first, second = api.ask(DIGITS), api.ask(DIGITS)
        answer = self.act(api, second["id"], "approve", api.approval(first), "approver")
        problem(answer, 422, "grant-differs")

    def test_another_decision_in_the_path(self, api: Api, sealed: Sealed) -> None:
        view = api.ask(DIGITS)
        decision = api.decision(view["id"], "deny", "approver")
        problem(self.act(api, view["id"], "revoke", decision, "approver"), 422, "decision-differs")

    def test_an_unknown_grant(self, api: Api, sealed: Sealed) -> None:
        decision = api.decision(new_id("grant"), "deny", "approver")
        unknown = msgspec.json.decode(decision.payload)["grant"]
        problem(self.act(api, unknown, "deny", decision, "approver"), 404, "grant-unknown")

    def test_signed_with_a_key_that_nobody_enrolled(self, api: Api, sealed: Sealed) -> None:
        envelope = api.request_envelope((DIGITS,))
        forged = sign(envelope.payload, envelope.payload_type, SigningKey.generate())
        answer = api.send("POST", "/v1/grants", {"envelope": forged}, person="researcher")
        problem(answer, 401, "signer-unknown")

    @pytest.mark.parametrize("payload", [b"\xff", b"[]", b"{}", b'{"person": 1}'])
    def test_a_statement_that_is_none(self, api: Api, payload: bytes) -> None:
        envelope = sign(payload, Request.payload_type, api.site.keys["researcher"])
        answer = api.send("POST", "/v1/grants", {"envelope": envelope}, person="researcher")
        assert answer.status_code == 422
        path = f"/v1/grants/{new_id('grant')}/approve"
        answer = api.send("POST", path, {"envelope": envelope}, person="researcher")
        assert answer.status_code == 422


def test_lists_and_single_views(api: Api, sealed: Sealed) -> None:
    first, second = api.ask(DIGITS), api.ask(DIGITS)
    api.approve(first)
    pending = api.get("/v1/grants?state=pending", "approver")
    assert [one["id"] for one in pending] == [second["id"]]
    assert len(api.get("/v1/grants", "researcher")) == 2
    view = api.get(f"/v1/grants/{first['id']}", "second")
    assert [one["person"] for one in view["approvals"]] == ["approver"]
    assert view["approvals_needed"] == 1
    missing = api.send("GET", f"/v1/grants/{new_id('grant')}", person="second")
    problem(missing, 404, "grant-unknown")


def test_concurrent_approvals_make_one_legal_history(api: Api, sealed: Sealed) -> None:
    """Two approvers and a denier race over many grants: each ends in one legal state."""
    views = [api.ask(DIGITS) for _ in range(6)]
    sent = [
        (view["id"], action, person, envelope)
        for view in views
        for action, person, envelope in (
            ("approve", "approver", api.approval(view, "approver")),
            ("approve", "second", api.approval(view, "second")),
            ("deny", "second", api.decision(view["id"], "deny", "second")),
        )
    ]
    for person in ("approver", "second"):
        api.token(person)

    def send(one: tuple[str, str, str, Envelope]) -> int:
        grant, action, person, envelope = one
        answer = Api(api.site, api.url)
        answer.tokens = api.tokens
        path = f"/v1/grants/{grant}/{action}"
        return answer.send("POST", path, {"envelope": envelope}, person=person).status_code

    with ThreadPoolExecutor(8) as threads:
        statuses = list(threads.map(send, sent))
    assert set(statuses) <= {200, 403, 409}
    for view in views:
        approvals = api.get(f"/v1/grants/{view['id']}", "approver")["approvals"]
        assert len(approvals) <= 1
    refused = sum(one["type"] == "action.refused" for one in entries(api))
    assert refused == sum(status != 200 for status in statuses)
    assert api.get("/v1/audit", "approver")["findings"] == []


class TestArtifacts:
    def test_catalog_and_versions(self, api: Api, sealed: Sealed) -> None:
        second = seal(DIGITS, api.site.keys["researcher"])
        assert api.seal(second, person="researcher") == {"artifact": DIGITS, "version": 2}
        assert [one["version"] for one in api.get("/v1/artifacts", "second")] == [2]
        assert api.get(f"/v1/artifacts/{DIGITS}?version=1", "second")["seal_id"] == (
            sealed.manifest.seal_id
        )
        versions = api.get(f"/v1/artifacts/{DIGITS}/versions", "second")
        assert [one["version"] for one in versions] == [1, 2]
        unknown = api.send("GET", "/v1/artifacts/weights/none", person="second")
        problem(unknown, 404, "artifact-unknown")
        assert api.get("/v1/store", "second")["url"].startswith("file://")

    def test_the_same_version_again_is_the_same_version(self, api: Api, sealed: Sealed) -> None:
        assert api.seal(sealed, person="researcher")["version"] == 1

    @pytest.mark.parametrize("place", ["memory://store", "file:///home", "reference://d::file://"])
    def test_a_kernel_names_no_place_but_the_brokers_store(
        self, api: Api, sealed: Sealed, place: str
    ) -> None:
        _, kernel = api.granted(DIGITS)
        output = seal("weights/net", kernel.key)
        body = output.body(api.site.trust.seal_key, place)
        answer = api.send("POST", "/v1/artifacts", body, kernel=kernel)
        problem(answer, 403, "url-elsewhere")
        assert api.seal(output, kernel=kernel)["version"] == 1

    def test_another_manifest_under_a_seal_id_conflicts(self, api: Api, sealed: Sealed) -> None:
        other = seal(DIGITS, api.site.keys["researcher"])
        manifest = msgspec.structs.replace(other.manifest, seal_id=sealed.manifest.seal_id)
        other.manifest = manifest
        other.envelope = sign(manifest, sealed.envelope.payload_type, api.site.keys["researcher"])
        body = other.body(api.site.trust.seal_key)
        answer = api.send("POST", "/v1/artifacts", body, person="researcher")
        problem(answer, 409, "sealed-already")

    @pytest.mark.parametrize(
        ("fault", "status", "code"),
        [
            ("another data key", 422, "wrong-key"),
            ("another output key", 422, "wrong-key"),
            ("sealed to somebody else", 422, "sealed-key-wrong"),
            ("keys missing", 422, "deposit-differs"),
            ("sent by another person", 401, "manifest-of-another"),
            ("no session", 401, "session-missing"),
        ],
    )
    def test_faults(self, api: Api, fault: str, status: int, code: str) -> None:
        made, other = (seal("weights/base", api.site.keys["researcher"]) for _ in range(2))
        person: str | None = "researcher"
        recipient = api.site.trust.seal_key
        if fault == "another data key":
            made.data_key = other.data_key
        elif fault == "another output key":
            made.output_key = other.output_key
        elif fault == "sealed to somebody else":
            recipient = other.output_key.public
        body = made.body(recipient)
        if fault == "keys missing":
            body["keys"] = {}
        elif fault == "sent by another person":
            person = "approver"
        elif fault == "no session":
            person = None
        problem(api.send("POST", "/v1/artifacts", body, person=person), status, code)
        assert api.get("/v1/artifacts", "second") == []


def test_a_statement_for_another_ledger_is_refused(api: Api, sealed: Sealed) -> None:
    statement = Request(
        origin="other.example/ledger",
        person="researcher",
        at=timestamp(),
        grant=new_id("grant"),
        artifacts=(DIGITS,),
        seconds=60,
        reason="Ablation",
        seat="job:night",
    )
    assert statement.origin != ORIGIN
    envelope = sign(statement, Request.payload_type, api.site.keys["researcher"])
    answer = api.send("POST", "/v1/grants", {"envelope": envelope}, person="researcher")
    problem(answer, 422, "origin-wrong")


def test_policy_in_force(api: Api) -> None:
    assert api.get("/v1/policy", "second")["version"] == 0
    ok(api.send("GET", "/healthz"))
    ok(api.send("GET", "/readyz"))


def test_a_request_is_explained_without_being_made(api: Api, sealed: Sealed) -> None:
    size, _ = api.checkpoint()
    api.token("researcher")
    body = {"artifacts": [sealed.artifact], "seconds": 600}
    said = api.post("/v1/grants/explain", body, person="researcher")
    assert said["refusal"] is None
    assert said["terms"]["approvers"] == ["approver", "second"]
    said = api.post("/v1/grants/explain", body, person="second")
    assert (said["terms"], said["refusal"]["code"]) == (None, "requester-not-allowed")
    unknown = {**body, "artifacts": ["dataset/none"]}
    answer = api.send("POST", "/v1/grants/explain", unknown, person="researcher")
    problem(answer, 404, "artifact-unknown")
    assert api.get("/v1/grants", "researcher") == []
    types = [one["type"] for one in api.get("/v1/ledger/entries", "approver")][size:]
    assert set(types) <= {"session.opened"}


@pytest.mark.parametrize("which", ["broker", "nobody"])
def test_a_signature_that_would_spoil_every_audit_is_not_recorded(
    site: Site, api: Api, sealed: Sealed, which: str
) -> None:
    view = api.ask(DIGITS)
    genuine = api.approval(view)
    key_id = site.trust.broker_key.key_id if which == "broker" else "sha256:x"
    surplus = Signature(keyid=key_id, sig=bytes(64))
    poisoned = msgspec.structs.replace(genuine, signatures=(*genuine.signatures, surplus))
    answer = api.send(
        "POST", f"/v1/grants/{view['id']}/approve", {"envelope": poisoned}, person="approver"
    )
    problem(answer, 401, "signature-surplus")
    api.approve(view)
    assert api.get("/v1/audit", "approver")["findings"] == []
