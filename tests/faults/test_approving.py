"""More slips of those who ask and decide: too much, too long, for somebody else."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import msgspec

from tests.conftest import RunningBroker
from tests.faults.person import Met, Person, grant_in, ok
from tests.faults.table import Row
from tests.faults.test_at_the_log_in import invited


def test_approval_widens(row: Row, approving: Person, grant: str, artifact: str) -> None:
    for more in (("--for", "2h"), ("--only", "dataset/other")):
        met = approving.meets(row, "grant", "approve", grant, *more, "--yes")
        assert (met.holes["NAMES"], met.holes["TIME"]) == (artifact, "1h")
    met.follow(approving)
    assert "scheduled" in ok(approving.run("grant", "show", grant)).stdout


def test_extended_by_another(
    row: Row,
    broker: RunningBroker,
    at_terminal: Callable[[RunningBroker, str], Person],
    approving: Person,
    grant: str,
    artifact: str,
) -> None:
    """By an approver, who sees it, and may ask too."""
    other = at_terminal(broker, "xenia")
    add = "aisec person add xenia --role researcher --role approver"
    ok(other.run("login", "--token", invited(approving, add)))
    met = other.meets(row, "grant", "extend", grant, "--for", "1h", "--reason", "more")
    assert met.holes["NAMES"] == artifact
    assert grant_in(met.follow(other, TEXT="for myself")) != grant


def test_denied_while_waiting(
    row: Row, researching: Person, approving: Person, artifact: str
) -> None:
    ask = ("grant", "request", artifact, "--for", "1h", "--reason", "r", "--wait")
    client = approving.broker.client("approver")
    for flag in ((), ("--json",)):
        with ThreadPoolExecutor(1) as other:
            asked = other.submit(researching.under, ":", *ask, *flag)
            mine: list[str] = []
            while not mine and not asked.done():
                pending = client.grants("pending")
                mine = [one.id for one in pending if one.artifacts == (artifact,)]
            assert mine, asked.result()
            client.deny(mine[0], "not now")
            done = asked.result()
        assert done.returncode == row.exit
        if flag:
            assert msgspec.json.decode(done.stderr.splitlines()[-1])["code"] == row.code
        else:
            met = Met(row, done.stderr.splitlines()[-1].removeprefix("  next: "), ask)
            assert "not now" in met.follow(researching)


def test_reason_too_long(row: Row, approving: Person, grant: str) -> None:
    met = approving.meets(row, "grant", "deny", grant, "--reason", "r" * 4001)
    ok(approving.run(*met.with_option(TEXT="too much at once")))


def test_seat_malformed(row: Row, researching: Person, artifact: str) -> None:
    ask = ("grant", "request", artifact, "--for", "1h", "--reason", "r", "--seat", "me")
    met = researching.meets(row, *ask)
    grant_in(ok(researching.run(*met.with_option(NAME="nightly"))).stdout)


def test_asked_for_too_many(row: Row, researching: Person, artifact: str) -> None:
    names = [f"{artifact}@{number}" for number in range(1, 102)]
    ask = ("--for", "1h", "--reason", "r")
    researching.meets(row, "grant", "request", *names, *ask)
    ok(researching.run("grant", "request", names[0], *ask))
