"""What one request may cost: short lists, small manifests, a readiness that is cheap to ask."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest

from jupyter_aisec.broker.routes import ledger
from jupyter_aisec.sealed.manifest import MAX_MANIFEST_SIZE, PAYLOAD_TYPE
from tests.broker.world import Api, Sealed, Site, problem, seal, serve


def test_lists_have_no_manifests(api: Api) -> None:
    api.seal(seal("dataset/a", api.site.keys["researcher"]), person="researcher")
    for path in ("/v1/artifacts", "/v1/artifacts/dataset/a/versions"):
        (one,) = api.get(path, "second")
        assert one["artifact"] == "dataset/a"
        assert "manifest" not in one
    assert "manifest" in api.get("/v1/artifacts/dataset/a", "second")


def test_entries_are_so_many_bytes_and_never_none(
    api: Api, sealed: Sealed, monkeypatch: pytest.MonkeyPatch
) -> None:
    everything = api.get("/v1/ledger/entries", "approver")
    monkeypatch.setattr(ledger, "_MAX_BYTES", 1)
    one_by_one = [
        api.get(f"/v1/ledger/entries?from={index}", "approver") for index in range(len(everything))
    ]
    assert [page for (page,) in one_by_one] == everything
    assert api.get(f"/v1/ledger/entries?from={len(everything)}", "approver") == []


def test_a_manifest_has_a_size(api: Api) -> None:
    given = seal("dataset/a", api.site.keys["researcher"])
    payload = b" " * (MAX_MANIFEST_SIZE + 1)
    given.envelope = msgspec.structs.replace(
        given.envelope, payload=payload, payload_type=PAYLOAD_TYPE
    )
    body = given.body(api.site.trust.seal_key)
    answer = api.send("POST", "/v1/artifacts", body, person="researcher")
    assert "pack them" in problem(answer, 422, "manifest-too-large")["next"]


def test_whoever_asks_for_readiness_in_a_loop_has_the_database_compared_once_a_second(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[float] = []
    uptime = 100.0
    monkeypatch.setattr(
        "jupyter_aisec.broker.service.time", SimpleNamespace(monotonic=lambda: uptime)
    )
    with serve(site) as (api, broker):
        monkeypatch.setattr(broker.ledger, "check_stored", lambda: compared.append(uptime))
        for uptime in (100.0, 100.0, 100.9, 101.0, 101.5):  # noqa: B007 - the clock reads it
            api.get("/readyz")
    assert compared == [100.0, 101.0]
