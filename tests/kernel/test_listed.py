"""The list of what a secure kernel may ask of the broker."""

from __future__ import annotations

import pytest

from jupyter_aisec.kernel.listed import listed
from jupyter_aisec.kernel.rate import Rate

GRANT = "grant_01ARZ3NDEKTSV4RRFFQ69G5FAV"


@pytest.mark.parametrize(
    "target",
    [
        "/v1/whoami",
        "/v1/artifacts/dataset/a..b?version=3",
        "/v1/artifacts/dataset/a..b/versions?limit=500&after=1000",
        "/v1/grants?state=pending",
        "/v1/grants?limit=1000",
        f"/v1/grants?state=pending&limit=1000&after={GRANT}",
        "/v1/runs?limit=1000&after=run_01ARZ3NDEKTSV4RRFFQ69G5FAV",
        f"/v1/grants/{GRANT}",
        "/v1/bundles/seal_01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "/v1/ledger/key",
        "/v1/ledger/checkpoint",
        "/v1/ledger/tile/0/x001/234.p/5",
        "/v1/ledger/tile/entries/000",
    ],
)
def test_on_the_list(target: str) -> None:
    assert listed("GET", target)
    assert not listed("GET", target, 1)
    assert not listed("POST", target)


@pytest.mark.parametrize(
    "target",
    [
        "/v1/people",
        "/v1/ledger/../people",
        "/v1/ledger/%2e%2e/people",
        "/v1/ledger//key",
        "/v1/ledger/./key",
        "/v1/ledger/entries?from=0&to=9",
        "/v1/ledger/tile/0/../../people",
        "/v1/artifacts/dataset/..",
        "/v1/grants?",
        "/v1/grants?limit=10000",
        "/v1/grants?after=plaintext",
        "/v1/grants?limit=1&limit=1&limit=1&limit=1",
        f"/v1/runs?after={GRANT}",
        "/v1/artifacts/dataset/x?version=1&note=plaintext",
        "/v1/whoami?",
        "/v1/whoami#",
        "http://other/v1/whoami",
        f"/v1/grants/{GRANT}/../x",
        "/v1/trust\n",
    ],
)
def test_not_on_the_list(target: str) -> None:
    assert not listed("GET", target)
    assert not listed("POST", target)


def test_bodies_have_bounds() -> None:
    keys = f"/v1/grants/{GRANT}/keys"
    assert listed("POST", keys, 100)
    assert listed("POST", "/v1/outputs/keys", 200 << 10)
    assert not listed("POST", "/v1/outputs/keys", 1 << 20)
    assert not listed("POST", keys, 1 << 20)
    assert not listed("PUT", "/v1/runs", 1)


def test_a_rate_is_of_any_minute() -> None:
    now = [0.0]
    rate = Rate(2, 60.0, lambda: now[0])
    taken = []
    for moment in (0, 30, 59.9, 60, 80, 90):
        now[0] = moment
        taken.append(rate.take())
    assert taken == [True, True, False, True, False, True]
