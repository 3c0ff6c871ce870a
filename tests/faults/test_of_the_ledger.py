"""A database that somebody changed behind the broker's back, and brokers that are not the one."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec
import pytest

from jupyter_aisec.client import KernelClient
from jupyter_aisec.errors import AisecError
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.sealed.release import ReleaseKey
from tests.conftest import RunningBroker
from tests.faults.person import Person, ledger, ok
from tests.faults.table import Row

AtTerminal = Callable[[RunningBroker, str], Person]


@pytest.fixture(scope="module")
def kernel(broker: RunningBroker) -> Callable[[], bytes]:
    """A bound kernel, as a function that asks for the keys it may have."""
    researcher, approver = broker.client("researcher"), broker.client("approver")
    researcher.seal("dataset/kept", {"x.csv": b"x\n1\n"})
    grant = researcher.request(["dataset/kept"], 3600, "fault").id
    approver.approve(grant)
    key, release = SigningKey.generate(), ReleaseKey.generate()
    researcher.bind(
        grant,
        seat=researcher.read_request(researcher.grant(grant)).seat,
        kernel_key=key.public,
        release_key=release.public,
        isolation="none",
    )
    client = KernelClient(broker.url, key, release, researcher.trust, bearer=researcher.bearer)

    def keys() -> bytes:
        released = client.keys(grant, "dataset/kept", version=1).keys
        return b"".join(bytes(key.secret) for key in released.values())

    return keys


def back_up(broker: RunningBroker, to: Path) -> None:
    with (
        closing(sqlite3.connect(broker.home / "broker.sqlite")) as database,
        closing(sqlite3.connect(to)) as copy,
    ):
        database.backup(copy)


@contextmanager
def tampered(broker: RunningBroker, statement: str) -> Iterator[None]:
    """Something changes the database while the broker runs; at the end the backup is back."""
    file, backup = broker.home / "broker.sqlite", broker.folder / "backup.sqlite"
    back_up(broker, backup)
    with closing(sqlite3.connect(file)) as database:
        assert database.execute(statement).rowcount == 1
        database.commit()
    yield
    broker.stop()
    put(broker, backup)
    broker.restart()


def put(broker: RunningBroker, database: Path) -> None:
    """This database in the place of the stopped broker's."""
    for file in broker.home.glob("broker.sqlite*"):
        file.unlink()
    shutil.copyfile(database, broker.home / "broker.sqlite")


def check(
    row: Row, admin: Person, kernel: Callable[[], bytes], statement: str, place: tuple[str, str]
) -> None:
    """``place`` is the row and column that both audits name, and no other."""
    ok(admin.run("audit", "verify"))
    assert kernel()
    home = ("--home", str(admin.broker.home))
    with tampered(admin.broker, statement):
        for arguments in (("audit", "verify"), ("audit", "verify", *home)):
            met = admin.meets(row, *arguments)
            found = msgspec.json.decode(admin.run(*arguments, "--json").stdout)["findings"]
            named = [(one["table"], one["row"], one["column"]) for one in found]
            assert named == [("entries", *place)]
        entries = ledger(admin.broker)
        with pytest.raises(AisecError) as refused:
            kernel()  # nothing is released
        assert refused.value.code == row.code
        assert ledger(admin.broker) == entries
    met.follow(admin)
    assert kernel()


def test_row_edited(row: Row, approving: Person, kernel: Callable[[], bytes]) -> None:
    check(row, approving, kernel, "UPDATE entries SET at = '2020' WHERE idx = 2", ("2", "at"))


def test_row_hidden(row: Row, approving: Person, kernel: Callable[[], bytes]) -> None:
    check(row, approving, kernel, "DELETE FROM entries WHERE idx = 2", ("2", "idx"))


def test_row_added(row: Row, approving: Person, kernel: Callable[[], bytes]) -> None:
    forged = "SELECT 1000, at, type, salt, body, digests FROM entries WHERE idx = 2"
    check(row, approving, kernel, f"INSERT INTO entries {forged}", ("1000", "idx"))


def test_last_row_cut_off(row: Row, approving: Person, kernel: Callable[[], bytes]) -> None:
    last = len(ledger(approving.broker)) - 1
    place = (str(last), "idx")
    check(row, approving, kernel, f"DELETE FROM entries WHERE idx = {last}", place)


class Rolled:
    """A stopped broker whose database is of an earlier moment; the newest one is kept."""

    def __init__(self, broker: RunningBroker) -> None:
        self.broker = broker
        for name in ("researcher", "approver"):
            broker.client(name).whoami()
        self.older, self.newest = broker.folder / "older.sqlite", broker.folder / "newest.sqlite"
        back_up(broker, self.older)
        researcher = broker.client("researcher")
        researcher.seal("dataset/later", {"x.csv": b"x\n"})
        researcher.checkpoint()  # seen, and so not to be unseen
        back_up(broker, self.newest)
        broker.stop()
        self.outside = (broker.home / "checkpoint").read_bytes()
        put(broker, self.older)


def test_older_database(row: Row, own_broker: RunningBroker, at_terminal: AtTerminal) -> None:
    """Either way on: the entries are given up, or the backup is there after all."""
    rolled = Rolled(own_broker)
    home = str(own_broker.home)
    admin = at_terminal(own_broker, "approver")
    met = admin.meets(row, "broker", "start", "--home", home)
    put(own_broker, rolled.newest)
    ok(admin.run("audit", "verify", "--home", home))
    put(own_broker, rolled.older)
    met.follow(admin, FOLDER=home)
    own_broker.restart()
    ok(admin.run("audit", "verify", "--home", home))


def test_broker_rolled_back(row: Row, own_broker: RunningBroker, at_terminal: AtTerminal) -> None:
    """Whoever keeps the broker went on with less; those who had seen more are told."""
    rolled = Rolled(own_broker)
    home = str(own_broker.home)
    ok(own_broker.run("broker", "accept-rollback", "--yes", "--home", home))
    own_broker.restart()
    person = at_terminal(own_broker, "researcher")
    met = person.meets(row, "audit", "verify")
    own_broker.stop()
    put(own_broker, rolled.newest)
    (own_broker.home / "checkpoint").write_bytes(rolled.outside)
    own_broker.restart()
    met.follow(person)
    assert "dataset/later" in ok(person.run("artifact", "list")).stdout


def test_broker_made_anew(
    row: Row, broker: RunningBroker, researching: Person, own_broker: RunningBroker, tmp_path: Path
) -> None:
    researching.environment["AISEC_BROKER"] = own_broker.url
    met = researching.meets(row, "whoami")
    token = own_broker.add("newcomer", "researcher")
    met.follow(researching, FOLDER=str(tmp_path / "new"), TOKEN=token)
    ok(researching.run("whoami"))
