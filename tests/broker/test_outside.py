"""Promises P1 and P2 while a copy of the ledger checkpoint cannot be written outside."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import requests

from jupyter_aisec.broker.config import Config
from jupyter_aisec.broker.home import audit_home
from jupyter_aisec.broker.service import open_broker
from jupyter_aisec.errors import AisecError, TamperedError
from jupyter_aisec.grants.statements import Login
from jupyter_aisec.ids import new_id
from tests.broker.tampering import database
from tests.broker.world import Api, Sealed, Site, ok, open_release, problem, serve

DIGITS = "dataset/digits"
CODES = {"checkpoint": "checkpoint-copy-failed", "keys/checkpoint": "secret-unwritable"}


@pytest.fixture(params=CODES)
def copy(request: pytest.FixtureRequest, api: Api) -> Path:
    """One of the two copies."""
    path: Path = api.site.home / request.param
    return path


def block(copy: Path) -> None:
    """Nothing can be renamed to a folder that is not empty: as little as on a full disk."""
    copy.rename(copy.with_name("old-copy"))
    copy.mkdir()
    (copy / "x").touch()


def free(copy: Path) -> None:
    (copy / "x").unlink()
    copy.rmdir()
    copy.with_name("old-copy").rename(copy)


def code_of(copy: Path) -> str:
    return CODES[copy.relative_to(copy.parents[copy.parent.name == "keys"]).as_posix()]


def test_nothing_is_served_appended_or_released_until_it_can_be(
    api: Api, sealed: Sealed, copy: Path
) -> None:
    view, kernel = api.granted()
    waiting = api.ask(DIGITS)
    approval, action = api.approval(waiting), new_id("action")
    api.token("approver")
    block(copy)
    code = code_of(copy)

    def approve() -> requests.Response:
        path = f"/v1/grants/{waiting['id']}/approve"
        return api.send("POST", path, {"envelope": approval}, person="approver")

    for _ in range(2):  # a client repeats what was answered by 503
        problem(approve(), 503, code)
        problem(api.release(view["id"], DIGITS, kernel, action=action), 503, code)
    for path in ("/v1/ledger/checkpoint", "/readyz", f"/v1/grants/{waiting['id']}"):
        problem(api.send("GET", path, person="researcher" if "grants" in path else None), 503, code)
    problem(api.send("GET", "/v1/ledger/tile/0/000.p/1"), 503, code)
    with database(api.site.database) as connection:
        types = [row[0] for row in connection.execute("SELECT type FROM entries ORDER BY idx")]
    assert types[-1] == "grant.approved"  # durable, and nobody saw it
    assert "keys.released" not in types

    free(copy)
    assert api.get(f"/v1/grants/{waiting['id']}", "researcher")["state"] == "scheduled"
    ok(approve())  # the same statement: it is recorded
    answer = ok(api.release(view["id"], DIGITS, kernel, action=action))
    assert open_release(answer, view["id"], DIGITS, kernel)
    assert audit_home(api.site.home) == []


def test_a_release_that_nobody_has_a_copy_of_cannot_be_had_and_then_be_cut_off(
    site: Site,
) -> None:
    with serve(site) as (api, broker):
        copy, old = site.home / "checkpoint", broker.ledger.checkpoint
        size = len(broker.ledger.entries)
        api.token("researcher")
        block(copy)
        login = {"envelope": api.site.signed(Login, "approver", nonce="n")}
        problem(api.send("POST", "/v1/sessions", login), 503, "checkpoint-copy-failed")
        free(copy)
        api.token("approver")
    with database(site.database) as connection:
        _cut(connection, size, old)
    with pytest.raises(TamperedError) as caught:
        open_broker(site.home, Config())
    assert caught.value.code == "ledger-cut-off"


def test_a_broker_does_not_start_while_it_cannot_be_written(site: Site) -> None:
    with serve(site) as (api, _):
        api.token("researcher")
    old = (site.home / "checkpoint").read_bytes()
    with serve(site) as (api, _):
        api.token("approver")
    (site.home / "checkpoint").write_bytes(old)  # as if it had died before the copy
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jupyter_aisec.broker.outside.write_private", _full)
        with pytest.raises(AisecError) as caught:
            open_broker(site.home, Config())
    assert caught.value.code == "checkpoint-copy-failed"
    assert "Make room" in caught.value.next
    open_broker(site.home, Config()).close()


def _full(*_: object, **__: object) -> None:
    raise OSError(28, "No space left on device")


def _cut(connection: sqlite3.Connection, size: int, note: str) -> None:
    connection.execute("DELETE FROM entries WHERE idx >= ?", (size,))
    connection.execute("UPDATE checkpoints SET size = ?, note = ?", (size, note))
