"""Promise P5 for the broker: killed (SIGKILL) at every failpoint, nothing acknowledged is lost.

A walk from log-in to a recorded run goes step by step over HTTP against a real process,
which dies once, at one visit of one failpoint. It is started again, everything acknowledged
before must still be there, the interrupted step is sent again exactly as it was, and the walk
goes on to its end. The failpoints come from the code, how often the walk visits each is
counted, and each kill must have happened.
"""

from __future__ import annotations

import ast
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keyring
import msgspec
import pytest
import requests
from keyring.backends import fail

import jupyter_aisec.broker
from jupyter_aisec.broker.failpoints import FAILPOINTS, VARIABLE
from jupyter_aisec.broker.home import audit_home
from jupyter_aisec.ids import new_id
from jupyter_aisec.ledger.entry import Entry
from jupyter_aisec.ledger.merkle import Tree
from tests.broker.saved_outputs import SHOWN, ask_output, open_saved, saved_output
from tests.broker.world import (
    Api,
    BrokerProcess,
    Kernel,
    Site,
    ok,
    open_release,
    run_body,
    seal,
)
from tests.effort import CAMPAIGN

# How often the walk below visits each failpoint. Each of its steps appends an entry.
VISITS = {
    "append.before-transaction": 11,
    "append.rows-written": 11,
    "append.committed": 11,
    "append.before-outside-copies": 11,
    "append.between-outside-copies": 11,
    "append.done": 11,
    "outside.file-written": 11,
    "keys.encrypted": 1,
    "keys.released": 1,
    "output.encrypted": 1,
    "output.released": 1,
    "artifact.wrapped": 2,
    "run.signed": 1,
    "run.bundled": 1,
    "run.recorded": 1,
    "start.checked": 1,
    "stop.closing": 1,
}


def kills() -> list[tuple[str, int]]:
    """Failpoints and visits: every one under the campaign, else one of each."""
    return [
        (name, visit)
        for name, visits in VISITS.items()
        for visit in range(1, visits + 1)
        if CAMPAIGN or visit == (visits + 1) // 2
    ]


@pytest.fixture(autouse=True)
def _no_real_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    monkeypatch.setattr(keyring, "get_keyring", fail.Keyring)


class Walk:
    """The steps, each sent the same way however often; and what was acknowledged so far."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.kernel = Kernel()
        self.sealed = seal("dataset/digits", site.keys["researcher"])
        self.output = seal("weights/net", self.kernel.key, parents=(self.sealed.manifest.seal_id,))
        self.action = new_id("action")
        self.saved = saved_output(self.sealed)
        self.opening = new_id("action")
        self.tokens: dict[str, str] = {}
        self.made: dict[str, Any] = {}
        self.acknowledged: list[tuple[int, bytes]] = []  # ledger sizes and roots seen
        self.answers: dict[str, Any] = {}

    @property
    def steps(self) -> list[Callable[[Api], Any]]:
        return [
            lambda api: api.token("researcher"),
            lambda api: api.token("approver"),
            self.seal_input,
            self.ask,
            self.approve,
            self.bind,
            self.release,
            self.open_output,
            self.seal_output,
            self.record,
            self.give_back,
        ]

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What a step sends: made at its first try."""
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    def seal_input(self, api: Api) -> Any:
        body = self.once("seal", lambda: self.sealed.body(self.site.trust.seal_key))
        return api.post("/v1/artifacts", body, person="researcher")

    def ask(self, api: Api) -> Any:
        envelope = self.once("ask", lambda: api.request_envelope(("dataset/digits",)))
        self.view = api.post("/v1/grants", {"envelope": envelope}, person="researcher")

    def approve(self, api: Api) -> Any:
        envelope = self.once("approve", lambda: api.approval(self.view))
        return self.act(api, "approve", envelope, "approver")

    def bind(self, api: Api) -> Any:
        envelope = self.once("bind", lambda: api.binding(self.view, self.kernel))
        return self.act(api, "bind", envelope, "researcher")

    def release(self, api: Api) -> Any:
        grant = self.view["id"]
        answer = ok(api.release(grant, "dataset/digits", self.kernel, action=self.action))
        keys = open_release(answer, grant, "dataset/digits", self.kernel)
        assert list(keys.values()) == [self.sealed.data_key]
        self.answers["release"] = answer["entry"]

    def open_output(self, api: Api) -> Any:
        answer = ok(
            ask_output(api, self.saved, [self.view["id"]], self.kernel, action=self.opening)
        )
        assert open_saved(answer, self.saved, self.kernel) == SHOWN

    def seal_output(self, api: Api) -> Any:
        body = self.once(
            "output", lambda: self.output.body(self.site.trust.seal_key, self.site.store)
        )
        return api.post("/v1/artifacts", body, kernel=self.kernel)

    def record(self, api: Api) -> Any:
        body = self.once(
            "run", lambda: run_body(api, self.view["id"], self.kernel, self.sealed, self.output)
        )
        self.answers["bundle"] = api.post("/v1/runs", body, kernel=self.kernel)["bundle"]

    def give_back(self, api: Api) -> Any:
        envelope = self.once(
            "return", lambda: api.decision(self.view["id"], "return", "researcher")
        )
        return self.act(api, "return", envelope, "researcher")

    def act(self, api: Api, action: str, envelope: Any, person: str) -> Any:
        return api.post(
            f"/v1/grants/{self.view['id']}/{action}", {"envelope": envelope}, person=person
        )

    def check_nothing_lost(self, api: Api) -> None:
        """Every ledger that was acknowledged is a beginning of the ledger there is now."""
        if "approver" in self.tokens:
            shown = [
                msgspec.convert(one, Entry) for one in api.get("/v1/ledger/entries", "approver")
            ]
            tree = Tree(entry.leaf_hash for entry in shown)
            for size, root in self.acknowledged:
                assert tree.root(size) == root
        if "bundle" in self.answers:
            seal_id = self.output.manifest.seal_id
            assert api.get(f"/v1/bundles/{seal_id}", "approver") == self.answers["bundle"]


def start(walk: Walk, **environment: str) -> tuple[BrokerProcess, Api | None]:
    process = BrokerProcess(walk.site, **environment)
    api = process.wait_ready()
    if api is not None:
        api.tokens = walk.tokens
    return process, api


@pytest.mark.parametrize(("name", "visit"), kills())
def test_nothing_acknowledged_is_lost(name: str, visit: int, tmp_path: Path) -> None:
    walk = Walk(Site(tmp_path / "home"))
    process, api = start(walk, **{VARIABLE: f"{name}=kill@{visit}"})
    kills = 0
    with process:
        todo = list(walk.steps)
        while todo or kills == 0:
            try:
                if api is None:
                    raise requests.ConnectionError
                if not todo:
                    process.stop()
                    raise requests.ConnectionError
                todo[0](api)
                size, root = api.checkpoint()
            except requests.ConnectionError:
                assert process.process.wait(30) == -signal.SIGKILL, f"{name} was not hit"
                kills += 1
                process.__exit__()
                process, api = start(walk)
                assert api is not None
                walk.check_nothing_lost(api)
            else:
                walk.acknowledged.append((size, msgspec.convert(root, bytes)))
                todo.pop(0)
        assert api is not None
        walk.check_nothing_lost(api)
        assert api.get("/v1/audit", "approver")["findings"] == []
        assert process.stop()[0] == 0
    assert kills == 1
    assert audit_home(walk.site.home) == []


@pytest.mark.parametrize(
    ("name", "next_visit"),
    [
        ("append.before-transaction", 2),  # the step that is sent again is a visit too
        ("append.committed", 1),
        ("append.done", 1),
    ],
)
def test_a_broker_that_is_killed_in_every_step_of_one_walk(
    name: str, next_visit: int, tmp_path: Path
) -> None:
    """Before an entry is durable, when only the database has it, and when nobody was told.

    But for the log-ins, which are other ones when they are sent again.
    """
    walk = Walk(Site(tmp_path / "home"))
    process, api = start(walk)
    kills, steps = 0, walk.steps
    with process:
        assert api is not None
        for log_in in steps[:2]:
            log_in(api)
    process, api = start(walk, **{VARIABLE: f"{name}=kill"})
    with process:
        for step in steps[2:]:
            assert api is not None
            with pytest.raises(requests.ConnectionError):
                step(api)
            assert process.process.wait(30) == -signal.SIGKILL
            process.__exit__()
            kills += 1
            process, api = start(walk, **{VARIABLE: f"{name}=kill@{next_visit}"})
            assert api is not None
            walk.check_nothing_lost(api)
            step(api)
            size, root = api.checkpoint()
            walk.acknowledged.append((size, msgspec.convert(root, bytes)))
        assert api is not None
        assert api.get("/v1/audit", "approver")["findings"] == []
        assert process.stop()[0] == 0
    assert kills == VISITS[name] - 2
    assert audit_home(walk.site.home) == []


COUNTING = """
import atexit, collections, json, os
from jupyter_aisec.broker import failpoints
counts = collections.Counter()
failpoints.failpoint = lambda name: counts.update([name])
atexit.register(lambda: open(os.environ["COUNTS"], "w").write(json.dumps(counts)))
"""


def test_the_walk_visits_every_failpoint_as_often_as_it_is_killed_there(tmp_path: Path) -> None:
    walk = Walk(Site(tmp_path / "home"))
    counts = tmp_path / "counts"
    process = BrokerProcess(walk.site, before=COUNTING, COUNTS=str(counts))
    with process:
        api = process.wait_ready()
        assert api is not None
        api.tokens = walk.tokens
        for step in walk.steps:
            step(api)
        assert process.stop()[0] == 0
    assert msgspec.json.decode(counts.read_bytes()) == VISITS


def test_every_failpoint_is_in_the_code_once_and_listed() -> None:
    folder = Path(jupyter_aisec.broker.__file__).parent
    calls = [
        node.args[0].value
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "failpoint"
        and isinstance(node.args[0], ast.Constant)
    ]
    assert sorted(calls) == sorted(FAILPOINTS) == sorted(VISITS)
