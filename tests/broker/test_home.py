"""A broker's home: keys, genesis, settings, and the process that serves it."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from jupyter_aisec.broker import failpoints, genesis
from jupyter_aisec.broker.config import Config, load_config
from jupyter_aisec.broker.home import accept_rollback, audit_home
from jupyter_aisec.broker.keystore import EmbeddedKeyStore, open_key_store
from jupyter_aisec.broker.outside import OutsideCopies
from jupyter_aisec.broker.server import run_broker
from jupyter_aisec.broker.service import open_broker
from jupyter_aisec.broker.store import Store
from jupyter_aisec.broker.trust import trust_file
from jupyter_aisec.errors import AisecError, KeyStoreError, LedgerError, UsageError
from jupyter_aisec.files import write_private
from jupyter_aisec.grants.policy import DEFAULT_POLICY_TEXT
from jupyter_aisec.ledger.bodies import Founder
from jupyter_aisec.ledger.trust import parse_trust
from jupyter_aisec.people.keys import SigningKey
from tests.broker.world import BrokerProcess, Recorded, Site, problem, serve


class TestKeyStore:
    @pytest.fixture
    def store(self, tmp_path: Path) -> EmbeddedKeyStore:
        store = open_key_store(tmp_path / "home")
        store.create("test.example/ledger")
        return store

    def test_files_are_private_and_it_is_said_where(
        self, tmp_path: Path, store: EmbeddedKeyStore
    ) -> None:
        folder = tmp_path / "home" / "keys"
        assert str(folder) in store.where
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(one.stat().st_mode) for one in folder.iterdir()} == {0o600}

    def test_the_keys_stay_the_same(self, tmp_path: Path, store: EmbeddedKeyStore) -> None:
        again = open_key_store(tmp_path / "home")
        assert again.create("other").log.public == store.keys().log.public
        assert again.keys().origin == "test.example/ledger"

    @pytest.mark.parametrize("name", ["log", "broker", "model", "seal", "wrapping", "origin"])
    def test_a_lost_key_is_named(self, tmp_path: Path, store: EmbeddedKeyStore, name: str) -> None:
        (tmp_path / "home" / "keys" / name).unlink()
        use = (lambda: store.wrap(b"k" * 32, "s", "k")) if name == "wrapping" else store.keys
        with pytest.raises(KeyStoreError, match=name):
            use()

    def test_the_key_of_the_digests_is_the_homes_own_and_stays(
        self, tmp_path: Path, store: EmbeddedKeyStore
    ) -> None:
        key = store.digest_key()
        assert len(key) == 32
        assert key == open_key_store(tmp_path / "home").digest_key()
        assert key != (tmp_path / "home" / "keys" / "wrapping").read_bytes()
        other = open_key_store(tmp_path / "other")
        other.create("test.example/other")
        assert key != other.digest_key()

    def test_a_wrapped_key_unwraps_at_its_place_only(self, store: EmbeddedKeyStore) -> None:
        wrapped = store.wrap(b"k" * 32, "seal_A", "key_A")
        assert wrapped != store.wrap(b"k" * 32, "seal_A", "key_A")
        assert store.unwrap(wrapped, "seal_A", "key_A") == b"k" * 32
        for place in (("seal_B", "key_A"), ("seal_A", "key_B")):
            with pytest.raises(KeyStoreError):
                store.unwrap(wrapped, *place)
        for faulty in (b"", wrapped[:-1], b"\x02" + wrapped[1:], wrapped[:5]):
            with pytest.raises(KeyStoreError):
                store.unwrap(faulty, "seal_A", "key_A")


class TestGenesis:
    def test_home_and_trust_file(self, site: Site) -> None:
        assert stat.S_IMODE(site.home.stat().st_mode) == 0o700
        assert stat.S_IMODE(site.database.stat().st_mode) == 0o600
        assert parse_trust(trust_file(site.home)) == site.trust
        assert genesis.exists(site.home)
        assert audit_home(site.home) == []

    def test_there_is_only_one(self, site: Site) -> None:
        with pytest.raises(AisecError) as caught:
            Site(site.home)
        assert caught.value.code == "genesis-exists"

    def test_a_crash_before_it_is_written_can_be_repeated(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def crash(*_: object) -> None:
            raise RuntimeError

        with monkeypatch.context() as patch:
            patch.setattr(Store, "transaction", crash)
            with pytest.raises(RuntimeError):
                Site(tmp_path / "home")
        assert not genesis.exists(tmp_path / "home")
        with pytest.raises(LedgerError, match="no broker"):
            trust_file(tmp_path / "home")
        Site(tmp_path / "home")

    def test_a_crash_before_the_outside_copies_can_be_started(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(OutsideCopies, "write", lambda *_: None)
            site = Site(tmp_path / "home")
        with serve(site) as (api, _):
            api.token("researcher")
        assert audit_home(site.home) == []

    def test_an_empty_home(self, tmp_path: Path) -> None:
        for ask in (audit_home, accept_rollback, lambda home: open_broker(home, Config())):
            with pytest.raises(LedgerError) as caught:
                ask(tmp_path)
            assert caught.value.code == "genesis-missing"
        assert not genesis.exists(tmp_path)

    def test_a_policy_or_people_that_cannot_be(self, tmp_path: Path) -> None:
        person = Founder(name="researcher", roles=("researcher",), key=SigningKey.generate().public)
        with pytest.raises(AisecError) as caught:
            genesis.create(tmp_path / "a", [person])
        assert caught.value.code == "last-admin"
        assert not genesis.exists(tmp_path / "a")

    def test_an_outside_copy_that_is_none(self, site: Site) -> None:
        (site.home / "checkpoint").write_text("x")
        (finding,) = audit_home(site.home)
        assert finding.row == "copy in the home"
        assert "checkpoints row copy in the home column note" in str(finding)

    def test_an_outside_copy_that_is_gone(self, recorded: Recorded) -> None:
        (recorded.site.home / "checkpoint").unlink()
        (finding,) = audit_home(recorded.site.home)
        assert "missing" in finding.what

    def test_a_full_disk_refuses_and_loses_nothing(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        with serve(site) as (api, _):
            api.token("researcher")
            with monkeypatch.context() as patch:
                patch.setattr("jupyter_aisec.broker.outside.write_private", full)
                answer = api.send("GET", "/v1/whoami", person="researcher")
                assert answer.status_code == 200
                login = {"envelope": api.site.signed(_login(), "approver", nonce="n")}
                problem(api.send("POST", "/v1/sessions", login), 503, "checkpoint-copy-failed")
            api.token("approver")
            assert api.get("/v1/audit", "approver")["findings"] == []


def _login() -> type:
    from jupyter_aisec.grants.statements import Login

    return Login


def test_a_write_that_fails_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_private(path, b"old")

    def fail() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_private(path, b"new", before_rename=fail)
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("file", b"old")]


class TestConfig:
    def test_settings(self, tmp_path: Path) -> None:
        file = tmp_path / "broker.toml"
        file.write_text('store = "s3://bucket/x/"\nlease = "30s"\nsession = "1h"\n')
        config = load_config(file)
        assert config == Config(
            store="s3://bucket/x/", lease=timedelta(seconds=30), session=timedelta(hours=1)
        )

    @pytest.mark.parametrize(
        "text", ["x = 1", "lease = '2h'", "lease = 1", "store = 1", "store = 'x'", "="]
    )
    def test_mistakes(self, tmp_path: Path, text: str) -> None:
        file = tmp_path / "broker.toml"
        file.write_text(text)
        with pytest.raises(UsageError):
            load_config(file)

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError):
            load_config(tmp_path / "none")


class TestProcess:
    def test_it_says_where_it_listens_and_ends_on_sigterm(self, site: Site) -> None:
        with BrokerProcess(site) as process:
            api = process.wait_ready()
            assert api is not None
            address = json.loads((site.home / "broker.json").read_text())
            assert address["pid"] == process.process.pid
            assert stat.S_IMODE((site.home / "broker.json").stat().st_mode) == 0o600
            stream = api.send("GET", "/v1/events", person="researcher", stream=True)
            next(stream.iter_lines(chunk_size=1))
            with pytest.raises(AisecError) as caught:
                run_broker(site.home, "127.0.0.1:0")
            assert caught.value.code == "home-in-use"
            status, errors = process.stop()
            assert (status, errors) == (0, "")
        assert not (site.home / "broker.json").exists()

    @pytest.mark.parametrize("listen", ["nowhere", ":1", "127.0.0.1:x", "127.0.0.1:99999"])
    def test_an_address_that_is_none(self, site: Site, listen: str) -> None:
        with pytest.raises(UsageError) as caught:
            run_broker(site.home, listen)
        assert caught.value.code == "listen-invalid"

    def test_an_address_of_somebody_else(self, site: Site) -> None:
        with pytest.raises(UsageError) as caught:
            run_broker(site.home, "192.0.2.1:80")
        assert caught.value.code == "listen-failed"

    def test_another_policy_than_the_one_in_force(self, site: Site) -> None:
        other = DEFAULT_POLICY_TEXT.replace('longest = "4h"', 'longest = "2h"')
        with pytest.raises(AisecError) as caught:
            run_broker(site.home, "127.0.0.1:0", policy=other)
        assert caught.value.code == "policy-not-in-force"

    def test_ctrl_c_is_an_end_too(self, site: Site) -> None:
        with BrokerProcess(site) as process:
            assert process.wait_ready() is not None
            process.process.send_signal(signal.SIGINT)
            process.process.communicate(timeout=30)
            assert process.process.returncode == 0


class TestFailpoints:
    def test_settings(self) -> None:
        assert failpoints.parse_failpoints("keys.released=kill@3,append.done=kill") == {
            "keys.released": 3,
            "append.done": 1,
        }
        assert failpoints.parse_failpoints("") == {}

    @pytest.mark.parametrize(
        "text", ["x=kill", "append.done", "append.done=stop", "append.done=kill@0"]
    )
    def test_mistakes(self, text: str) -> None:
        with pytest.raises(UsageError):
            failpoints.parse_failpoints(text)


def test_the_face_is_light_and_whole() -> None:
    code = (
        "import sys, jupyter_aisec.broker as b; heavy = {'fastapi', 'sqlalchemy', 'pydantic'};"
        "print(sorted(heavy & set(sys.modules))); [getattr(b, name) for name in b.__all__]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    import jupyter_aisec.broker

    with pytest.raises(AttributeError):
        jupyter_aisec.broker.nothing  # noqa: B018
