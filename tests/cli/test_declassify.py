"""``aisec declassify`` against a real broker, from the label to the request without it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from jupyter_aisec.grants.policy import DEFAULT_POLICY_TEXT
from tests.conftest import RunningBroker

PHI = """
[[rule]]
name = "patients"
labels = ["phi"]
requesters = ["role:researcher"]
approvers = ["role:approver"]
approvals = 1
longest = "10m"
"""
NAME = "results/y"


def run(broker: RunningBroker, person: str, *arguments: str, code: int = 0) -> str:
    done = broker.run(*arguments, person=person)
    assert done.returncode == code, done
    return done.stdout + done.stderr


@pytest.fixture
def strict(
    own_broker: RunningBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> RunningBroker:
    """A broker with a rule for a label, and the researcher's result that carries it."""
    monkeypatch.chdir(tmp_path)
    Path("strict.toml").write_text(DEFAULT_POLICY_TEXT + PHI)
    run(own_broker, "approver", "policy", "apply", "strict.toml", "--yes")
    run(own_broker, "researcher", "policy", "countersign", "strict.change.json", "--yes")
    data = {"x.csv": b"x\n1\n"}
    own_broker.client("researcher").seal(NAME, data, labels=["internal", "phi"])
    return own_broker


def hours(broker: RunningBroker) -> int:
    said = run(broker, "researcher", "policy", "explain", NAME, "--for", "2h", "--json")
    return int(msgspec.json.decode(said)["terms"]["seconds"])


def test_from_the_label_to_a_request_without_it(strict: RunningBroker) -> None:
    assert hours(strict) == 600
    said = run(strict, "researcher", "declassify", NAME, "--drop", "phi", "--reason", "aggregates")
    file = "results-y-1.declassification.json"
    assert f"{NAME} version 1 carries its labels yet: 1 of approver must sign {file}" in said
    assert f"aisec declassify countersign {file}" in said
    assert hours(strict) == 600  # nothing has effect before it is in the ledger
    shown = run(strict, "approver", "declassify", "countersign", file, "--yes")
    for part in (
        "application/vnd.jupyter-aisec.declassification+json",
        "aggregates",
        "researcher",
        "Signed and sent",
    ):
        assert part in shown
    assert [line.split() for line in shown.splitlines() if line.startswith("labels left")] == [
        ["labels", "left", "internal"]
    ]
    assert hours(strict) == 7200
    entry = _entry(strict)
    dropped = f"phi in entry {entry} by researcher with approver"
    for command in (("show", NAME), ("versions", NAME), ("list",)):
        shown = run(strict, "researcher", "artifact", *command)
        assert dropped in shown
        assert "internal" in shown
    found = run(strict, "approver", "audit", "search", "artifact.declassified")
    assert str(entry) in found
    run(strict, "approver", "audit", "verify")
    run(strict, "approver", "audit", "verify", "--home", str(strict.home), code=0)


def _entry(broker: RunningBroker) -> int:
    view = msgspec.json.decode(run(broker, "researcher", "artifact", "show", NAME, "--json"))
    assert view["manifest"]["labels"] == ["internal", "phi"]  # as it was signed
    assert view["labels"] == ["internal"]
    return int(view["dropped"][0]["entry"])


def test_the_options_come_first_or_last_and_begin_may_be_said(strict: RunningBroker) -> None:
    options = ("--drop", "phi", "--drop", "internal", "--reason", "aggregates", "--json")
    for number, arguments in enumerate(
        ((*options, f"{NAME}@1"), (f"{NAME}@1", *options), ("begin", NAME, *options))
    ):
        out = f"{number}.json"
        said = msgspec.json.decode(
            run(strict, "researcher", "declassify", *arguments, "--out", out)
        )
        assert said == {
            "artifact": NAME,
            "version": 1,
            "drops": ["internal", "phi"],
            "signatures_missing": 1,
            "may_sign": ["approver"],
            "file": out,
        }
    shown = run(strict, "approver", "declassify", "countersign", "0.json", "--yes")
    assert "none" in next(line for line in shown.splitlines() if line.startswith("labels left"))
    assert "sent" in shown
    # What was signed for is not there any more.
    said = run(strict, "approver", "declassify", "countersign", "1.json", "--yes", code=1)
    assert "does not carry internal, phi" in said


def test_help_and_slips(strict: RunningBroker) -> None:
    said = run(strict, "researcher", "declassify", "--help")
    assert "countersign" in said
    assert "begin" in said
    assert "--drop" in run(strict, "researcher", "declassify", "begin", "--help")
    run(strict, "researcher", "declassify", code=2)
    said = run(strict, "researcher", "declassify", NAME, "--reason", "r", code=2)
    assert "--drop" in said
    said = run(
        strict, "researcher", "declassify", "results", "--drop", "phi", "--reason", "r", code=1
    )
    assert "is not the name of an artifact" in said
