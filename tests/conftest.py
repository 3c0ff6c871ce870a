"""A real broker as a process of its own, with two accounts: shared by every room's tests."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import settings

from jupyter_aisec.cli import main
from jupyter_aisec.client import Account, Home, PersonClient
from jupyter_aisec.grants.policy import DEFAULT_POLICY_TEXT
from jupyter_aisec.people.keys import SigningKey
from tests.effort import examples
from tests.scripted import Scripted, serving

# A loaded machine is not a slow test.
settings.register_profile("here", deadline=None, max_examples=examples(60))
settings.load_profile("here")

# Neither tests nor their processes use the keyring of whoever runs them.
os.environ["PYTHON_KEYRING_BACKEND"] = "keyring.backends.null.Keyring"

AISEC = (sys.executable, "-m", "jupyter_aisec.cli")
PEOPLE = ("researcher", "approver")
# The default policy, but for 15 minutes nobody need be asked first; not of results, and of
# nothing labelled "strict".
BREAKABLE = f"""\
{DEFAULT_POLICY_TEXT.replace('"results/*"]', '"none/*"]').replace("# break_glass", "break_glass")}
[[rule]]
name = "no glass"
artifacts = ["results/*"]
labels = ["strict"]
requesters = ["role:researcher"]
approvers = ["role:approver"]
approvals = 1
longest = "1h"
"""


class RunningBroker:
    """A broker's process, its home, and the homes of its two people, both of them admins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "broker"
        self.homes = {name: Home(folder / name) for name in PEOPLE}
        self.url = ""
        self.process: subprocess.Popen[str] | None = None
        admins: list[str] = []
        for name, home in self.homes.items():
            home.keep_key(SigningKey.generate())
            home.keep_account(Account(person=name))
            public = folder / f"{name}.pem"
            public.write_bytes(home.key().public.pem())
            admins += ["--admin", f"{name}={public}", "--role", f"{name}={name}"]
        self.run("broker", "init", "--home", str(self.home), *admins).check_returncode()

    def run(
        self, *arguments: str, person: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """The ``aisec`` command, as one of the two people or as nobody.

        Called in this process, which is what the entry point does and ten times as quick.
        """
        out, err = io.StringIO(), io.StringIO()
        given = {**self.environment(person), **environment}
        with patch.dict(os.environ, given, clear=True), redirect_stdout(out), redirect_stderr(err):
            code = main(arguments)
        return subprocess.CompletedProcess(list(arguments), code, out.getvalue(), err.getvalue())

    def add(self, name: str, role: str) -> str:
        """Add a person, as both admins; their one-time token comes back."""
        file = str(self.folder / f"{name}.invitation.json")
        arguments = ("person", "add", name, "--role", role, "--out", file, "--json")
        added = self.run(*arguments, person="approver")
        added.check_returncode()
        self.run("person", "countersign", file, "--yes", person="researcher").check_returncode()
        token: str = msgspec.json.decode(added.stdout)["token"]
        return token

    def put_in_force(self, policy: str) -> None:
        """Another policy (TOML), signed by both admins."""
        file = self.folder / "policy.toml"
        file.write_text(policy)
        change = file.with_suffix(".change.json")
        self.run("policy", "apply", str(file), "--yes", person="approver").check_returncode()
        countersign = ("policy", "countersign", str(change), "--yes")
        self.run(*countersign, person="researcher").check_returncode()
        change.unlink()

    def environment(self, person: str | None = None) -> dict[str, str]:
        """What the processes of that person, or of nobody, are started with."""
        given = {name: value for name, value in os.environ.items() if "AISEC" not in name}
        given |= {"AISEC_BROKER": self.url}
        return given if person is None else {**given, "AISEC_HOME": str(self.folder / person)}

    def start(
        self, listen: str = "127.0.0.1:0", *, before: Sequence[str] = (), **environment: str
    ) -> None:
        """Start it, by the command ``before`` if there is one, and wait until it answers.

        :attr:`url` is where.
        """
        arguments = ["broker", "start", "--json", "--home", str(self.home), "--listen", listen]
        process = subprocess.Popen(
            [*before, *AISEC, *arguments],
            env={**self.environment(), **environment},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        text = ""
        for line in process.stdout:
            text += line
            if line.startswith("}"):
                break
        self.process = process
        self.url = msgspec.json.decode(text)["url"]

    def stop(self) -> None:
        """End it as its operator would; its answers are then over."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def restart(self) -> None:
        """Stop it and start it again at the same address."""
        self.stop()
        self.start(self.url.removeprefix("http://"))

    def client(self, person: str) -> PersonClient:
        return PersonClient(self.url, self.homes[person])


def _running(folder: Path) -> Iterator[RunningBroker]:
    broker = RunningBroker(folder)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """One broker for a module: each test makes the grants and artifacts it needs."""
    yield from _running(tmp_path_factory.mktemp("broker"))


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[RunningBroker]:
    """A broker for one test, which may stop, break or restart it."""
    yield from _running(tmp_path)


@pytest.fixture
def researcher(broker: RunningBroker) -> PersonClient:
    return broker.client("researcher")


@pytest.fixture
def approver(broker: RunningBroker) -> PersonClient:
    return broker.client("approver")


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    """A server at a free port that answers what a test tells it to."""
    with serving() as server:
        yield server
