"""Breaking the glass from the command line, end to end on a real broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.test_commands import Aisec, aisec, name
from tests.conftest import BREAKABLE, RunningBroker

__all__ = ["aisec", "name"]  # fixtures

ASK = ("--for", "1h", "--reason", "the pager went")


@pytest.fixture
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """A broker of this test alone: what is owed is owed by the person, whatever the test."""
    broker = RunningBroker(tmp_path_factory.mktemp("broker"))
    broker.start()
    broker.put_in_force(BREAKABLE)
    yield broker
    broker.stop()


@pytest.fixture
def broken(aisec: Aisec, name: str) -> str:
    said = aisec("researcher", "grant", "request", name, *ASK, "--break-glass", "--json")
    return str(said.json["id"])


def test_the_whole_way(aisec: Aisec, name: str) -> None:
    dry = aisec("researcher", "grant", "request", name, *ASK, "--break-glass", "--dry-run")
    assert "1 of approver must review it" in dry.out
    assert aisec("researcher", "grant", "list").out.count("grant_") == 0
    said = aisec("researcher", "grant", "request", name, *ASK, "--break-glass")
    grant = said.out.split()[0]
    assert "is scheduled, break-glass, review owed: nobody approved it" in said.out
    assert f"aisec grant review {grant}" in said.out

    for command in (("whoami",), ("login",)):
        told = aisec("approver", *command)
        assert "1 break-glass grant waits for your review: `aisec grant list --review`" in told.err
    assert aisec("approver", "whoami", "--json").json["reviews_waiting"] == 1
    assert aisec("researcher", "whoami").err == ""
    waiting = aisec("approver", "grant", "list", "--review", "--json").json
    assert [one["id"] for one in waiting] == [grant]
    assert aisec("researcher", "grant", "list", "--review", "--json").json == []
    shown = aisec("approver", "grant", "show", grant).out
    assert "0 of 1 reviews" in shown
    assert f"approver can review it: aisec grant review {grant}" in shown
    assert "Break-glass: no approval is asked for, at most 15m" in shown
    assert "15m" in shown

    signed = aisec("approver", "grant", "review", grant, "--comment", "a drill", "--yes")
    for part in (
        "application/vnd.jupyter-aisec.review+json",
        "the pager went",
        "request_sha256",
        "verdict",
        "justified",
        "a drill",
        f"{grant} was found justified; its review is done.",
    ):
        assert part in signed.out
    assert "break-glass grant" not in aisec("approver", "whoami").err
    assert aisec("approver", "grant", "list", "--review").out.count("grant_") == 0
    assert "justified, approver at" in aisec("researcher", "grant", "show", grant).out
    assert "every row of every table" in aisec("approver", "audit", "verify").out


def test_one_that_was_not_justified_is_revoked_apart(aisec: Aisec, broken: str) -> None:
    said = aisec("approver", "grant", "review", broken, "--unjustified", "--json").json
    assert [one["verdict"] for one in said["reviews"]] == ["unjustified"]
    assert said["state"] == "scheduled"
    assert aisec("approver", "grant", "revoke", broken).code == 0


def test_who_says_no_signs_nothing(
    aisec: Aisec, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("typer.confirm", lambda *args, **kwargs: False)
    assert aisec("approver", "grant", "review", broken).code == 1
    assert aisec("approver", "whoami", "--json").json["reviews_waiting"] == 1


def test_another_who_must_review_is_named(aisec: Aisec, broker: RunningBroker, name: str) -> None:
    aisec("olga", "login", "--token", broker.add("olga", "approver"))
    broker.put_in_force(BREAKABLE.replace("approvals = 1", "approvals = 2"))
    said = aisec("researcher", "grant", "request", name, *ASK, "--break-glass", "--json").json
    reviewed = aisec("approver", "grant", "review", said["id"], "--yes")
    assert f"{said['id']} was found justified; it waits for olga." in reviewed.out


def test_several_that_wait_are_counted(aisec: Aisec, broker: RunningBroker, name: str) -> None:
    aisec("hana", "login", "--token", broker.add("hana", "researcher"))
    for person in ("researcher", "hana"):
        said = aisec(person, "grant", "request", name, *ASK, "--break-glass")
        assert said.code == 0, said.err
    assert "2 break-glass grants wait for your review" in aisec("approver", "whoami").err


def test_it_is_extended_only_once_it_was_reviewed(aisec: Aisec, broken: str) -> None:
    extend = ("grant", "extend", broken, *ASK, "--break-glass")
    refused = aisec("researcher", *extend)
    assert (refused.code, "its review is still owed" in refused.err) == (1, True)
    assert aisec("approver", "grant", "review", broken, "--yes").code == 0
    assert "nobody approved it" in aisec("researcher", *extend).out


def test_the_policy_says_it_in_words(aisec: Aisec) -> None:
    explained = aisec("researcher", "policy", "explain").out
    assert "Break-glass: without that, at most 15m, to be reviewed after." in explained


def test_a_stale_token_in_the_environment_does_not_hinder_the_log_in(
    aisec: Aisec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AISEC_TOKEN", "gone")
    assert aisec("approver", "login").code == 0
