"""Dropping labels over HTTP: what is answered, what is shown, what stays in the ledger."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from jupyter_aisec.grants.signed import payload_sha256
from jupyter_aisec.grants.statements import Declassification
from jupyter_aisec.ledger.checkpoint import open_checkpoint
from jupyter_aisec.people.dsse import Envelope, sign_again
from jupyter_aisec.sealed.manifest import sign_manifest
from tests.broker.world import Api, Sealed, Site, problem, seal, serve

ROUTE = "/v1/artifacts/declassifications"
NAME = "dataset/labelled"
OF = "researcher"


@pytest.fixture
def labelled(api: Api) -> Sealed:
    """The researcher's, with two labels."""
    return put(api)


def put(api: Api) -> Sealed:
    plain = seal(NAME, api.site.keys[OF])
    manifest = msgspec.structs.replace(plain.manifest, labels=("internal", "phi"))
    envelope = sign_manifest(manifest, api.site.keys[OF])
    sealed = Sealed(NAME, manifest, envelope, plain.data_key, plain.output_key)
    api.seal(sealed, person=OF)
    return sealed


def statement(api: Api, sealed: Sealed, *also: str, **changes: Any) -> Envelope:
    note = api.http.get(f"{api.url}/v1/ledger/checkpoint", timeout=30).text
    fields = {
        "artifact": NAME,
        "version": 1,
        "seal_id": sealed.manifest.seal_id,
        "manifest_sha256": payload_sha256(sealed.envelope),
        "drops": ("phi",),
        "reason": "Aggregates only",
        "policy_version": 0,
        "checkpoint": open_checkpoint(note, api.site.trust.log_key).brief,
    }
    envelope = api.site.signed(Declassification, OF, **{**fields, **changes})
    for name in also:
        envelope = sign_again(envelope, api.site.keys[name])
    return envelope


def test_a_label_is_dropped_and_everything_shows_it(api: Api, labelled: Sealed) -> None:
    envelope = statement(api, labelled, "second")
    for _ in range(2):  # the reply may be lost
        answer = api.post(ROUTE, {"envelope": envelope}, person="second")
    assert answer["labels"] == ["internal"]
    (dropped,) = answer["dropped"]
    assert (dropped["labels"], dropped["by"]) == (["phi"], ["researcher", "second"])
    (entry,) = api.get(f"/v1/ledger/entries?from={dropped['entry']}&to={dropped['entry'] + 1}", OF)
    assert (entry["type"], entry["at"]) == ("artifact.declassified", dropped["at"])
    assert answer["manifest"] == api.get(f"/v1/artifacts/{NAME}", OF)["manifest"]
    for path in (f"/v1/artifacts/{NAME}/versions", "/v1/artifacts"):
        (listed,) = api.get(path, OF)
        assert (listed["labels"], listed["dropped"]) == (["internal"], [dropped])
    assert api.get("/v1/audit", "second")["findings"] == []


def test_a_broker_that_starts_again_still_knows(site: Site) -> None:
    with serve(site) as (api, _):
        envelope = statement(api, put(api), "second")
        api.post(ROUTE, {"envelope": envelope}, person="second")
    with serve(site) as (api, _):
        view = api.get(f"/v1/artifacts/{NAME}", OF)
        assert (view["labels"], len(view["dropped"])) == (["internal"], 1)


def test_what_is_refused_is_kept_and_changes_nothing(api: Api, labelled: Sealed) -> None:
    tried = [
        (statement(api, labelled), 403, "declassifiers-too-few"),
        (statement(api, labelled, "second", drops=("secret",)), 403, "label-not-carried"),
        (statement(api, labelled, "second", manifest_sha256="0" * 64), 409, "declassified-other"),
        (statement(api, labelled, "second", policy_version=1), 409, "policy-changed"),
        (statement(api, labelled, "second", drops=()), 422, "drops-invalid"),
        (statement(api, labelled, "second", version=9), 404, "version-unknown"),
    ]
    for envelope, status, code in tried:
        problem(api.send("POST", ROUTE, {"envelope": envelope}, person=OF), status, code)
    kept = [one for one in api.get("/v1/ledger/entries", OF) if one["type"] == "action.refused"]
    assert len(kept) == 4  # a slip of form, and a version that is not there, are not
    assert api.get(f"/v1/artifacts/{NAME}", OF)["labels"] == ["internal", "phi"]


def test_whoever_sends_it_signed_it(api: Api, labelled: Sealed) -> None:
    envelope = statement(api, labelled, "second")
    answer = api.send("POST", ROUTE, {"envelope": envelope}, person="approver")
    problem(answer, 401, "token-of-another")
    other = msgspec.structs.replace(statement(api, labelled), payload_type="text/plain")
    problem(api.send("POST", ROUTE, {"envelope": other}, person=OF), 403, "payload-type-wrong")
