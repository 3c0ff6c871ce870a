"""Beginning and countersigning a declassification: nobody signs what would be refused."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from jupyter_aisec.client import PersonClient, Unsent
from jupyter_aisec.client.countersign import (
    countersign,
    labels_left,
    may_sign,
    missing,
    prepare_declassification,
    prepare_removal,
    read_unsent,
    send,
    signers,
)
from jupyter_aisec.errors import ConflictError, LedgerError, RefusedError
from jupyter_aisec.grants.statements import Declassification
from jupyter_aisec.ledger.checkpoint import Checkpoint
from tests.conftest import RunningBroker

replace = msgspec.structs.replace


@pytest.fixture
def name(researcher: PersonClient, request: pytest.FixtureRequest) -> str:
    """A version of this test alone, with two labels."""
    artifact = f"results/{request.node.originalname.replace('_', '-')[:60]}"
    researcher.seal(artifact, {"x.csv": b"x\n1\n"}, labels=["internal", "phi"])
    return artifact


@pytest.fixture
def begun(researcher: PersonClient, name: str) -> Unsent:
    return prepare_declassification(researcher, name, None, ["phi"], "aggregates")[0]


def test_the_last_signature_needed_sends_it(
    researcher: PersonClient, approver: PersonClient, begun: Unsent, name: str
) -> None:
    assert read_unsent(begun.to_bytes()) == begun
    assert (missing(researcher, begun), labels_left(approver, begun)) == (1, ("internal",))
    assert may_sign(researcher, _said(begun)) == ("approver",)
    with pytest.raises(ConflictError):
        countersign(researcher, begun)
    both = countersign(approver, begun)
    assert (signers(approver, both), missing(approver, both)) == (("researcher", "approver"), 0)
    for _ in range(2):  # the reply may be lost
        assert send(approver, both)["labels"] == ["internal"]
    view = researcher.artifact(name)
    assert view.labels == ("internal",)
    (dropped,) = view.dropped
    assert str(dropped) == f"phi in entry {dropped.entry} by researcher with approver"
    with pytest.raises(RefusedError, match="does not carry phi"):
        missing(approver, both)


def test_other_statements_leave_no_labels(researcher: PersonClient) -> None:
    assert labels_left(researcher, prepare_removal(researcher, "approver")) is None


def test_an_older_version_is_named(researcher: PersonClient, name: str) -> None:
    researcher.seal(name, {"x.csv": b"x\n2\n"})
    with pytest.raises(RefusedError):
        prepare_declassification(researcher, name, None, ["phi"], "aggregates")
    _, said = prepare_declassification(researcher, name, 1, ["phi", "phi"], "aggregates")
    assert (said.version, said.drops) == (1, ("phi",))


def test_what_nobody_could_approve_is_not_begun(broker: RunningBroker) -> None:
    """The approver's own: nobody else whom the rules name has a key."""
    broker.add("invited", "approver")
    approver = broker.client("approver")
    approver.seal("results/own", {"x.csv": b"x\n1\n"}, labels=["phi"])
    with pytest.raises(RefusedError) as caught:
        prepare_declassification(approver, "results/own", None, ["phi"], "aggregates")
    assert caught.value.code == "approvers-too-few"


def _said(unsent: Unsent) -> Declassification:
    said = unsent.statement
    assert isinstance(said, Declassification)
    return said


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"seal_id": "seal_other"}, "declassified-other"),
        ({"manifest_sha256": "0" * 64}, "declassified-other"),
        ({"policy_version": 7}, "policy-changed"),
        ({"drops": ("secret",)}, "label-not-carried"),
        ({"version": 99}, "version-unknown"),
    ],
)
def test_what_is_not_as_the_broker_shows_it_is_not_signed(
    researcher: PersonClient,
    approver: PersonClient,
    begun: Unsent,
    changes: dict[str, Any],
    code: str,
) -> None:
    other = Unsent(envelope=researcher.sign(replace(_said(begun), **changes)))
    for step in (labels_left, countersign):
        with pytest.raises(RefusedError) as caught:
            step(approver, other)
        assert caught.value.code == code


def test_what_was_begun_in_another_ledger_is_not_signed(
    researcher: PersonClient, approver: PersonClient, begun: Unsent
) -> None:
    now = researcher.checkpoint()
    for size in (now.size, now.size + 1000):
        brief = Checkpoint(now.origin, size, bytes(32)).brief
        other = replace(_said(begun), checkpoint=brief)
        with pytest.raises(LedgerError):
            countersign(approver, Unsent(envelope=researcher.sign(other)))
