"""Limits at the command line: in words, counted by a dry run, found by a search."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from jupyter_aisec.grants.policy import DEFAULT_POLICY_TEXT
from tests.conftest import RunningBroker

LIMITED = f'{DEFAULT_POLICY_TEXT}[limits]\ngrants = 1\nbytes = "1GB"\n'
IN_WORDS = "Each person gets at most 1 grant, 1 GB in any hour; reaching a limit is an alert."


@pytest.fixture
def limited(own_broker: RunningBroker, tmp_path: Path) -> RunningBroker:
    file = tmp_path / "policy.toml"
    file.write_text(LIMITED)
    said = own_broker.run("policy", "apply", str(file), "--yes", person="approver")
    assert IN_WORDS in said.stdout
    change = str(tmp_path / "policy.change.json")
    own_broker.run("policy", "countersign", change, "--yes", person="researcher").check_returncode()
    own_broker.client("researcher").seal("dataset/digits", {"x.csv": b"x\n1\n"})
    return own_broker


def found(broker: RunningBroker, *words: str) -> Any:
    done = broker.run("audit", "search", *words, "--json", person="approver")
    return msgspec.json.decode(done.stdout)


def test_they_are_said_counted_refused_and_found(limited: RunningBroker, tmp_path: Path) -> None:
    assert IN_WORDS in limited.run("policy", "explain", person="researcher").stdout
    checked = limited.run("policy", "check", str(tmp_path / "policy.toml"), person="researcher")
    assert IN_WORDS in checked.stdout
    ask = ("grant", "request", "dataset/digits", "--for", "1h", "--reason", "counted")
    counted = limited.run(*ask, "--dry-run", "--json", person="researcher")
    reasons = msgspec.json.decode(counted.stdout)["terms"]["reasons"]
    assert reasons[-2:] == [
        "Within the hour researcher asked for 0 of 1 grant.",
        "Within the hour researcher opened 0 B of 1 GB.",
    ]
    limited.run(*ask, person="researcher").check_returncode()
    for more in ((), ("--dry-run",)):
        refused = limited.run(*ask, *more, person="researcher")
        assert refused.returncode == 1
        assert "the limit of each person is 1 grant" in refused.stderr
        assert "There is room again at" in refused.stderr
    (alert,) = found(limited, "alert.raised", "researcher")
    assert (alert["type"], alert["body"]["limit"]) == ("alert.raised", "grants")
    shown = limited.run("audit", "search", "alert", person="approver").stdout
    assert "researcher" in shown
    assert len(found(limited, "limit-reached")) == 1  # the kept refusal; a dry run is none
    verified = limited.run("audit", "verify", person="approver")
    assert "every row of every table is what was logged" in verified.stdout
