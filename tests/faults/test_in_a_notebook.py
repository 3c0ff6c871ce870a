"""What a person meets in a notebook: sealed files that are not what they were, and seats."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from jupyter_aisec.client import Home
from tests.conftest import RunningBroker
from tests.faults.person import Met, Notebook, Person, grant_in, ledger, unchanged
from tests.faults.table import Row

MIB = 1024**2
SEGMENTS = os.urandom(3 * MIB + 5)


def test_nothing_asked(row: Row, notebook: Notebook, approving: Person, artifact: str) -> None:
    cell = f"%load_secure {artifact} as frame"
    met = notebook.meets(row, cell)
    asked = notebook.cell(*met.commands())
    approving.type(f"aisec grant approve {grant_in(asked)}")
    notebook.cell(cell)
    assert list(notebook.shell.user_ns["frame"]["x"]) == [1]


def test_still_pending(row: Row, notebook: Notebook, approving: Person, artifact: str) -> None:
    notebook.cell(f"%grant request {artifact} --for 1h --reason fault")
    cell = f"%load_secure {artifact} as frame --no-wait"
    notebook.follow(notebook.meets(row, cell), by=approving)
    notebook.cell(cell)
    assert list(notebook.shell.user_ns["frame"]["x"]) == [1]


def test_approved_in_a_notebook(
    row: Row, notebook: Notebook, approving: Person, artifact: str
) -> None:
    grant = grant_in(notebook.cell(f"%grant request {artifact} --for 1h --reason fault"))
    notebook.follow(notebook.meets(row, f"%grant approve {grant}"), by=approving)
    notebook.cell(f"%load_secure {artifact} as frame --no-wait")


# -- sealed files


class Sealed:
    """An artifact of four segments that this notebook may open, and its file at the store."""

    def __init__(self, notebook: Notebook, approving: Person, name: str, tmp_path: Path) -> None:
        self.notebook = notebook
        self.name = name
        self.source = tmp_path / "x.bytes"
        self.source.write_bytes(SEGMENTS)
        self.client = notebook.person.broker.client("researcher")
        self.client.seal(name, {"x.bytes": SEGMENTS})
        asked = notebook.ask(f"%grant request {name} --for 1h --reason fault")
        approving.type(f"aisec grant approve {asked}")

    def file(self, version: int | None = None) -> Path:
        url = self.client.artifact(self.name, version).url
        return Path(url.removeprefix("file://"), "0000.sealed")

    def loaded(self) -> None:
        self.notebook.cell(f"%load_secure {self.name} as data")
        self.notebook.holds("data", SEGMENTS)

    def damaged(self, row: Row, change: Callable[[bytes], bytes]) -> None:
        """It does not open and says why; sealed again as it says, it does."""
        file = self.file()
        file.write_bytes(change(file.read_bytes()))
        self.fails(row)

    def swapped(self, row: Row) -> None:
        """It lies in the place of another version's."""
        first = self.file()
        self.client.seal(self.name, {"x.bytes": SEGMENTS})
        self.damaged(row, lambda _: first.read_bytes())

    def fails(self, row: Row) -> None:
        person = self.notebook.person
        entries = len(ledger(person.broker))
        met: Met = self.notebook.opens_nothing(row, f"%load_secure {self.name} as data")
        assert list(person.folder.iterdir()) == []
        more = [entry[1] for entry in ledger(person.broker)[entries:]]
        assert set(more) <= {"seat.bound", "keys.released"}  # what was handed out is told
        self.notebook.follow(met, SRC=str(self.source), NAME=self.name)
        self.loaded()


@pytest.fixture
def sealed(
    notebook: Notebook, approving: Person, request: pytest.FixtureRequest, tmp_path: Path
) -> Sealed:
    name = f"dataset/{request.node.originalname.replace('_', '-')}"
    return Sealed(notebook, approving, name, tmp_path)


def reordered(data: bytes) -> bytes:
    """The second and the third segment have changed places."""
    return data[:MIB] + data[2 * MIB : 3 * MIB] + data[MIB : 2 * MIB] + data[3 * MIB :]


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "sealed-file-truncated": lambda data: data[:-1],
    "sealed-file-oversized": lambda data: data + b"\x00",
    "sealed-file-reordered": reordered,
    "sealed-file-changed": lambda data: data[:2000] + bytes([data[2000] ^ 1]) + data[2001:],
    "plaintext-instead": lambda _: b"x,y\n1,2\n",
}


def test_sealed_file_truncated(row: Row, sealed: Sealed) -> None:
    sealed.damaged(row, CHANGES[row.id])


def test_sealed_file_oversized(row: Row, sealed: Sealed) -> None:
    sealed.damaged(row, CHANGES[row.id])


def test_sealed_file_reordered(row: Row, sealed: Sealed) -> None:
    sealed.damaged(row, CHANGES[row.id])


def test_sealed_file_swapped(row: Row, sealed: Sealed) -> None:
    sealed.swapped(row)


def test_sealed_file_changed(row: Row, sealed: Sealed) -> None:
    sealed.damaged(row, CHANGES[row.id])


def test_sealed_file_missing(row: Row, sealed: Sealed) -> None:
    sealed.file().unlink()
    sealed.fails(row)


def test_plaintext_instead(row: Row, sealed: Sealed) -> None:
    sealed.damaged(row, CHANGES[row.id])


# -- tokens


THIEF = textwrap.dedent(
    """
    import sys
    from jupyter_aisec.cli.output import show_error
    from jupyter_aisec.client import BearerAuth, Http
    from jupyter_aisec.errors import AisecError
    url, token, grant, name, *flag = sys.argv[1:]
    http = Http(url, auth=BearerAuth(lambda: token))
    assert http.get("/v1/whoami")["person"] == "researcher"
    action = {"Aisec-Action": "action_01ARZ3NDEKTSV4RRFFQ69G5FAV"}
    try:
        http.post(f"/v1/grants/{grant}/keys", {"artifact": name}, action)
    except AisecError as error:
        show_error(error, bool(flag))
        sys.exit(error.exit_code)
    """
)


def test_token_copied(row: Row, sealed: Sealed, broker: RunningBroker) -> None:
    sealed.loaded()
    session = Home(broker.folder / "researcher").session()
    assert session is not None
    grant = sealed.client.grants()[0].id
    arguments = [broker.url, session.token, grant, sealed.name]
    told = []
    with unchanged(broker, sealed.notebook.person.folder, row, times=2):
        for flag in ([], ["--json"]):
            command = [sys.executable, "-c", THIEF, *arguments, *flag]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == row.exit, done
            assert session.token not in done.stdout + done.stderr
            told.append(done.stderr)
    assert msgspec.json.decode(told[1])["code"] == row.code
    met = Met(row, told[0].splitlines()[-1].removeprefix("  next: "))
    sealed.notebook.follow(met, NAME=sealed.name, VAR="again")
    assert bytes(sealed.notebook.shell.user_ns["again"]) == SEGMENTS
