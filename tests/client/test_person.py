"""A person's dealings with a real broker."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from jupyter_aisec.client import Home, KernelClient, PersonClient, Session, http
from jupyter_aisec.client.countersign import (
    countersign,
    missing,
    new_token,
    prepare_invitation,
    prepare_removal,
    send,
)
from jupyter_aisec.errors import (
    ConflictError,
    IdentityError,
    LedgerError,
    MalformedError,
    NotFoundError,
    RefusedError,
    SignatureError,
    UsageError,
)
from jupyter_aisec.ids import new_id
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.sealed import UrlFolder, open_artifact, version_url
from jupyter_aisec.sealed.artifact import seal_artifact
from jupyter_aisec.sealed.release import ReleaseKey
from jupyter_aisec.times import format_time
from tests.conftest import RunningBroker

DATA = {"a.csv": b"x,y\n1,2\n"}


@pytest.fixture
def name(researcher: PersonClient, request: pytest.FixtureRequest) -> str:
    """An artifact of this test alone."""
    artifact = f"dataset/{request.node.originalname.replace('_', '-')[:60]}"
    assert researcher.seal(artifact, DATA).artifact == artifact
    return artifact


def pending(researcher: PersonClient, name: str) -> str:
    return researcher.request([name], 3600, "test").id


def bound(researcher: PersonClient, grant: str) -> KernelClient:
    key, release = SigningKey.generate(), ReleaseKey.generate()
    seat = researcher.read_request(researcher.grant(grant)).seat
    researcher.bind(
        grant,
        seat=seat,
        kernel_key=key.public,
        release_key=release.public,
        isolation="none",
    )
    return KernelClient(
        researcher.http.url, key, release, researcher.trust, bearer=researcher.bearer
    )


def test_the_whole_way_of_a_key(
    researcher: PersonClient, approver: PersonClient, name: str
) -> None:
    grant = pending(researcher, name)
    view = approver.approve(grant)
    assert (view.state, len(view.approvals)) == ("scheduled", 1)
    kernel = bound(researcher, grant)
    assert kernel.grant(grant).state == "active"
    artifact = kernel.artifact(name)
    release = kernel.keys(grant, name)
    opened = open_artifact(artifact.manifest, lambda _: release.keys, UrlFolder(artifact.url))
    assert opened.read("a.csv") == DATA["a.csv"]

    lease = researcher.lease(grant)
    assert lease.state == "active"
    assert lease.warn
    assert researcher.return_(grant, "done").ended_why == "returned"
    researcher.ended(grant, kernel.kernel, "wiped")
    assert researcher.grant(grant).ending == ()
    with pytest.raises(RefusedError):
        kernel.keys(grant, name)


def test_a_kernel_registers_what_it_sealed(
    researcher: PersonClient, approver: PersonClient, name: str
) -> None:
    grant = pending(researcher, name)
    approver.approve(grant)
    kernel = bound(researcher, grant)
    kernel.keys(grant, name)
    seal_id = new_id("seal")
    url = version_url(kernel.store(), f"{name}-out", seal_id)
    result = seal_artifact(f"{name}-out", DATA, UrlFolder(url), kernel.key, seal_id=seal_id)
    assert kernel.sealed(result, url).version == 1
    assert kernel.artifact(f"{name}-out").seal_id == result.manifest.seal_id


def test_versions(researcher: PersonClient, name: str) -> None:
    assert researcher.seal(name, DATA, labels=["secret"]).version == 2
    assert [one.version for one in researcher.versions(name)] == [1, 2]
    assert researcher.artifact(name).labels == ("secret",)
    assert researcher.artifact(name, 1).version == 1
    assert name in {one.artifact for one in researcher.artifacts()}
    with pytest.raises(NotFoundError):
        researcher.artifact("dataset/none")
    with pytest.raises(MalformedError):
        researcher.versions("../people")


def test_an_approver_narrows(researcher: PersonClient, approver: PersonClient, name: str) -> None:
    researcher.seal(f"{name}-2", DATA)
    grant = researcher.request([name, f"{name}-2"], 3600, "test").id
    view = approver.approve(grant, seconds=60, only=[name])
    assert (view.artifacts, view.seconds) == ((name,), 60)
    again = researcher.extend(grant, 30, "more")
    assert researcher.read_request(again).extends == grant


@pytest.mark.parametrize(
    ("who", "how", "why"),
    [
        ("approver", "deny", "denied"),
        ("researcher", "withdraw", "withdrawn"),
    ],
)
def test_a_pending_request_ends(
    broker: RunningBroker, researcher: PersonClient, name: str, who: str, how: str, why: str
) -> None:
    grant = pending(researcher, name)
    view = getattr(broker.client(who), how)(grant, "no")
    assert (view.state, view.ended_why) == ("ended", why)
    assert grant not in {one.id for one in researcher.grants("pending")}
    assert grant in {one.id for one in researcher.grants()}


def test_an_approver_revokes(researcher: PersonClient, approver: PersonClient, name: str) -> None:
    grant = pending(researcher, name)
    approver.approve(grant)
    bound(researcher, grant)
    assert approver.revoke(grant, "stop").ended_why == "revoked"


def test_what_the_broker_shows_must_be_what_was_signed(
    researcher: PersonClient, approver: PersonClient, name: str
) -> None:
    view = approver.grant(pending(researcher, name))
    for change in (
        {"reason": "harmless"},
        {"person": "approver"},
        {"artifacts": (name, "weights/all")},
        {"seconds": 3601},
    ):
        with pytest.raises(SignatureError) as caught:
            approver.prepare_approval(msgspec.structs.replace(view, **change))
        assert caught.value.code == "request-differs"


def test_a_person_joins_and_leaves(
    broker: RunningBroker, researcher: PersonClient, approver: PersonClient, tmp_path: Path
) -> None:
    once, token = prepare_invitation(researcher, "newcomer", ["researcher"])
    assert missing(researcher, once) == 1
    send(approver, countersign(approver, once))
    newcomer = PersonClient(broker.url, Home(tmp_path))
    newcomer.enrol(token)
    assert newcomer.whoami().person == "newcomer"
    with pytest.raises(RefusedError):
        PersonClient(broker.url, Home(tmp_path / "thief")).enrol(token)
    [key] = next(one.keys for one in researcher.people() if one.name == "newcomer")
    assert key.key == newcomer.home.key().public
    newcomer.revoke_key(key.key.key_id)
    with pytest.raises(RefusedError):
        newcomer.login()
    send(researcher, prepare_removal(researcher, "newcomer"))
    assert next(one for one in researcher.people() if one.name == "newcomer").removed is not None


def test_who_nobody_knows_is_told_how_to_log_in(broker: RunningBroker, tmp_path: Path) -> None:
    stranger = PersonClient(broker.url, Home(tmp_path))
    with pytest.raises(IdentityError, match="aisec login") as caught:
        stranger.whoami()
    assert caught.value.code == "not-logged-in"
    with pytest.raises(UsageError) as misuse:
        stranger.enrol("nonsense")
    assert misuse.value.code == "token-malformed"
    with pytest.raises(RefusedError):
        stranger.enrol(new_token("stranger"))


def test_a_session_that_ran_out_is_renewed_by_the_key(researcher: PersonClient) -> None:
    past = format_time(datetime.now(UTC) - timedelta(hours=1))
    researcher.home.keep_session(Session(token="old", expires=past, person="researcher"))
    assert researcher.whoami().person == "researcher"


def test_a_given_token_is_used_and_shown_nowhere(
    broker: RunningBroker, researcher: PersonClient, tmp_path: Path
) -> None:
    session = researcher.login()
    job = PersonClient(broker.url, Home(tmp_path), token=session.token)
    assert job.whoami().person == "researcher"
    assert session.token not in repr(job)
    with pytest.raises(IdentityError) as caught:
        PersonClient(broker.url, Home(tmp_path), token="wrong-token").whoami()
    assert "wrong-token" not in str(caught.value)


def test_a_broker_made_anew_is_not_the_one_that_was_pinned(
    broker: RunningBroker, researcher: PersonClient, tmp_path: Path
) -> None:
    home = Home(tmp_path)
    home.keep_trust(
        msgspec.structs.replace(researcher.trust, genesis_sha256="00" * 32, origin="other")
    )
    with pytest.raises(LedgerError, match="origin, genesis_sha256") as caught:
        _ = PersonClient(broker.url, home).trust
    assert caught.value.code == "broker-changed"


def test_events_are_followed_from_where_one_was(
    researcher: PersonClient, approver: PersonClient, name: str
) -> None:
    before = researcher.checkpoint().size - 1
    grant = pending(researcher, name)
    approver.deny(grant, "no")
    events = researcher.events(before)
    types = [next(events).type for _ in range(2)]
    assert types == ["grant.requested", "grant.denied"]


def test_the_ledger_can_be_read(researcher: PersonClient) -> None:
    assert researcher.entries(0, 1)[0].type == "genesis"
    assert researcher.audit().findings == ()
    assert researcher.policy().version >= 0
    assert researcher.runs() == ()
    with pytest.raises(NotFoundError):
        researcher.run("run_01ARZ3NDEKTSV4RRFFQ69G5FAV")
    with pytest.raises(NotFoundError):
        researcher.bundle("seal_01ARZ3NDEKTSV4RRFFQ69G5FAV")


def test_lists_are_followed_to_their_end(
    researcher: PersonClient, approver: PersonClient, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    researcher.seal(name, DATA)
    researcher.seal(name, DATA)
    grants = [pending(researcher, name) for _ in range(3)]
    monkeypatch.setattr(http, "PAGE", 2)
    assert [one.id for one in researcher.grants() if one.artifacts == (name,)] == grants
    kernel = KernelClient(
        researcher.http.url,
        SigningKey.generate(),
        ReleaseKey.generate(),
        researcher.trust,
        bearer=researcher.bearer,
    )
    assert {one.id for one in kernel.grants()} >= set(grants)
    researcher.withdraw(grants[0])
    waiting = [one.id for one in approver.grants("pending")]
    assert [one for one in waiting if one in grants] == grants[1:]
    assert [one.version for one in researcher.versions(name)] == [1, 2, 3]
    assert name in {one.artifact for one in researcher.artifacts()}


class Entries:
    """Answers that hold so many of ten at a time."""

    def __init__(self, make: Callable[[int], int]) -> None:
        self.make, self.asked = make, 0

    def get(self, _: str, params: dict[str, int]) -> list[dict[str, Any]]:
        self.asked += 1
        first = params["from"]
        return [
            {"index": self.make(one), "at": "", "type": "", "salt": "", "body": ""}
            for one in range(first, min(first + 3, 10))
        ]


def test_entries_go_on_after_what_one_answer_holds(
    researcher: PersonClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(researcher, "http", Entries(lambda one: one))
    assert [one.index for one in researcher.entries(0, 20)] == list(range(10))
    stuck = Entries(lambda _: 0)
    monkeypatch.setattr(researcher, "http", stuck)
    assert len(researcher.entries(0, 20)) == 3
    assert stuck.asked == 2  # what goes nowhere is not followed


def test_approving_twice_is_a_conflict(
    researcher: PersonClient, approver: PersonClient, name: str
) -> None:
    grant = pending(researcher, name)
    approver.approve(grant)
    with pytest.raises(ConflictError):
        approver.approve(grant)
