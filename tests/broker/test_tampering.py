"""Promise P1 against the database: one changed column, one row more, less or elsewhere."""

from __future__ import annotations

import copy
import io
import json
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from jupyter_aisec.broker import trust_file
from jupyter_aisec.broker.config import Config
from jupyter_aisec.broker.digests import ColumnDigests
from jupyter_aisec.broker.home import accept_rollback, audit_home
from jupyter_aisec.broker.service import open_broker
from jupyter_aisec.broker.store import BundleRow, Store, WrappedKeyRow, snapshot_of
from jupyter_aisec.cli import main
from jupyter_aisec.errors import LedgerError, TamperedError
from jupyter_aisec.ledger.note import NoteSigner
from jupyter_aisec.people.keys import SigningKey
from tests.broker import tampering
from tests.broker.tampering import CELLS, FAULTS, VAGUE, Place, database, edit
from tests.broker.world import ORIGIN, Api, Kernel, Recorded, Site, ok, problem, serve


def refused(api: Api, granted: tuple[str, Kernel]) -> None:
    answer = api.release(granted[0], "dataset/digits", granted[1])
    assert "keys" not in answer.json()
    problem(answer, 503, answer.json()["code"])
    assert answer.json()["code"] in ("ledger-tampered", "ledger-cut-off", "store-failed")


def places(findings: Any) -> set[Place]:
    """Where something was found; nothing is said twice of one place."""
    found = [(one["table"], one["row"], one["column"]) for one in findings]
    assert len(found) == len(set(found))
    return set(found)


def audited(home: Path, *options: str) -> list[dict[str, str]]:
    """What `aisec audit verify` finds in a home; it ends as its findings say."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(("audit", "verify", "--home", str(home), *options, "--json"))
    document = json.loads(out.getvalue())
    findings: list[dict[str, str]] = document["findings"]
    assert (code, document["ok"]) == ((1, False) if findings else (0, True))
    if findings:
        problem = json.loads(err.getvalue())
        assert problem["code"] == "ledger-tampered"
        named = [findings[0][name] for name in ("table", "row", "column")]
        assert "table {}, row {}, column {}".format(*named) in problem["detail"]
    return findings


def does_not_start(home: Path) -> None:
    """Nor does it change anything; where there is no broker, nothing is released."""
    before = snapshot_of(home / "broker.sqlite")
    with pytest.raises(LedgerError) as caught:
        open_broker(home, Config())
    assert caught.value.code in ("ledger-tampered", "ledger-cut-off", "store-failed")
    assert snapshot_of(home / "broker.sqlite") == before


@pytest.mark.parametrize(("table", "column", "which"), CELLS, ids=map(".".join, CELLS))
class TestAnyColumn:
    def test_changed_under_a_running_broker_releases_nothing(
        self, recorded: Recorded, table: str, column: str, which: str
    ) -> None:
        with recorded.serve() as api:
            ok(api.release(recorded.grant, "dataset/digits", recorded.kernel))
            place = edit(recorded.site.database, table, column, which)
            refused(api, (recorded.grant, recorded.kernel))
            findings = api.get("/v1/audit", "approver")["findings"]
            assert places(findings) == {place}, findings
            problem(api.send("GET", "/readyz"), 503, "ledger-tampered")

    def test_changed_while_it_was_stopped_is_named_and_keeps_it_from_starting(
        self, recorded: Recorded, table: str, column: str, which: str
    ) -> None:
        assert audited(recorded.site.home) == []
        place = edit(recorded.site.database, table, column, which)
        findings = audited(recorded.site.home)
        assert places(findings) == {place}, findings
        does_not_start(recorded.site.home)


@pytest.mark.parametrize("fault", FAULTS)
class TestAnyRow:
    def test_under_a_running_broker_releases_nothing(self, recorded: Recorded, fault: str) -> None:
        with recorded.serve() as api:
            with database(recorded.site.database) as connection:
                made = FAULTS[fault](connection)
            refused(api, (recorded.grant, recorded.kernel))
            findings = api.get("/v1/audit", "approver")["findings"]
        if fault == "rows reordered":  # as good: all the rest of the two rows is exchanged
            assert {one[:2] for one in places(findings)} == {one[:2] for one in made}
        else:
            assert places(findings) == made, findings

    def test_while_it_was_stopped_is_named_and_keeps_it_from_starting(
        self, recorded: Recorded, fault: str
    ) -> None:
        with database(recorded.site.database) as connection:
            made = FAULTS[fault](connection)
        findings = audited(recorded.site.home)
        vague = [one for one in findings if one["what"] == "it or its digest was changed"]
        assert places(vague) == VAGUE.get(fault, set()), findings
        assert places(findings) == made | VAGUE.get(fault, set()), findings
        does_not_start(recorded.site.home)


def test_aisec_broker_start_ends_on_a_database_that_was_edited(
    recorded: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    table, row, column = edit(recorded.site.database, "entries", "body", "first")
    assert main(("broker", "start", "--home", str(recorded.site.home))) == 1
    assert f"{table} row {row} column {column}" in capsys.readouterr().err


def test_an_edited_and_a_hidden_row_are_both_named(recorded: Recorded) -> None:
    edited = edit(recorded.site.database, "entries", "salt", "middle")
    with database(recorded.site.database) as connection:
        hidden = tampering.hide_row(connection)
    assert places(audited(recorded.site.home)) == {edited, *hidden}


def test_an_older_checkpoint_in_the_place_of_the_newest_is_named(recorded: Recorded) -> None:
    """The entries are right, and the copies outside say so."""
    with database(recorded.site.database) as connection:
        older = connection.execute("SELECT size, note FROM checkpoints").fetchone()
    with recorded.serve() as api:
        api.token("second")
        size, _ = api.checkpoint()
    with database(recorded.site.database) as connection:
        connection.execute("UPDATE checkpoints SET size = ?, note = ?", older)
    columns = ("size", "note")
    expected = {("checkpoints", str(size), column) for column in columns}
    assert places(audited(recorded.site.home)) == expected
    does_not_start(recorded.site.home)


class TestGivenUp:
    """Entries that this broker wrote itself, with its key, in a ledger that was given up."""

    @pytest.fixture
    def lost(self, recorded: Recorded, tmp_path: Path) -> tuple[Any, ...]:
        """The last row of the home as it went on elsewhere; here it went on otherwise."""
        elsewhere = copy.copy(recorded.site)
        elsewhere.home = tmp_path / "elsewhere"
        shutil.copytree(recorded.site.home, elsewhere.home)
        for site in (elsewhere, recorded.site):
            with serve(site) as (api, _):
                api.token("second")
        lost: tuple[Any, ...] = snapshot_of(elsewhere.database)["entries"][-1]
        assert lost[0] == snapshot_of(recorded.site.database)["entries"][-1][0]
        return lost

    def test_digests_of_an_older_value_are_not_those_of_this_one(
        self, recorded: Recorded, lost: tuple[Any, ...]
    ) -> None:
        with database(recorded.site.database) as connection:
            connection.execute("UPDATE entries SET digests = ? WHERE idx = ?", (lost[-1], lost[0]))
        assert places(audited(recorded.site.home)) == {("entries", str(lost[0]), "digests")}
        does_not_start(recorded.site.home)

    def test_a_whole_row_is_noticed_and_cannot_be_named(
        self, recorded: Recorded, lost: tuple[Any, ...]
    ) -> None:
        with database(recorded.site.database) as connection:
            connection.execute("DELETE FROM entries WHERE idx = ?", lost[:1])
            connection.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?)", lost)
        (finding,) = audited(recorded.site.home)
        assert places([finding]) == {("entries", f"0-{lost[0]}", "*")}
        assert "at one time or another" in finding["what"]
        does_not_start(recorded.site.home)


class TestWithoutTheKeys:
    """A copy of the database alone, and the trust file: what an auditor elsewhere has."""

    @pytest.fixture
    def copied(self, recorded: Recorded, tmp_path: Path) -> Site:
        site = copy.copy(recorded.site)
        site.home = tmp_path / "copied"
        site.home.mkdir()
        (tmp_path / "trust.json").write_bytes(trust_file(recorded.site.home))
        shutil.copyfile(recorded.site.database, site.database)
        return site

    def audited(self, site: Site) -> list[dict[str, str]]:
        return audited(site.home, "--trust", str(site.home.parent / "trust.json"))

    def test_what_is_right_is_said_with_what_was_not_checked(
        self, copied: Site, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.audited(copied) == []
        trust = str(copied.home.parent / "trust.json")
        assert main(("audit", "verify", "--home", str(copied.home), "--trust", trust)) == 0
        assert "Not checked without the broker's keys: the column `digests`" in (
            capsys.readouterr().out
        )

    def test_without_a_trust_file_it_says_how(
        self, copied: Site, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(("audit", "verify", "--home", str(copied.home))) == 1
        assert "`--trust FILE`" in capsys.readouterr().err

    def test_an_edited_row_is_noticed_and_not_named(self, copied: Site) -> None:
        edit(copied.database, "entries", "body", "middle")
        (finding,) = self.audited(copied)
        assert (finding["table"], finding["column"]) == ("entries", "*")
        assert "can only be told with the broker's keys" in finding["what"]

    @pytest.mark.parametrize(
        "fault",
        [
            *("row hidden", "first row hidden", "rows cut off the end", "bundle hidden"),
            *("row added", "row added before the first", "value of another type"),
            *("wrapped keys swapped", "table changed"),
        ],
    )
    def test_what_shows_without_them_is_named(self, copied: Site, fault: str) -> None:
        with database(copied.database) as connection:
            made = FAULTS[fault](connection)
        assert places(self.audited(copied)) == made

    def test_a_salt_of_another_length_is_named(self, copied: Site) -> None:
        with database(copied.database) as connection:
            connection.execute("UPDATE entries SET salt = x'00' WHERE idx = 3")
        assert places(self.audited(copied)) == {("entries", "3", "salt")}

    def test_the_copy_in_the_home_counts_where_it_is(
        self, copied: Site, template: Recorded
    ) -> None:
        with database(copied.database) as connection:
            made = tampering.cut_off_the_end(connection)
        shutil.copyfile(template.site.home / "checkpoint", copied.home / "checkpoint")
        assert places(self.audited(copied)) == made

    def test_the_trust_file_of_another_broker_fits_nothing(
        self, copied: Site, tmp_path: Path
    ) -> None:
        other = Site(tmp_path / "other")
        (tmp_path / "trust.json").write_bytes(trust_file(other.home))
        assert {one["column"] for one in self.audited(copied)} == {"note"}

    def test_a_genesis_that_the_trust_file_does_not_pin_is_named(self, copied: Site) -> None:
        file = copied.home.parent / "trust.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "genesis_sha256": "0" * 64}))
        assert places(self.audited(copied)) == {("entries", "0", "body")}

    def test_a_trust_file_is_for_a_folder(self) -> None:
        with redirect_stderr(io.StringIO()) as err:
            assert main(("audit", "verify", "--trust", "x")) == 2
        assert "--home FOLDER" in err.getvalue()


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
    signer = NoteSigner(ORIGIN, SigningKey.generate())
    store = Store(site.database, signer.verifier_key, ColumnDigests(bytes(32)))
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
        assert places(audited(rolled_back.home)) == {("entries", "2", "idx")}

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
