"""No broker, another server, a taken address or folder, a full disk."""

from __future__ import annotations

import re
import resource
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jupyter_aisec.people.keys import SigningKey
from tests.conftest import RunningBroker
from tests.faults.person import JOURNAL, Person, ok
from tests.faults.table import Row
from tests.scripted import Answer, Scripted

AtTerminal = Callable[[RunningBroker, str], Person]


@contextmanager
def started(person: Person, command: str, before: tuple[str, ...] = ()) -> Iterator[str]:
    """A broker, started in the foreground by a command as it is printed; its URL.

    ``before`` is a command that runs it: in a network of its own, say.
    """
    process = subprocess.Popen(
        [*before, "bash", "-c", f"exec {command}"],
        env=person.environment,
        cwd=person.folder,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        said = process.stdout.readline()
        running = re.match(r"The broker runs at (\S+) ", said)
        assert running, said
        JOURNAL.done(*shlex.split(command))
        yield running[1]
    finally:
        process.terminate()
        process.wait(30)
        process.stdout.close()


def test_no_broker(
    row: Row, unstarted: RunningBroker, at_terminal: AtTerminal, tmp_path: Path
) -> None:
    person = at_terminal(unstarted, "researcher")
    met = person.meets(row, "whoami")
    data = tmp_path / "data"
    (data / "jupyter-aisec").mkdir(parents=True)
    (data / "jupyter-aisec" / "broker").symlink_to(unstarted.home)  # where one is by default
    person.environment["XDG_DATA_HOME"] = str(data)
    start, elsewhere = met.commands(URL=unstarted.url)
    with started(person, start) as url:
        assert url == unstarted.url
        ok(person.run("whoami"))
        person.type(elsewhere)
        ok(person.run("whoami"))


def test_a_broker_on_another_machine_is_for_whoever_runs_it(researching: Person) -> None:
    researching.environment["AISEC_BROKER"] = "https://broker.invalid:8787"
    done = researching.run("whoami")
    assert done.returncode == 1
    assert "Ask whoever runs it to start it" in done.stderr


@pytest.mark.parametrize(
    "answer",
    [Answer(body=b"<html>"), Answer(404, b"no", "text/plain")],
    ids=["a page", "a plain 404"],
)
def test_not_a_broker(row: Row, researching: Person, scripted: Scripted, answer: Answer) -> None:
    scripted.script = [answer]
    researching.environment["AISEC_BROKER"] = scripted.url
    met = researching.meets(row, "whoami")
    met.follow(researching, URL=researching.broker.url)
    ok(researching.run("whoami"))


def test_address_malformed(row: Row, researching: Person) -> None:
    researching.environment["AISEC_BROKER"] = "127.0.0.1:8787"
    met = researching.meets(row, "whoami")
    met.follow(researching, URL=researching.broker.url)
    ok(researching.run("whoami"))


def starts(person: Person, arguments: tuple[str, ...]) -> None:
    with started(person, shlex.join(("aisec", *arguments))) as url:
        person.environment["AISEC_BROKER"] = url
        ok(person.run("whoami"))


def test_address_taken(row: Row, unstarted: RunningBroker, at_terminal: AtTerminal) -> None:
    person = at_terminal(unstarted, "approver")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        home = str(unstarted.home)
        met = person.meets(row, "broker", "start", "--home", home, "--listen", listen)
        starts(person, met.with_option())


def test_address_to_listen_malformed(
    row: Row, unstarted: RunningBroker, at_terminal: AtTerminal
) -> None:
    person = at_terminal(unstarted, "approver")
    home = str(unstarted.home)
    met = person.meets(row, "broker", "start", "--home", home, "--listen", "everywhere")
    starts(person, met.with_option())


def test_home_in_use(
    row: Row, broker: RunningBroker, researching: Person, unstarted: RunningBroker
) -> None:
    met = researching.meets(
        row, "broker", "start", "--home", str(broker.home), "--listen", "127.0.0.1:0"
    )
    ok(researching.run("whoami"))  # that one still answers
    other = Person(unstarted, "researcher", researching.folder)
    starts(other, met.with_option(FOLDER=str(unstarted.home)))


def test_no_broker_in_folder(row: Row, researching: Person, tmp_path: Path) -> None:
    key = tmp_path / "newcomer.pem"
    key.write_bytes(SigningKey.generate().public.pem())
    empty = str(tmp_path / "empty")
    met = researching.meets(row, "broker", "trust", "--home", empty)
    met.follow(researching, NAME="newcomer", FILE=str(key))
    ok(researching.run("broker", "trust", "--home", empty))


def limit_files(process: int, size: int) -> None:
    """As a full disk does: no file of that process grows beyond ``size`` bytes."""
    _, hard = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (size, hard))


@pytest.mark.parametrize("room", [0, 8192], ids=["none left", "a little left"])
def test_disk_full_at_the_broker(
    row: Row, broker: RunningBroker, approving: Person, grant: str, room: int
) -> None:
    """While it runs: nothing before is lost, nothing is half there, and it goes on after."""
    process = broker.process
    assert process is not None
    limit_files(process.pid, room)
    try:
        met = approving.meets(row, "grant", "approve", grant, "--yes")
        assert process.poll() is None
    finally:
        limit_files(process.pid, resource.RLIM_INFINITY)
    met.follow(approving)
    ok(approving.run("grant", "approve", grant, "--yes"))
    ok(approving.run("audit", "verify"))


SMALL = """
mkdir "$0" && mount -t tmpfs -o nr_inodes=200 none "$0" && cp -a "$1/." "$0"
shift
exec "$@"
"""


@pytest.fixture
def in_little_room(own_broker: RunningBroker) -> RunningBroker:
    """A broker whose home is a little file system, in a mount namespace of its own.

    ``home`` is where it is seen from outside.
    """
    own_broker.client("researcher").seal("dataset/x", {"x.csv": b"x\n"})
    own_broker.stop()
    made, room = own_broker.home, own_broker.folder / "room"
    own_broker.home = room
    alone = ("unshare", "--user", "--map-root-user", "--mount")
    own_broker.start(before=(*alone, "bash", "-c", SMALL, str(room), str(made)))
    assert own_broker.process is not None
    own_broker.home = Path(f"/proc/{own_broker.process.pid}/root{room}")
    return own_broker


def test_no_room_for_the_checkpoint(
    row: Row, in_little_room: RunningBroker, at_terminal: AtTerminal
) -> None:
    """The database has its files; for one more there is no room. Nothing is said until then."""
    person = at_terminal(in_little_room, "researcher")
    ok(person.run("login"))
    filling = []
    with pytest.raises(OSError, match="No space left"):  # noqa: PT012 - which one is the last
        while True:
            file = in_little_room.home / f"filling-{len(filling)}"
            file.touch()
            filling.append(file)
    assert filling
    request = ("grant", "request", "dataset/x", "--for", "1h", "--reason", "no room")
    assert person.run(*request).returncode == row.exit
    met = person.meets(row, "grant", "list")
    filling[0].unlink()
    met.follow(person)
    (asked,) = in_little_room.client("researcher").grants()
    assert asked.reason == "no room"  # it was in the ledger, and is told now
