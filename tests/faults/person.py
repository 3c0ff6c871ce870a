"""A person at a terminal and in a notebook: meets a fault, reads it, does what it says.

Advice stands in backticks. A command is run as it is printed: in a shell of its own through
the ``aisec`` entry point, or as a cell where it begins with ``%``. An option (``--for 45m``)
is given to the command that failed. Words in capitals (``TOKEN``, ``FOLDER``) are for the
reader to fill in. The journal notes all of it, and the fixture ``row`` holds it to the table.
"""

from __future__ import annotations

import functools
import io
import os
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import msgspec
from IPython.core.interactiveshell import InteractiveShell

from tests.conftest import RunningBroker
from tests.faults.following import Journal, commands, fill, words
from tests.faults.table import Row

Process = subprocess.CompletedProcess[str]
_SHELL = {"&&", "||", "|", ">", "<", "&"}
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


JOURNAL = Journal()
"""Of the test that runs: begun anew with each."""


def ok(done: Process) -> Process:
    assert done.returncode == 0, done
    return done


class Person:
    """One person, at a broker, in an empty working folder."""

    def __init__(self, broker: RunningBroker, name: str, folder: Path, **environment: str) -> None:
        self.broker = broker
        self.name = name
        self.folder = folder
        self.environment = {**broker.environment(name), "PATH": PATH, **environment}

    def run(self, *arguments: str) -> Process:
        """The ``aisec`` command in this process."""
        done = self.broker.run(*arguments, person=self.name, **self.environment)
        if done.returncode == 0:
            JOURNAL.done("aisec", *arguments)
        return done

    def type(self, *lines: str) -> str:
        """Commands as they are printed, which must all end well; what they export stays.

        A plain ``aisec`` command is run by its entry point in this process, which is as good
        and ten times as quick; everything else by a shell.
        """
        said = ""
        for line in lines:
            given = words(line)
            if given[0] == "aisec" and not _SHELL.intersection(given) and ";" not in line:
                with patch.object(sys, "stdin", io.StringIO("y\n")):
                    said += ok(self.run(*given[1:])).stdout
            else:
                said += self._shell(line)
                JOURNAL.done(*given)
        return said

    def _shell(self, line: str) -> str:
        ends = self.folder.parent / f"environment-of-{self.name}"
        script = "\n".join(["set -e", line, f"env -0 > {shlex.quote(str(ends))}"])
        done = ok(
            subprocess.run(
                ["bash", "-c", script],
                env=self.environment,
                cwd=self.folder,
                input="y\n",
                capture_output=True,
                text=True,
                check=False,
            )
        )
        pairs = (item.partition("=") for item in ends.read_text().split("\0") if item)
        self.environment = {name: value for name, _, value in pairs}
        return done.stdout

    def under(self, before: str, *arguments: str) -> Process:
        """The command as a process of its own, in a shell that did ``before``: a limit, a clock.

        Its coverage is not measured: the measuring writes files too, under the same limit.
        """
        measured = "COVERAGE_PROCESS_CONFIG"
        command = f"unset {measured}; {before}; exec {shlex.join(('aisec', *arguments))}"
        return subprocess.run(
            ["bash", "-c", command],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )

    def meets(self, row: Row, *arguments: str, before: str | None = None) -> Met:
        """The command fails as the table says, for people and for programs alike."""
        run = self.run if before is None else functools.partial(self.under, before)
        with unchanged(self.broker, self.folder, row, times=2):
            shown = run(*arguments)
            told = run(*arguments, "--json")
        for done in (shown, told):
            assert done.returncode == row.exit, done
            assert "Traceback" not in done.stderr
        problem = msgspec.json.decode(told.stderr.splitlines()[-1])
        assert problem["code"] == row.code, problem
        what, advice = shown.stderr.splitlines()[-2:]
        assert what.startswith("aisec: ")
        assert shown.stderr.count("\n  next: ") == 1
        return Met(row, advice.removeprefix("  next: "), arguments, what.removeprefix("aisec: "))


class Met:
    """A fault as a person met it."""

    def __init__(
        self, row: Row, advice: str, arguments: tuple[str, ...] = (), what: str = ""
    ) -> None:
        self.row = row
        self.what = what
        self.advice = advice
        self.holes = row.match(advice)
        self.arguments = arguments
        self.filled: list[dict[str, str]] = [{}]
        JOURNAL.met.append(self)

    def commands(self, **filled: str) -> list[str]:
        """The commands printed, in their order; the reader's words are filled in."""
        self.filled.append(filled)
        found = [fill(command, filled) for command in commands(self.advice)]
        assert found, f"no command in: {self.advice}"
        return found

    def follow(self, person: Person, **filled: str) -> str:
        """Does what is printed, and fails unless every command ends well; what they say."""
        return person.type(*self.commands(**filled))

    def with_option(self, **filled: str) -> tuple[str, ...]:
        """The command that failed, with the option that is printed instead of its own."""
        options = [one for one in self.commands(**filled) if one.startswith("--")]
        return self.instead(options[-1])

    def instead(self, options: str) -> tuple[str, ...]:
        """The command that failed, with this option instead of its own."""
        option, value = words(options)
        given = list(self.arguments)
        if option in given:
            at = given.index(option)
            del given[at : at + 2]
        return (*given, option, value)


class Notebook:
    """An ordinary kernel's shell with our extension, in this process."""

    def __init__(self, shell: InteractiveShell, person: Person, read: object) -> None:
        self.shell = shell
        self.person = person
        self._read = read

    def cell(self, source: str) -> str:
        """Runs a cell that must end well; returns what it printed."""
        result = self.shell.run_cell(source)  # type: ignore[no-untyped-call]
        printed: str = self._read().out  # type: ignore[operator]
        assert result.success, printed
        if source.startswith("%"):
            JOURNAL.done(*words(source))
        return printed

    def meets(self, row: Row, source: str) -> Met:
        """The cell fails as the table says, and nothing has changed."""
        with unchanged(self.person.broker, self.person.folder, row, times=1):
            return self.opens_nothing(row, source)

    def opens_nothing(self, row: Row, source: str) -> Met:
        """The cell fails with a panel: what, next and code; no traceback, nothing bound."""
        before = set(self.shell.user_ns)
        result = self.shell.run_cell(source)  # type: ignore[no-untyped-call]
        printed: str = self._read().out  # type: ignore[operator]
        assert not result.success
        assert "Traceback" not in printed
        what, advice, code = printed.rstrip().splitlines()[-3:]
        assert ": " in what
        assert advice.startswith("→ "), printed
        assert code.strip() == f"({row.code})", printed
        assert {name for name in set(self.shell.user_ns) - before if name[0] != "_"} == set()
        return Met(row, advice.removeprefix("→ "))

    def ask(self, request: str) -> str:
        """Runs a cell that asks for a grant; its id."""
        return grant_in(self.cell(request))

    def holds(self, name: str, value: bytes) -> None:
        """Fails unless the variable has these bytes."""
        assert bytes(self.shell.user_ns[name]) == value

    def follow(self, met: Met, by: Person | None = None, **filled: str) -> None:
        """Cells are run here, commands in a terminal: this person's, or another's."""
        for command in met.commands(**filled):
            if command.startswith("%"):
                self.cell(command)
            else:
                (by or self.person).type(command)


# -- what a failure must leave as it was


def ledger(broker: RunningBroker) -> list[tuple[object, ...]]:
    """The stored ledger, read past the broker: a copy, since its home may be out of our sight."""
    with TemporaryDirectory() as folder:
        for name in ("broker.sqlite", "broker.sqlite-wal"):
            if (broker.home / name).exists():
                shutil.copyfile(broker.home / name, Path(folder, name))
        with closing(sqlite3.connect(Path(folder, "broker.sqlite"))) as database:
            return database.execute("SELECT idx, type, body FROM entries ORDER BY idx").fetchall()


def files(*folders: Path) -> dict[Path, bytes]:
    return {
        path: path.read_bytes()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@contextmanager
def unchanged(broker: RunningBroker, folder: Path, row: Row, times: int) -> Iterator[None]:
    """No entry but the refusals that the row says are kept, and one alert where it says so; no
    file in folder or store."""
    places = (folder, broker.home / "store")
    entries, there = ledger(broker), files(*places)
    yield
    now = ledger(broker)
    assert now[: len(entries)] == entries
    more = [entry[1] for entry in now[len(entries) :]]
    kept = ["action.refused"] * times if row.logged else []
    assert more == kept[:1] + ["alert.raised"] * row.alert + kept[1:], more
    assert files(*places) == there


def grant_in(text: str) -> str:
    """The id of the grant that a text speaks of."""
    found = re.search(r"grant_[0-9A-Z]{26}", text)
    assert found, text
    return found[0]
