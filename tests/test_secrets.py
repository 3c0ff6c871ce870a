"""Where secrets lie: files, keyrings with every fault, and a real Secret Service."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keyring
import msgspec
import pytest

from jupyter_aisec.cli.children import child, read_json
from jupyter_aisec.errors import KeyStoreError, MalformedError
from jupyter_aisec.secrets import FileSecrets, KeyringSecrets, Secrets
from tests.conftest import AISEC
from tests.kernel.conftest import SecureKernel
from tests.secret_service import secret_service

SECRET = b"very secret \x00\xff"


class FaultyKeyring:
    """A keyring with a fault: a real one does not drop, refuse or garble when it is asked to.

    No KeyringBackend: keyring finds every subclass by itself, and other tests would use it.
    """

    name = "Faulty"
    priority = 5

    def __init__(self, fault: str = "") -> None:
        self.items: dict[tuple[str, str], str] = {}
        self.fault = fault

    def get_password(self, service: str, username: str) -> str | None:
        self._refuse("locked")
        return None if self.fault == "drops" else self.items.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self._refuse("locked")
        self.items[service, username] = password

    def delete_password(self, service: str, username: str) -> None:
        del self.items[service, username]

    def _refuse(self, fault: str) -> None:
        if self.fault == fault:
            raise RuntimeError("locked: very secret")


def use(monkeypatch: pytest.MonkeyPatch, backend: Any) -> None:
    monkeypatch.setattr(keyring, "get_keyring", lambda: backend)


@pytest.fixture
def secrets(tmp_path: Path) -> Secrets:
    return Secrets(tmp_path / "home" / "secrets")


class TestFiles:
    def test_what_is_written_comes_back_and_only_its_owner_can_read_it(
        self, tmp_path: Path, secrets: Secrets
    ) -> None:
        assert secrets.read("key") is None
        secrets.delete("key")
        assert list(tmp_path.iterdir()) == []  # asking makes nothing
        secrets.write("key", SECRET)
        again = Secrets(tmp_path / "home" / "secrets")
        assert again.read("key") == SECRET
        assert again.kind == "file"
        assert str(tmp_path / "home" / "secrets") in again.where
        for path in tmp_path.rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
        again.delete("key")
        again.delete("key")
        assert secrets.read("key") is None

    def test_one_that_others_can_read_is_not_used(self, tmp_path: Path, secrets: Secrets) -> None:
        secrets.write("key", SECRET)
        (tmp_path / "home" / "secrets" / "key").chmod(0o644)
        with pytest.raises(KeyStoreError, match="chmod 600") as caught:
            secrets.read("key")
        assert caught.value.code == "secret-readable"

    def test_one_behind_a_link_is_not_followed(self, tmp_path: Path) -> None:
        FileSecrets(tmp_path / "other").write("key", b"planted")
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "key").symlink_to(tmp_path / "other" / "key")
        with pytest.raises(KeyStoreError, match="cannot be read") as caught:
            FileSecrets(tmp_path / "home").read("key")
        assert caught.value.code == "secret-unreadable"

    def test_a_folder_where_one_should_be_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "home" / "key").mkdir(parents=True)
        place = FileSecrets(tmp_path / "home")
        for blocked in (lambda: place.read("key"), lambda: place.delete("key")):
            with pytest.raises(KeyStoreError, match=r"home/key cannot be .*: ") as caught:
                blocked()
            assert caught.value.code in ("secret-unwritable", "secret-unreadable")

    @pytest.mark.parametrize("blocked", ["home", "home/secrets", "home/secrets.json"])
    def test_a_place_that_cannot_be_written(
        self, tmp_path: Path, secrets: Secrets, blocked: str
    ) -> None:
        path = tmp_path / blocked
        path.parent.mkdir(exist_ok=True)
        if path.suffix:  # it is looked for before it is written
            secrets.write("key", SECRET)
            path.unlink()
            path.mkdir()
            secrets = Secrets(tmp_path / "home" / "secrets")
        else:
            path.write_text("in the way")
        with pytest.raises(KeyStoreError, match="AISEC_HOME") as caught:
            secrets.write("key", SECRET)
        assert caught.value.code in ("secret-unwritable", "secret-unreadable")

    def test_a_full_disk_leaves_what_was_there(
        self, secrets: Secrets, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        secrets.write("key", SECRET)

        def full(descriptor: int) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(KeyStoreError, match="No space left"):
                secrets.write("key", b"new")
        assert secrets.read("key") == SECRET

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"kind":"cloud","service":""}'])
    def test_a_choice_that_cannot_be_read_is_named(
        self, tmp_path: Path, secrets: Secrets, content: bytes
    ) -> None:
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "secrets.json").write_bytes(content)
        with pytest.raises(MalformedError, match=r"secrets\.json"):
            secrets.read("key")


class TestKeyring:
    @pytest.mark.parametrize("fault", ["drops", "locked", "no priority", "no backend"])
    def test_one_that_keeps_nothing_is_not_used(
        self, secrets: Secrets, monkeypatch: pytest.MonkeyPatch, fault: str
    ) -> None:
        backend = FaultyKeyring(fault)
        use(monkeypatch, backend)
        if fault == "no priority":
            monkeypatch.setattr(backend, "priority", 0, raising=False)
        if fault == "no backend":
            monkeypatch.setattr(keyring, "get_keyring", backend.delete_password)
        secrets.write("key", SECRET)
        assert secrets.kind == "file"
        assert backend.items == {} or fault == "drops"

    def test_a_home_that_decided_stays_where_it_is(
        self, tmp_path: Path, secrets: Secrets, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        secrets.write("key", SECRET)
        use(monkeypatch, FaultyKeyring())
        assert Secrets(tmp_path / "home" / "secrets").kind == "file"
        other = Secrets(tmp_path / "other" / "secrets")
        assert other.kind == "keyring"  # it would be
        assert other.read("key") is None
        other.write("key", SECRET)
        assert [path.name for path in (tmp_path / "other").iterdir()] == ["secrets.json"]
        use(monkeypatch, FaultyKeyring("no priority"))
        monkeypatch.setattr(FaultyKeyring, "priority", 0)
        with pytest.raises(KeyStoreError, match="which is not there") as caught:
            Secrets(tmp_path / "other" / "secrets").read("key")
        assert caught.value.code == "keyring-missing"

    def test_two_homes_share_no_item(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        backend = FaultyKeyring()
        use(monkeypatch, backend)
        one, other = Secrets(tmp_path / "a" / "secrets"), Secrets(tmp_path / "b" / "secrets")
        one.write("key", SECRET)
        other.write("key", b"another")
        assert (one.read("key"), other.read("key")) == (SECRET, b"another")
        one.delete("key")
        assert (one.read("key"), other.read("key")) == (None, b"another")
        assert len(backend.items) == 1

    @pytest.mark.parametrize(
        ("fault", "code"), [("drops", "keyring-drops"), ("locked", "keyring-failed")]
    )
    def test_one_that_stops_working_is_an_error_that_repeats_no_secret(
        self, fault: str, code: str
    ) -> None:
        with pytest.raises(KeyStoreError) as caught:
            KeyringSecrets(FaultyKeyring(fault), "s").write("key", SECRET)  # type: ignore[arg-type]
        assert caught.value.code == code
        assert "very secret" not in str(caught.value)

    def test_an_item_that_is_not_ours(self) -> None:
        backend = FaultyKeyring()
        backend.items["s", "key"] = "not base64!"
        with pytest.raises(KeyStoreError) as caught:
            KeyringSecrets(backend, "s").read("key")  # type: ignore[arg-type]
        assert caught.value.code == "keyring-failed"


LOCKED = """
import sys, pathlib, secretstorage
from jupyter_aisec.errors import KeyStoreError
from jupyter_aisec.secrets import Secrets

secrets = Secrets(pathlib.Path(sys.argv[1]))
secrets.write("key", b"secret")
assert secrets.kind == "keyring"
assert secrets.read("key") == b"secret"
secretstorage.get_default_collection(secretstorage.dbus_init()).lock()
try:
    secrets.read("key")
except KeyStoreError as error:
    print(error.code)
"""
TRY_THE_BUS = """
import os, socket
assert "DBUS_SESSION_BUS_ADDRESS" not in os.environ
path = "{}".partition("=")[2].partition(",")[0]
try:
    socket.socket(socket.AF_UNIX).connect(path)
except OSError as error:
    print("refused:", error)
"""


class Login:
    """A log-in with a keyring in which the quickstart runs."""

    def __init__(self, environment: dict[str, str], folder: Path, keys: str) -> None:
        self.environment = environment
        self.folder = folder
        self.keys = keys  # where the broker says its own are

    def aisec(
        self, person: str, *arguments: str, **changed: str
    ) -> subprocess.CompletedProcess[str]:
        home = {"AISEC_HOME": str(self.folder / person)}
        return subprocess.run(
            [*AISEC, *arguments, "--json"],
            env={**self.environment, **home, **changed},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="class")
def login(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Login]:
    folder = tmp_path_factory.mktemp("log-in")
    with secret_service(folder) as environment:
        arguments = [*AISEC, "quickstart", "--no-lab", "--json", "--home", str(folder / "demo")]
        with (
            (folder / "said").open("w") as said,
            child(arguments, environment, stdout=subprocess.PIPE, stderr=said) as process,
        ):
            assert process.stdout is not None
            started = read_json(process.stdout)
            assert started is not None, (folder / "said").read_text()
            environment["AISEC_BROKER"] = started["broker"]
            yield Login(environment, folder / "demo", started["keys"])


class TestSecretService:
    """The walk's processes with a real keyring: client, broker and keeper each reach it."""

    def test_no_secret_is_in_a_file(self, login: Login) -> None:
        assert "keys are in files" not in (login.folder.parent / "said").read_text()
        assert login.keys.startswith("the operating system's keyring")
        for home, choice in (
            ("researcher", "secrets"),
            ("approver", "secrets"),
            ("broker", "keys"),
        ):
            said = msgspec.json.decode((login.folder / home / f"{choice}.json").read_bytes())
            assert said["kind"] == "keyring"
            assert not (login.folder / home / choice).exists()
        assert login.aisec("researcher", "whoami").returncode == 0

    def test_without_the_session_it_is_said(self, login: Login) -> None:
        said = login.aisec("researcher", "whoami", DBUS_SESSION_BUS_ADDRESS="unix:path=/none")
        assert said.returncode == 1
        assert msgspec.json.decode(said.stderr)["code"] == "keyring-missing"

    def test_the_keeper_reaches_it_and_the_kernel_does_not(
        self, login: Login, tmp_path: Path
    ) -> None:
        world = SimpleNamespace(
            environment=lambda: {
                **login.environment,
                "AISEC_HOME": str(login.folder / "researcher"),
            }
        )
        kernel = SecureKernel(world, tmp_path, guarded=True)  # type: ignore[arg-type]
        try:
            kernel.start()
            kernel.run('%grant request dataset/digits --for 1h --reason "a test"').ok()
            assert login.aisec("approver", "grant", "approve").returncode == 0
            kernel.run("%load_secure dataset/digits as df").ok()
            assert "(1797, 65)" in kernel.run("print(df.shape)").ok().text
            tried = kernel.run(TRY_THE_BUS.format(login.environment["DBUS_SESSION_BUS_ADDRESS"]))
            assert "refused" in tried.ok().text
        finally:
            kernel.stop()


def test_a_locked_secret_service_is_said(tmp_path: Path) -> None:
    with secret_service(tmp_path) as environment:
        said = subprocess.run(
            [sys.executable, "-c", LOCKED, str(tmp_path / "home")],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
    assert said.stdout == "keyring-failed\n"
