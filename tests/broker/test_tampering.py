"""Promise P1 against the database: one changed column, one row more, less or elsewhere."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from jupyter_aisec.broker.config import Config
from jupyter_aisec.broker.home import accept_rollback, audit_home
from jupyter_aisec.broker.service import open_broker
from jupyter_aisec.broker.store import BundleRow, Store, WrappedKeyRow
from jupyter_aisec.errors import AisecError, LedgerError, TamperedError
from tests.broker import tampering
from tests.broker.tampering import COLUMNS, FAULTS, database, edit
from tests.broker.world import Api, Kernel, Recorded, Site, ok, problem, serve


def refused(api: Api, granted: tuple[str, Kernel]) -> None:
    answer = api.release(granted[0], "dataset/digits", granted[1])
    assert "keys" not in answer.json()
    problem(answer, 503, answer.json()["code"])
    assert answer.json()["code"] in ("ledger-tampered", "ledger-cut-off", "store-failed")


def found(findings: Any, table: str, row: str | None, column: str | None) -> bool:
    return any(
        (one["table"], one["row"] if row else None, one["column"] if column else None)
        == (table, row, column)
        for one in findings
    )


@pytest.mark.parametrize(("table", "column"), COLUMNS, ids=map(".".join, COLUMNS))
class TestAnyColumn:
    def test_changed_under_a_running_broker_releases_nothing(
        self, recorded: Recorded, table: str, column: str
    ) -> None:
        with recorded.serve() as api:
            ok(api.release(recorded.grant, "dataset/digits", recorded.kernel))
            row = edit(recorded.site.database, table, column)
            refused(api, (recorded.grant, recorded.kernel))
            findings = api.get("/v1/audit", "approver")["findings"]
            assert found(findings, table, row, column), findings
            problem(api.send("GET", "/readyz"), 503, "ledger-tampered")

    def test_changed_while_it_was_stopped_keeps_it_from_starting(
        self, recorded: Recorded, table: str, column: str
    ) -> None:
        row = edit(recorded.site.database, table, column)
        with pytest.raises(LedgerError) as caught:
            open_broker(recorded.site.home, Config())
        assert caught.value.code in ("ledger-tampered", "store-failed")
        findings = found_offline(recorded.site)
        assert found(findings, table, row, column), findings


@pytest.mark.parametrize("fault", FAULTS)
class TestAnyRow:
    def test_under_a_running_broker_releases_nothing(self, recorded: Recorded, fault: str) -> None:
        tamper, table, row, column = FAULTS[fault]
        with recorded.serve() as api:
            with database(recorded.site.database) as connection:
                tamper(connection)
            refused(api, (recorded.grant, recorded.kernel))
            findings = api.get("/v1/audit", "approver")["findings"]
            assert found(findings, table, row, column), findings

    def test_while_it_was_stopped_keeps_it_from_starting(
        self, recorded: Recorded, fault: str
    ) -> None:
        tamper, table, row, column = FAULTS[fault]
        with database(recorded.site.database) as connection:
            tamper(connection)
        with pytest.raises(TamperedError):
            open_broker(recorded.site.home, Config())
        findings = found_offline(recorded.site)
        assert found(findings, table, row, column), findings


def test_nothing_is_appended_where_a_trigger_waits(api: Api, granted: tuple[str, Kernel]) -> None:
    size, _ = api.checkpoint()
    with database(api.site.database) as connection:
        tampering.plant_trigger(connection)
    envelope = api.request_envelope(("dataset/digits",))
    answer = api.send("POST", "/v1/grants", {"envelope": envelope}, person="researcher")
    assert "sqlite_master row trigger/planted" in problem(answer, 503, "ledger-tampered")["detail"]
    with database(api.site.database) as connection:
        assert connection.execute("SELECT count(*) FROM entries").fetchone() == (size,)


@pytest.mark.parametrize(
    "trigger",
    [
        "BEFORE INSERT ON bundles BEGIN SELECT RAISE(IGNORE); END",
        "AFTER INSERT ON bundles BEGIN DELETE FROM bundles; END",
        "AFTER INSERT ON bundles BEGIN UPDATE bundles SET bundle = x'00'; END",
        "AFTER INSERT ON wrapped_keys BEGIN DELETE FROM bundles; END",
    ],
    ids=["ignored", "deleted", "changed", "deleted by a later row"],
)
def test_a_row_that_the_database_does_not_keep_is_not_committed(site: Site, trigger: str) -> None:
    rows = [BundleRow("seal_A", b"bundle"), WrappedKeyRow("seal_A", "key_A", b"wrapped")]
    store = Store(site.database)
    try:
        with database(site.database) as connection:
            connection.execute(f"CREATE TRIGGER planted {trigger}")
        before = store.snapshot()
        with pytest.raises(TamperedError, match="bundles row seal_A"), store.transaction() as one:
            one.insert(rows)
        assert store.snapshot() == before
    finally:
        store.close()


def test_put_back_as_it_was_releases_again(api: Api, granted: tuple[str, Kernel]) -> None:
    with database(api.site.database) as connection:
        connection.execute("UPDATE entries SET type = type || 'x' WHERE idx = 1")
    refused(api, granted)
    with database(api.site.database) as connection:
        connection.execute("UPDATE entries SET type = 'session.opened' WHERE idx = 1")
    ok(api.release(granted[0], "dataset/digits", granted[1]))


def test_an_append_to_a_ledger_that_was_cut_off_is_refused_until_a_restart(
    api: Api, granted: tuple[str, Kernel]
) -> None:
    with database(api.site.database) as connection:
        tampering.cut_off_the_end(connection)
    envelope = api.request_envelope(("dataset/digits",))
    answer = api.send("POST", "/v1/grants", {"envelope": envelope}, person="researcher")
    problem(answer, 503, "ledger-tampered")
    again = api.send("GET", "/v1/grants", person="researcher")
    problem(again, 503, "ledger-cut-off")


class TestRollback:
    """A database that is right in itself, and older than what was signed since."""

    @pytest.fixture
    def rolled_back(self, site: Site) -> Site:
        with serve(site) as (api, _):
            api.token("researcher")
        shutil.copy(site.database, site.home / "old")
        with serve(site) as (api, _):
            api.token("approver")
        shutil.copy(site.home / "old", site.database)
        return site

    def test_does_not_start_and_says_what_to_do(self, rolled_back: Site) -> None:
        with pytest.raises(TamperedError) as caught:
            open_broker(rolled_back.home, Config())
        assert caught.value.code == "ledger-cut-off"
        assert "aisec broker accept-rollback" in caught.value.next
        assert [one.column for one in audit_home(rolled_back.home)] == ["idx", "idx"]

    @pytest.mark.parametrize("place", ["checkpoint", "keys/checkpoint"])
    def test_one_copy_is_enough_to_notice(self, rolled_back: Site, place: str) -> None:
        (rolled_back.home / place).unlink()
        with pytest.raises(TamperedError):
            open_broker(rolled_back.home, Config())

    def test_can_be_accepted_and_leaves_evidence(self, rolled_back: Site) -> None:
        assert accept_rollback(rolled_back.home) == 2
        with serve(rolled_back) as (api, _):
            api.token("approver")
        assert audit_home(rolled_back.home) == []
        assert list(rolled_back.home.glob("checkpoint.*.lost"))

    def test_does_not_hide_anything_else(self, rolled_back: Site) -> None:
        edit(rolled_back.database, "entries", "body")
        with pytest.raises(TamperedError):
            accept_rollback(rolled_back.home)

    def test_a_fork_is_not_a_continuation(self, site: Site) -> None:
        with serve(site) as (api, _):
            api.token("researcher")
        shutil.copy(site.home / "checkpoint", site.home / "fork")
        shutil.copy(site.database, site.home / "old")
        with serve(site) as (api, _):
            api.token("approver")
        shutil.copy(site.home / "old", site.database)
        accept_rollback(site.home)
        with serve(site) as (api, _):
            api.token("researcher")
            api.tokens.clear()
            api.token("researcher")
        lost = next(site.home.glob("checkpoint.*.lost")).read_text()
        (site.home / "checkpoint").write_text(lost[: len(lost) // 2])
        assert any("continuation" in one.what for one in audit_home(site.home))


def found_offline(site: Site) -> list[dict[str, str]]:
    try:
        findings = audit_home(site.home)
    except AisecError as error:
        pytest.fail(str(error))
    return [{"table": one.table, "row": one.row, "column": one.column} for one in findings]
