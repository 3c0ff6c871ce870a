from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from jupyter_aisec.client.home import DEFAULT_BROKER, Account, Home, Session, take_token
from jupyter_aisec.errors import IdentityError, KeyStoreError, MalformedError
from jupyter_aisec.people.keys import SigningKey

SESSION = Session(token="very-secret-token", expires="2030-01-01T00:00:00.000Z", person="person-a")


@pytest.fixture(autouse=True)
def _no_other_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AISEC_HOME", raising=False)
    monkeypatch.delenv("AISEC_BROKER", raising=False)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_an_empty_home_says_how_to_get_a_key(home: Home) -> None:
    assert home.account() == Account()
    assert home.session() is None
    assert home.trust() is None
    assert home.checkpoint() is None
    assert home.broker() == DEFAULT_BROKER
    assert not home.has_key()
    with pytest.raises(IdentityError, match="aisec login --token") as caught:
        home.key()
    assert caught.value.code == "no-key"


def test_what_is_kept_comes_back_and_only_its_owner_can_read_it(home: Home) -> None:
    key = SigningKey.generate()
    home.keep_key(key)
    home.keep_session(SESSION)
    home.keep_account(Account(person="person-a", broker="https://broker.example"))
    home.keep_checkpoint("a note — signed\n")

    again = Home(home.folder)
    assert again.key().public == key.public
    assert again.session() == SESSION
    assert again.account().person == "person-a"
    assert again.broker() == "https://broker.example"
    assert again.checkpoint() == "a note — signed\n"
    for path in [home.folder, *home.folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path

    again.keep_session(None)
    assert home.session() is None


def test_a_page_key_is_made_once_and_a_broken_one_again(home: Home) -> None:
    key = home.page_key()
    assert len(key) == 32
    assert Home(home.folder).page_key() == home.page_key() == key
    (file,) = home.folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_bytes(b"")
    assert home.page_key() not in (key, b"")


def test_neither_home_nor_session_show_a_secret(home: Home) -> None:
    assert "very-secret-token" not in f"{home!r} {SESSION!r} {SESSION}"


def test_the_environment_names_home_and_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AISEC_HOME", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("AISEC_BROKER", "https://other.example")
    assert Home().folder == tmp_path / "elsewhere"
    assert Home().broker() == "https://other.example"


def test_without_aisec_home_the_platform_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert Home().folder == Path("/data/jupyter-aisec")


def test_the_token_is_taken_out_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AISEC_TOKEN", "t")
    assert take_token() == "t"
    assert "AISEC_TOKEN" not in os.environ
    assert take_token() is None


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"person": 1}', b"\xff"])
def test_a_broken_account_file_is_named(home: Home, content: bytes) -> None:
    home.folder.mkdir()
    (home.folder / "account.json").write_bytes(content)
    with pytest.raises(MalformedError, match=r"account\.json.*aisec login"):
        home.account()


def test_a_home_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    home = Home(tmp_path / "file")
    with pytest.raises(KeyStoreError, match="AISEC_HOME") as caught:
        home.keep_account(Account(person="person-a"))
    assert caught.value.code == "home-unwritable"
    with pytest.raises(KeyStoreError, match="AISEC_HOME"):
        home.account()


def test_a_write_that_fails_leaves_what_was_there(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.keep_checkpoint("old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyStoreError, match="No space left"):
        home.keep_checkpoint("new")
    assert home.checkpoint() == "old"
    assert [path.name for path in home.folder.iterdir()] == ["checkpoint"]
