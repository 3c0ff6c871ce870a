"""Every command against a real broker."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from jupyter_aisec.cli import main
from jupyter_aisec.client import Home, PersonClient, RunView
from jupyter_aisec.grants.policy import DEFAULT_POLICY_TEXT
from tests.conftest import RunningBroker


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Aisec = Callable[..., Said]


@pytest.fixture
def aisec(
    broker: RunningBroker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Aisec:
    """The command, in this process, as one of the two people."""
    monkeypatch.setenv("AISEC_BROKER", broker.url)

    def run(person: str, *arguments: str | Path) -> Said:
        monkeypatch.setenv("AISEC_HOME", str(broker.folder / person))
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        return Said(code, *capsys.readouterr())

    return run


@pytest.fixture
def name(researcher: PersonClient, request: pytest.FixtureRequest) -> str:
    """An artifact of this test alone."""
    artifact = f"dataset/{request.node.originalname.replace('_', '-')[:60]}"
    researcher.seal(artifact, {"a.csv": b"x,y\n1,2\n"})
    return artifact


@pytest.fixture
def grant(researcher: PersonClient, name: str) -> str:
    return researcher.request([name], 3600, "why \x1b[2J not").id


def test_whoami_and_login(aisec: Aisec, broker: RunningBroker) -> None:
    assert aisec("researcher", "whoami").out == f"researcher (admin, researcher) at {broker.url}\n"
    said = aisec("researcher", "login")
    assert said.out.startswith(f"Logged in as researcher at {broker.url} until ")
    assert "mode 0600" in said.err
    assert aisec("researcher", "login", "--json").json["person"] == "researcher"


def test_a_person_is_added_by_two_admins_and_removed_by_one(
    aisec: Aisec, broker: RunningBroker, tmp_path: Path
) -> None:
    file = tmp_path / "newcomer.invitation.json"
    add = ("person", "add", "newcomer", "--role", "researcher", "--out", file)
    said = aisec("approver", *add, "--json").json
    assert said["signatures_missing"] == 1
    assert said["file"] == str(file)
    token = said["token"]
    assert aisec("newcomer", "login", "--token", token).code == 1  # not in the ledger yet
    assert aisec("approver", *add).code == 2  # never in the place of another file
    said = aisec("approver", "person", "countersign", file, "--yes")
    assert (said.code, "You signed this already" in said.err) == (1, True)
    shown = aisec("researcher", "person", "countersign", file, "--yes")
    assert "invites" in shown.out
    assert "newcomer" in shown.out
    assert "signed by" in shown.out
    assert "Signed and sent" in shown.out
    assert aisec("newcomer", "login", "--token", token).code == 0
    assert aisec("newcomer", "whoami", "--json").json["roles"] == ["researcher"]
    assert "newcomer" in aisec("approver", "person", "list").out
    assert (
        aisec("approver", "person", "remove", "newcomer", "--yes").out == "newcomer was removed.\n"
    )
    assert aisec("newcomer", "login").code == 1


def test_the_second_admin_is_told_what_to_run(
    aisec: Aisec, broker: RunningBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = aisec("approver", "person", "add", "another", "--role", "approver", "--role", "admin")
    assert "another is not added yet: another admin must sign" in said.out
    assert "aisec person countersign another.invitation.json" in said.out
    assert f"AISEC_BROKER={broker.url} aisec login --token another." in said.out
    token = said.out.split("--token ")[1].split()[0]
    done = aisec("researcher", "person", "countersign", "another.invitation.json", "--json").json
    assert done["sent"]
    assert sorted(done["signed_by"]) == ["approver", "researcher"]
    assert aisec("another", "login", "--token", token).code == 0
    removal = tmp_path / "another.removal.json"
    said = aisec("approver", "person", "remove", "another", "--yes")
    assert f"aisec person countersign {removal.name}" in said.out
    assert aisec("researcher", "person", "countersign", removal, "--yes").code == 0
    assert aisec("another", "login").code == 1


def test_a_file_to_countersign_that_is_none(aisec: Aisec, tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    assert aisec("approver", "person", "countersign", file).code == 2
    file.write_text("{}")
    assert aisec("approver", "person", "countersign", file).code == 1


def test_keys_are_made_listed_and_revoked(
    aisec: Aisec, broker: RunningBroker, tmp_path: Path
) -> None:
    public = tmp_path / "gina.pem"
    made = aisec("gina", "key", "enroll", "--as", "gina", "--public-out", public, "--json")
    assert public.read_text() == made.json["public_key"]
    assert aisec("gina", "key", "enroll", "--json").json == made.json
    assert made.json["key_id"] in aisec("gina", "key", "enroll").out
    token = broker.add("gina", "researcher")
    assert aisec("gina", "login", "--token", token).code == 0
    assert "in this home" in aisec("gina", "key", "list").out
    assert aisec("gina", "key", "revoke", "nothing").code == 1
    revoked = aisec("gina", "key", "revoke", made.json["key_id"][:20], "--yes", "--json")
    assert revoked.json == {"key_id": made.json["key_id"], "revoked": True}
    assert aisec("gina", "key", "enroll", "--public-out", tmp_path / "no" / "file").code == 2


def test_a_second_key_is_enrolled_by_the_first(
    aisec: Aisec, broker: RunningBroker, tmp_path: Path
) -> None:
    assert aisec("hana", "login", "--token", broker.add("hana", "researcher")).code == 0
    file = tmp_path / "hana.enrolment.json"
    said = aisec("hana-laptop", "key", "enroll", "--as", "hana", "--out", file)
    assert f"aisec key countersign {file}" in said.out
    assert aisec("hana-laptop", "login", "--as", "hana").code == 1
    assert "Signed and sent" in aisec("hana", "key", "countersign", file, "--yes").out
    assert aisec("hana-laptop", "login", "--as", "hana").code == 0
    assert len(aisec("hana", "key", "list", "--json").json) == 2


def test_who_lost_the_only_key_is_vouched_for_by_two_admins(
    aisec: Aisec, broker: RunningBroker, tmp_path: Path
) -> None:
    assert aisec("iris", "login", "--token", broker.add("iris", "researcher")).code == 0
    file = tmp_path / "iris.enrolment.json"
    aisec("iris-new", "key", "enroll", "--as", "iris", "--out", file)
    said = aisec("approver", "key", "countersign", file, "--yes")
    assert f"Signed; 1 more must sign {file}." in said.out
    assert aisec("iris-new", "login", "--as", "iris").code == 1
    assert "Signed and sent" in aisec("researcher", "key", "countersign", file, "--yes").out
    assert aisec("iris-new", "login", "--as", "iris").code == 0


def test_a_folder_is_sealed_and_shown(aisec: Aisec, tmp_path: Path, name: str) -> None:
    source = tmp_path / "data"
    source.mkdir()
    (source / "b.csv").write_text("x\n1\n")
    said = aisec("researcher", "artifact", "seal", source, name, "--label", "secret")
    assert "version 2 is sealed" in said.out
    assert "plaintext" in said.out
    assert aisec("researcher", "artifact", "show", name, "--json").json["labels"] == ["secret"]
    shown = aisec("researcher", "artifact", "show", name, "--version", "1").out
    assert "a.csv (8 bytes)" in shown
    assert name in aisec("researcher", "artifact", "list").out
    versions = aisec("researcher", "artifact", "versions", name, "--json").json
    assert [one["version"] for one in versions] == [1, 2]
    assert aisec("researcher", "artifact", "versions", name).out.count(name) == 2


def test_sealing_goes_where_it_is_told(aisec: Aisec, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("x\n")
    arguments = ("artifact", "seal", tmp_path / "x.csv", "dataset/elsewhere")
    said = aisec("researcher", *arguments, "--to", (tmp_path / "store").as_uri(), "--json")
    assert said.json == {"artifact": "dataset/elsewhere", "version": 1}
    assert list((tmp_path / "store").rglob("0000.sealed"))


def test_an_approver_sees_the_labels_of_what_is_asked_for(
    aisec: Aisec, tmp_path: Path, name: str
) -> None:
    (tmp_path / "x.csv").write_text("x\n")
    aisec("researcher", "artifact", "seal", tmp_path / "x.csv", name, "--label", "patients")
    ask = ("grant", "request", name, "--for", "1h", "--reason", "r", "--json")
    grant = aisec("researcher", *ask).json["id"]
    for command in (("show", grant), ("approve", grant, "--yes")):
        assert re.search(r"labels +patients\b", aisec("approver", "grant", *command).out)


def test_asking_and_approving(aisec: Aisec, name: str) -> None:
    asked = aisec("researcher", "grant", "request", name, "--for", "1h", "--reason", "r")
    assert "approver must approve it, with" in asked.out
    grant = asked.out.split()[0]
    assert grant in aisec("approver", "grant", "list", "--pending").out
    said = aisec("approver", "grant", "approve", grant, "--for", "10m", "--comment", "ok", "--yes")
    assert "application/vnd.jupyter-aisec.approval+json" in said.out
    assert "600 (10m)" in said.out
    assert re.search(rf"artifacts +{name} *\n", said.out)
    assert f"Approved by 1 of 1: {grant} is scheduled." in said.out
    shown = aisec("researcher", "grant", "show", grant).out
    assert "approver at" in shown
    ended = aisec("researcher", "grant", "return", grant)
    assert ended.out == f"{grant} is ended (returned).\n"


def test_the_one_request_that_waits_need_not_be_named(aisec: Aisec, name: str) -> None:
    def ask() -> str:
        asked = aisec("researcher", "grant", "request", name, "--for", "1h", "--reason", "r")
        return asked.out.split()[0]

    for waiting in aisec("approver", "grant", "list", "--pending", "--json").json:
        aisec("approver", "grant", "deny", waiting["id"])
    refused = aisec("approver", "grant", "approve", "--yes")
    assert (refused.code, "No requests wait" in refused.err) == (2, True)
    grant = ask()
    assert f"{grant} is scheduled" in aisec("approver", "grant", "approve", "--yes").out
    both = {ask(), ask()}
    refused = aisec("approver", "grant", "approve", "--yes")
    assert (refused.code, "2 requests wait" in refused.err) == (2, True)
    pending = {one["id"] for one in aisec("approver", "grant", "list", "--pending", "--json").json}
    assert both <= pending
    refused = aisec("researcher", "grant", "approve", "--yes")  # their own wait for others
    assert (refused.code, "No requests wait" in refused.err) == (2, True)


def test_what_is_approved_is_shown_before_it_is_signed(
    aisec: Aisec, grant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    said = aisec("approver", "grant", "approve", grant)
    assert said.code == 1
    assert "Nothing was signed." in said.err
    assert aisec("researcher", "grant", "show", grant, "--json").json["approvals"] == []


def test_hostile_text_is_shown_escaped(aisec: Aisec, grant: str) -> None:
    for command in (("list",), ("show", grant), ("approve", grant, "--yes")):
        said = aisec("approver", "grant", *command)
        assert "\x1b" not in said.out
        assert "why \\x1b[2J not" in said.out


@pytest.mark.parametrize(
    ("person", "verb", "why"),
    [("approver", "deny", "denied"), ("researcher", "withdraw", "withdrawn")],
)
def test_a_request_ends(aisec: Aisec, grant: str, person: str, verb: str, why: str) -> None:
    said = aisec(person, "grant", verb, grant, "--reason", "no", "--json")
    assert said.json["ended_why"] == why


def test_a_grant_is_extended_and_revoked(aisec: Aisec, grant: str) -> None:
    aisec("approver", "grant", "approve", grant, "--yes")
    more = aisec(
        "researcher", "grant", "extend", grant, "--for", "1h", "--reason", "m", "--json"
    ).json
    assert more["state"] == "pending"
    assert aisec("approver", "grant", "revoke", grant, "--json").json["ended_why"] == "revoked"


def test_waiting_ends_with_the_decision(
    aisec: Aisec, broker: RunningBroker, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    approver = broker.client("approver")
    ask = PersonClient.request

    def ask_and_be_denied(self: PersonClient, *arguments: Any, **options: Any) -> Any:
        view = ask(self, *arguments, **options)
        approver.deny(view.id, "no")
        return view

    monkeypatch.setattr(PersonClient, "request", ask_and_be_denied)
    arguments = ("grant", "request", name, "--for", "1h", "--reason", "r", "--wait")
    said = aisec("researcher", *arguments)
    assert said.code == 1
    assert "was denied" in said.err
    assert "Waiting for approver" in said.err


def test_a_dry_run_says_who_would_be_asked_and_asks_nobody(aisec: Aisec, name: str) -> None:
    ask = ("grant", "request", name, "--for", "9h", "--reason", "r", "--dry-run")
    said = aisec("researcher", *ask)
    assert "1 of approver" in said.out
    assert "The shortest cap wins: 4h" in said.out
    terms = aisec("researcher", *ask, "--json").json["terms"]
    assert (terms["approvers"], terms["seconds"]) == (["approver"], 4 * 3600)
    said = aisec("researcher", "policy", "explain", name, "--for", "30m")
    assert "30m" in said.out
    pending = aisec("researcher", "grant", "list", "--pending", "--json").json
    assert name not in [artifact for one in pending for artifact in one["artifacts"]]
    refused = aisec("approver", "policy", "explain", name)
    assert (refused.code, "does not let approver ask" in refused.err) == (1, True)
    told = aisec("approver", "policy", "explain", name, "--json")
    assert (told.code, told.json["refusal"]["code"]) == (1, "requester-not-allowed")
    assert aisec("researcher", "policy", "explain", "dataset/none").code == 1


def test_policy_is_explained_and_checked(aisec: Aisec, tmp_path: Path) -> None:
    said = aisec("researcher", "policy", "explain")
    assert "weights/*" in said.out
    assert "may ask: role:researcher" in said.out
    assert aisec("researcher", "policy", "explain", "--json").json["policy"]["rule"]
    file = tmp_path / "policy.toml"
    observed = DEFAULT_POLICY_TEXT.replace('"enforce"', '"observe"')
    file.write_text(f'{observed}\n[[rule]]\nname = "no"\nartifacts = ["results/x"]\ndeny = true\n')
    checked = aisec("researcher", "policy", "check", file)
    assert "denies it to everybody" in checked.out
    assert "nothing is refused" in checked.out
    file.write_text("mode = 1")
    assert aisec("researcher", "policy", "check", file).code == 1


def test_the_policy_in_force_is_a_file_to_edit(aisec: Aisec, tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(aisec("approver", "policy", "explain", "--toml").out)
    checked = aisec("approver", "policy", "check", file, "--json")
    assert checked.json == aisec("approver", "policy", "explain", "--json").json["policy"]
    for more in ("--json", "dataset/x"):
        assert aisec("approver", "policy", "explain", "--toml", more).code == 2


def test_a_policy_is_applied_by_two_admins(aisec: Aisec, tmp_path: Path) -> None:
    before = aisec("researcher", "policy", "explain", "--json").json["version"]
    file = tmp_path / "policy.toml"
    file.write_text(DEFAULT_POLICY_TEXT.replace('begin_within = "24h"', 'begin_within = "12h"'))
    said = aisec("approver", "policy", "apply", file, "--yes")
    change = tmp_path / "policy.change.json"
    assert f"aisec policy countersign {change}" in said.out
    shown = aisec("researcher", "policy", "countersign", change, "--yes")
    assert "policy_sha256" in shown.out
    assert '\nbegin_within = "12h"' in shown.out
    assert aisec("researcher", "policy", "explain", "--json").json["version"] == before + 1
    assert aisec("approver", "policy", "apply", file, "--out", change, "--json").code == 2


def test_the_ledger_is_audited_exported_and_searched(aisec: Aisec, grant: str) -> None:
    assert "every row of every table is what was logged" in aisec("approver", "audit", "verify").out
    lines = aisec("approver", "audit", "export").out.splitlines()
    assert json.loads(lines[0])["type"] == "genesis"
    some = aisec("approver", "audit", "export", "--from", "0", "--to", "2", "--json").json
    assert [entry["index"] for entry in some] == [0, 1]
    found = aisec("approver", "audit", "search", grant, "requested", "--json").json
    assert [entry["type"] for entry in found] == ["grant.requested"]
    assert found[0]["body"]["request"]["payload"]["grant"] == grant
    assert "grant.requested" in aisec("approver", "audit", "search", grant).out


def test_the_trust_file_is_printed(aisec: Aisec, broker: RunningBroker) -> None:
    online = aisec("researcher", "broker", "trust").json
    offline = aisec("researcher", "broker", "trust", "--home", broker.home).json
    assert online == offline
    assert online["format"] == "jupyter-aisec/trust/v1"


def test_doctor_finds_what_is_there(aisec: Aisec, broker: RunningBroker) -> None:
    said = aisec("researcher", "doctor", "--json")
    assert said.code == 0
    found = {one["name"]: one["state"] for one in said.json}
    assert found["broker"] == found["log-in"] == found["ledger"] == "ok"
    assert found["signing key"] == "warn"  # a file
    home = Home(broker.folder / "researcher")
    home.folder.chmod(0o755)
    try:
        said = aisec("researcher", "doctor")
        assert said.code == 1
        assert f"chmod 700 {home.folder}" in said.out
    finally:
        home.folder.chmod(0o700)


def test_doctor_finds_what_is_missing(aisec: Aisec, monkeypatch: pytest.MonkeyPatch) -> None:
    stranger = {one["name"]: one for one in aisec("stranger", "doctor", "--json").json}
    assert stranger["home"]["state"] == stranger["log-in"]["state"] == "warn"
    monkeypatch.setenv("AISEC_BROKER", "http://127.0.0.1:1")
    said = aisec("researcher", "doctor", "--json")
    assert said.code == 1
    assert {one["name"]: one["state"] for one in said.json}["broker"] == "fail"


def test_runs_are_listed_and_shown(aisec: Aisec, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunView(
        run="run_01ARZ3NDEKTSV4RRFFQ69G5FAV",
        grant="grant_1",
        kernel="sha256:00",
        seal_ids=("seal_1",),
        differences=0,
        statement_sha256="00",
        entry=7,
        at="2026-11-22T20:35:16.250Z",
    )
    assert aisec("researcher", "run", "list", "--json").json == []
    monkeypatch.setattr(PersonClient, "runs", lambda _: (run,))
    monkeypatch.setattr(PersonClient, "run", lambda *_: run)
    assert run.run in aisec("researcher", "run", "list").out
    assert "statement_sha256  00" in aisec("researcher", "run", "show", run.run).out
    assert aisec("researcher", "run", "show", run.run, "--json").json["entry"] == 7
