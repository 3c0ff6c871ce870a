"""Each row of faults.toml: provoked on real parts, read, and its advice followed until it helps."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jupyter_aisec.client import Home, KernelClient, PersonClient
from jupyter_aisec.errors import AisecError
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.sealed import DataKey, UrlFolder, open_artifact
from jupyter_aisec.sealed.release import ReleaseKey
from tests.conftest import RunningBroker
from tests.faults.make_docs import DOCS, faults, page
from tests.scripted import Answer, Scripted

ROWS = {row["id"]: row for row in faults()}
MANY_SEGMENTS = os.urandom(3 * 1024**2 + 5)
Process = subprocess.CompletedProcess[str]


class Row:
    """What the table says about the fault that a test is named for."""

    def __init__(self, row: dict[str, Any]) -> None:
        self.row = row

    def check(self, done: Process) -> None:
        """A command that met the fault: code, exit code, advice; two lines, no traceback."""
        assert done.returncode == self.row["exit"], done
        assert "Traceback" not in done.stderr
        if "--json" in done.args:
            problem = msgspec.json.decode(done.stderr.splitlines()[-1])
            assert problem["code"] == self.row["code"], problem
            assert self.row["next"] in problem["next"], problem
        else:
            assert self.row["next"] in done.stderr.splitlines()[-1]

    @contextmanager
    def raised(self) -> Iterator[None]:
        """The same for what a notebook meets."""
        with pytest.raises(AisecError) as caught:
            yield
        error = caught.value
        assert (error.code, error.exit_code) == (self.row["code"], self.row["exit"]), error
        assert self.row["next"] in error.next, error.next


@pytest.fixture
def row(request: pytest.FixtureRequest) -> Row:
    return Row(ROWS[request.node.originalname.removeprefix("test_").replace("_", "-")])


def test_the_page_is_the_table() -> None:
    assert DOCS.read_text() == page(), "run: python -m tests.faults.make_docs"


def test_every_row_has_its_test() -> None:
    named = {name.removeprefix("test_").replace("_", "-") for name in globals()}
    assert set(ROWS) <= named


def helped(done: Process) -> Process:
    assert done.returncode == 0, done
    return done


# -- the broker


def test_no_broker(row: Row, own_broker: RunningBroker) -> None:
    own_broker.stop()
    row.check(own_broker.run("whoami", "--json", person="researcher"))
    row.check(own_broker.run("whoami", person="researcher"))
    own_broker.start(own_broker.url.removeprefix("http://"))  # aisec broker start
    helped(own_broker.run("whoami", person="researcher"))


def test_not_a_broker(row: Row, broker: RunningBroker, scripted: Scripted) -> None:
    scripted.script = [Answer(body=b"<html>")]
    row.check(broker.run("whoami", "--json", person="researcher", AISEC_BROKER=scripted.url))
    helped(broker.run("whoami", person="researcher", AISEC_BROKER=broker.url))


# -- who is asking


def test_wrong_token(row: Row, broker: RunningBroker) -> None:
    done = broker.run("whoami", "--json", person="researcher", AISEC_TOKEN="wrong-token")
    row.check(done)
    assert "wrong-token" not in done.stderr
    helped(broker.run("login", person="researcher"))
    helped(broker.run("whoami", person="researcher"))


def test_not_logged_in(row: Row, broker: RunningBroker) -> None:
    row.check(broker.run("whoami", "--json", person="nina"))
    helped(broker.run("login", "--token", broker.add("nina", "researcher"), person="nina"))
    helped(broker.run("whoami", person="nina"))


# -- deciding


@pytest.fixture
def grant(researcher: PersonClient, request: pytest.FixtureRequest) -> str:
    """A pending request for an artifact of this test alone."""
    name = artifact_of(request)
    researcher.seal(name, {"x.csv": b"x\n1\n"})
    return researcher.request([name], 3600, "fault").id


def artifact_of(request: pytest.FixtureRequest) -> str:
    return f"dataset/{request.node.originalname.replace('_', '-')}"


def approve(broker: RunningBroker, grant: str, person: str = "approver") -> Process:
    return broker.run("grant", "approve", grant, "--yes", "--json", person=person)


def test_requester_approves(row: Row, broker: RunningBroker, grant: str) -> None:
    row.check(approve(broker, grant, "researcher"))
    helped(approve(broker, grant))


def test_approved_twice(row: Row, broker: RunningBroker, grant: str) -> None:
    helped(approve(broker, grant))
    row.check(approve(broker, grant))
    assert "1 of 1" in helped(broker.run("grant", "show", grant, person="approver")).stdout


def test_approved_after_the_end(row: Row, broker: RunningBroker, grant: str) -> None:
    helped(broker.run("grant", "withdraw", grant, person="researcher"))
    row.check(approve(broker, grant))
    arguments = ("grant", "extend", grant, "--for", "1h", "--reason", "again", "--json")
    again = helped(broker.run(*arguments, person="researcher"))
    helped(approve(broker, msgspec.json.decode(again.stdout)["id"]))


def test_request_changed(
    row: Row, broker: RunningBroker, approver: PersonClient, grant: str
) -> None:
    approval = approver.prepare_approval(approver.grant(grant))
    with row.raised():
        approver.send_approval(msgspec.structs.replace(approval, request_sha256="00" * 32))
    assert "pending" in helped(broker.run("grant", "show", grant, person="approver")).stdout
    helped(approve(broker, grant))


def test_request_shown_differently(
    row: Row, broker: RunningBroker, approver: PersonClient, grant: str
) -> None:
    view = msgspec.structs.replace(approver.grant(grant), reason="something harmless")
    with row.raised():
        approver.prepare_approval(view)
    helped(broker.run("audit", "verify", person="approver"))


# -- artifacts


def test_artifact_unknown(row: Row, broker: RunningBroker, researcher: PersonClient) -> None:
    row.check(broker.run("artifact", "show", "dataset/none", "--json", person="researcher"))
    arguments = ("grant", "request", "dataset/none", "--for", "1h", "--reason", "r", "--json")
    row.check(broker.run(*arguments, person="researcher"))
    researcher.seal("dataset/some", {"x.csv": b"x\n"})
    assert "dataset/some" in broker.run("artifact", "list", person="researcher").stdout


def bound(researcher: PersonClient, grant: str) -> KernelClient:
    """A kernel that took the seat of an approved grant."""
    key, release = SigningKey.generate(), ReleaseKey.generate()
    researcher.bind(
        grant,
        seat=researcher.read_request(researcher.grant(grant)).seat,
        kernel_key=key.public,
        release_key=release.public,
        isolation="none",
    )
    return KernelClient(researcher.http.url, key, release, researcher.trust)


class Loader:
    """An artifact of three segments, and a kernel that may open it."""

    def __init__(self, broker: RunningBroker, name: str) -> None:
        self.broker = broker
        self.name = name
        self.researcher = broker.client("researcher")
        self.seal()
        self.grant = self.researcher.request([name], 3600, "fault").id
        broker.client("approver").approve(self.grant)
        self.kernel = bound(self.researcher, self.grant)
        self.kernel_bearer()

    def kernel_bearer(self) -> None:
        self.kernel = KernelClient(
            self.researcher.http.url,
            self.kernel.key,
            self.kernel.release_key,
            self.researcher.trust,
            bearer=self.researcher.bearer,
        )

    def seal(self) -> None:
        self.researcher.seal(self.name, {"x.bytes": MANY_SEGMENTS})

    def file(self, version: int | None = None) -> Path:
        view = self.researcher.artifact(self.name, version)
        return Path(view.url.removeprefix("file://"), "0000.sealed")

    def load(self) -> bytes:
        view = self.kernel.artifact(self.name)
        release = self.kernel.keys(self.grant, self.name, version=view.version)
        keys = {key_id: DataKey(secret) for key_id, secret in release.keys.items()}
        with open_artifact(view.manifest, lambda _: keys, UrlFolder(view.url)) as opened:
            return bytes(opened.read("x.bytes"))


@pytest.fixture
def loader(broker: RunningBroker, request: pytest.FixtureRequest) -> Loader:
    return Loader(broker, artifact_of(request))


def damage(loader: Loader, how: Callable[[bytes], bytes]) -> None:
    file = loader.file()
    file.write_bytes(how(file.read_bytes()))


def seal_again(loader: Loader, tmp_path: Path) -> None:
    """What the advice says, on the command line; then the new version loads."""
    (tmp_path / "x.bytes").write_bytes(MANY_SEGMENTS)
    source = str(tmp_path / "x.bytes")
    helped(loader.broker.run("artifact", "seal", source, loader.name, person="researcher"))
    assert loader.load() == MANY_SEGMENTS


def test_sealed_file_truncated(row: Row, loader: Loader, tmp_path: Path) -> None:
    damage(loader, lambda data: data[:-1])
    with row.raised():
        loader.load()
    seal_again(loader, tmp_path)


def test_sealed_file_oversized(row: Row, loader: Loader, tmp_path: Path) -> None:
    damage(loader, lambda data: data + b"\x00")
    with row.raised():
        loader.load()
    seal_again(loader, tmp_path)


def test_sealed_file_reordered(row: Row, loader: Loader, tmp_path: Path) -> None:
    mib = 1024**2
    damage(
        loader,
        lambda data: data[:mib] + data[2 * mib : 3 * mib] + data[mib : 2 * mib] + data[3 * mib :],
    )
    with row.raised():
        loader.load()
    seal_again(loader, tmp_path)


def test_sealed_file_swapped(row: Row, loader: Loader, tmp_path: Path) -> None:
    loader.seal()
    damage(loader, lambda _: loader.file(1).read_bytes())
    with row.raised():
        loader.load()
    seal_again(loader, tmp_path)


def test_sealed_file_changed(row: Row, loader: Loader, tmp_path: Path) -> None:
    damage(loader, lambda data: data[:2000] + bytes([data[2000] ^ 1]) + data[2001:])
    with row.raised():
        loader.load()
    seal_again(loader, tmp_path)


def test_plaintext_instead(row: Row, loader: Loader, tmp_path: Path) -> None:
    damage(loader, lambda _: b"x,y\n1,2\n")
    with row.raised():
        loader.load()
    seal_again(loader, tmp_path)


def test_pickle(row: Row, broker: RunningBroker, tmp_path: Path) -> None:
    make = "import torch; torch.save({'w': torch.ones(3)}, 'model.pt')"
    subprocess.run([sys.executable, "-c", make], cwd=tmp_path, check=True)
    model = str(tmp_path / "model.pt")
    done = broker.run("artifact", "seal", model, "weights/pickled", "--json", person="researcher")
    row.check(done)
    advice = msgspec.json.decode(done.stderr.splitlines()[-1])["next"]
    command = shlex.split(re.search(r"python -c .*", advice)[0])  # type: ignore[index]
    subprocess.run([sys.executable, *command[1:]], cwd=tmp_path, check=True)
    converted = str(tmp_path / command[-1])
    helped(broker.run("artifact", "seal", converted, "weights/pickled", person="researcher"))


# -- kernels


def test_kernel_not_bound(row: Row, loader: Loader) -> None:
    stranger = KernelClient(
        loader.broker.url, SigningKey.generate(), ReleaseKey.generate(), loader.kernel.trust
    )
    with row.raised():
        stranger.keys(loader.grant, loader.name)
    again = bound(loader.researcher, loader.grant)  # as a kernel does when it starts again
    assert again.keys(loader.grant, loader.name).keys


def test_token_copied(row: Row, loader: Loader) -> None:
    """Another process has the token, and so passes as the person; it has no bound key."""
    script = textwrap.dedent(
        """
        import sys
        from jupyter_aisec.client import BearerAuth, Http
        from jupyter_aisec.cli.output import show_error
        from jupyter_aisec.errors import AisecError
        url, token, grant, name, action = sys.argv[1:6]
        http = Http(url, auth=BearerAuth(lambda: token))
        assert http.get("/v1/whoami")
        try:
            http.post(f"/v1/grants/{grant}/keys", {"artifact": name}, {"Aisec-Action": action})
        except AisecError as error:
            show_error(error, True)
            sys.exit(error.exit_code)
        """
    )
    session = loader.researcher.home.session()
    assert session is not None
    action = "action_01ARZ3NDEKTSV4RRFFQ69G5FAV"
    arguments = [loader.broker.url, session.token, loader.grant, loader.name, action, "--json"]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False
    )
    row.check(done)
    assert session.token not in done.stderr
    assert loader.load() == MANY_SEGMENTS


# -- the broker's database


def tamper(broker: RunningBroker, *statements: str) -> Path:
    """A backup of the database, which then somebody changes behind the broker's back."""
    file = broker.home / "broker.sqlite"
    backup = broker.folder / "backup.sqlite"
    with closing(sqlite3.connect(file)) as database:
        with closing(sqlite3.connect(backup)) as copy:
            database.backup(copy)
        for statement in statements:
            assert database.execute(statement).rowcount == 1, statement
        database.commit()
    return backup


def restore(broker: RunningBroker, backup: Path) -> None:
    broker.stop()
    for file in broker.home.glob("broker.sqlite*"):
        file.unlink()
    shutil.copyfile(backup, broker.home / "broker.sqlite")
    broker.start(broker.url.removeprefix("http://"))


def check_tampered(row: Row, broker: RunningBroker, *statements: str) -> None:
    loader = Loader(broker, "dataset/tampered")
    home = str(broker.home)
    helped(broker.run("audit", "verify", "--home", home))
    backup = tamper(broker, *statements)
    for done in (
        broker.run("audit", "verify", "--json", person="approver"),
        broker.run("audit", "verify", "--json", "--home", home),
    ):
        row.check(done)
        finding = msgspec.json.decode(done.stdout)["findings"][0]
        assert finding["table"] == "entries"
        assert finding["column"]
    with pytest.raises(AisecError) as caught:
        loader.load()
    assert caught.value.code == row.row["code"]
    restore(broker, backup)
    helped(broker.run("audit", "verify", person="approver"))
    assert loader.load() == MANY_SEGMENTS


def test_row_edited(row: Row, own_broker: RunningBroker) -> None:
    check_tampered(row, own_broker, "UPDATE entries SET at = '2020' WHERE idx = 2")


def test_row_hidden(row: Row, own_broker: RunningBroker) -> None:
    check_tampered(row, own_broker, "DELETE FROM entries WHERE idx = 2")


def test_row_added(row: Row, own_broker: RunningBroker) -> None:
    forged = "SELECT 1000, at, type, salt, body, digests FROM entries WHERE idx = 2"
    check_tampered(row, own_broker, f"INSERT INTO entries {forged}")


def roll_back(broker: RunningBroker) -> None:
    """The database of an earlier moment, put in the place of today's."""
    broker.stop()
    older = broker.folder / "older.sqlite"
    shutil.copyfile(broker.home / "broker.sqlite", older)
    broker.start(broker.url.removeprefix("http://"))
    researcher = broker.client("researcher")
    researcher.seal("dataset/later", {"x.csv": b"x\n"})
    researcher.checkpoint()  # seen, and so not to be unseen
    broker.stop()
    for file in broker.home.glob("broker.sqlite*"):
        file.unlink()
    shutil.copyfile(older, broker.home / "broker.sqlite")


def test_rows_cut_off(row: Row, own_broker: RunningBroker) -> None:
    own_broker.client("researcher").login()
    roll_back(own_broker)
    home = str(own_broker.home)
    row.check(own_broker.run("broker", "start", "--json", "--home", home))
    helped(own_broker.run("broker", "accept-rollback", "--yes", "--home", home))
    own_broker.start(own_broker.url.removeprefix("http://"))
    helped(own_broker.run("audit", "verify", "--home", home))


def test_broker_rolled_back(row: Row, own_broker: RunningBroker) -> None:
    """Whoever keeps the broker accepts the loss; those who saw more are told."""
    own_broker.client("researcher").login()
    roll_back(own_broker)
    home = str(own_broker.home)
    helped(own_broker.run("broker", "accept-rollback", "--yes", "--home", home))
    own_broker.start(own_broker.url.removeprefix("http://"))
    row.check(own_broker.run("login", "--json", person="researcher"))
    helped(own_broker.run("audit", "verify", "--home", home))


def test_broker_made_anew(row: Row, broker: RunningBroker, own_broker: RunningBroker) -> None:
    broker.client("researcher").login()
    row.check(broker.run("whoami", "--json", person="researcher", AISEC_BROKER=own_broker.url))
    token = own_broker.add("zoe", "researcher")
    fresh = str(Home(own_broker.folder / "fresh").folder)
    helped(own_broker.run("login", "--token", token, AISEC_HOME=fresh))
