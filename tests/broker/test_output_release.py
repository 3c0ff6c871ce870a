"""Opening saved outputs over HTTP: promise P1 for all they were made from."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from jupyter_aisec.errors import KeyStoreError, MalformedError
from jupyter_aisec.grants.statements import OutputReleaseStatement
from jupyter_aisec.ids import new_id
from jupyter_aisec.ledger.bodies import OutputReleased
from jupyter_aisec.people.dsse import Envelope, verify
from jupyter_aisec.sealed.outputs import SealedOutput
from tests.broker.saved_outputs import SHOWN, ask_output, open_saved, saved_output
from tests.broker.world import Api, Kernel, Sealed, Site, ok, problem, seal, serve

DIGITS, BASE = "dataset/digits", "weights/base"


class Opening:
    """An output made from two artifacts, and a kernel that may open both, by two grants."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.kernel = Kernel()
        self.made_from = [seal(one, api.site.keys["researcher"]) for one in (DIGITS, BASE)]
        self.grants = []
        for one in self.made_from:
            api.seal(one, person="researcher")
            view = api.ask(one.artifact)
            api.approve(view)
            api.bind(view, self.kernel)
            self.grants.append(view["id"])
        self.saved = saved_output(*self.made_from)

    def ask(self, **changes: Any) -> Any:
        return ask_output(self.api, self.saved, self.grants, self.kernel, **changes)


@pytest.fixture
def opening(api: Api) -> Opening:
    return Opening(api)


def logged(api: Api, person: str = "approver") -> list[dict[str, Any]]:
    shown = api.get("/v1/ledger/entries", person)
    return [one for one in shown if one["type"] == "output.released"]


def test_the_output_opens_as_it_was_and_the_ledger_says_who_saw_what(
    api: Api, opening: Opening
) -> None:
    answer = ok(opening.ask())
    assert open_saved(answer, opening.saved, opening.kernel) == SHOWN
    assert [(one["artifact"], one["grant"]) for one in answer["sources"]] == list(
        zip((DIGITS, BASE), opening.grants, strict=True)
    )
    (entry,) = logged(api)
    assert entry["index"] == answer["entry"]
    body = msgspec.json.decode(msgspec.convert(entry["body"], bytes), type=OutputReleased)
    assert body.ciphertext_sha256 == opening.saved.header.ciphertext_sha256
    assert [one.approvals for one in body.sources] == [1, 1]
    assert logged(api, "researcher") == logged(api)
    envelope = msgspec.convert(answer["signature"], Envelope)
    verify(envelope, api.site.trust.broker_key)
    type_ = OutputReleaseStatement
    assert envelope.read(type_, type_.payload_type, "It").entry == answer["entry"]
    assert api.get("/v1/audit", "approver")["findings"] == []


def test_the_key_opens_for_no_other_kernel(opening: Opening) -> None:
    answer = ok(opening.ask())
    with pytest.raises(Exception, match="does not open"):
        open_saved(answer, opening.saved, Kernel())


@pytest.mark.parametrize("lost", [0, 1], ids=["the first", "the second"])
def test_one_grant_that_ended_is_enough_to_refuse(api: Api, opening: Opening, lost: int) -> None:
    action = new_id("action")
    ok(opening.ask(action=action))
    api.decide(opening.grants[lost], "revoke", "approver")
    problem(opening.ask(), 403, "grant-ended")
    problem(opening.ask(action=action), 403, "grant-ended")  # a repeat gets nothing more
    refusals = [
        msgspec.json.decode(msgspec.convert(one["body"], bytes))
        for one in api.get("/v1/ledger/entries", "approver")
        if one["type"] == "action.refused"
    ]
    assert (refusals[0]["action"], refusals[0]["subject"]) == ("output", f"{DIGITS}, {BASE}")
    assert len(logged(api)) == 1


def test_a_grant_for_something_else_opens_nothing(api: Api, opening: Opening) -> None:
    opening.grants.reverse()
    problem(opening.ask(), 403, "artifact-not-granted")
    assert logged(api) == []


def test_another_kernel_of_the_same_person_opens_nothing(api: Api, opening: Opening) -> None:
    opening.kernel = Kernel()
    problem(opening.ask(), 401, "kernel-signature-invalid")
    _, opening.kernel = api.granted()
    problem(opening.ask(), 401, "kernel-not-bound")


def test_a_token_alone_opens_nothing(api: Api, opening: Opening) -> None:
    body = {"header": msgspec.to_builtins(opening.saved.header), "grants": {}}
    headers = {"Aisec-Action": new_id("action")}
    answer = api.send("POST", "/v1/outputs/keys", body, person="researcher", headers=headers)
    problem(answer, 401, "kernel-signature-missing")


def keys_of(saved: SealedOutput) -> Any:
    return msgspec.to_builtins(saved.header)["keys"]


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        (lambda saved: {"ciphertext_sha256": "0" * 64}, 422, "output-header-changed"),
        (lambda saved: {"ciphertext_sha256": "x"}, 422, "content-malformed"),
        (lambda saved: {"wrapped": "AAAA"}, 422, "output-malformed"),
        (lambda saved: {"wrapped": "A" * 200_004}, 422, "content-malformed"),
        (
            lambda saved: {"wrapped": saved_output_header(saved, flip=True)},
            422,
            "output-header-changed",
        ),
        (lambda saved: {"keys": keys_of(saved)[::-1]}, 422, "output-sources-invalid"),
        (lambda saved: {"keys": keys_of(saved)[:1]}, 422, "output-grants-differ"),
        (lambda saved: {"keys": keys_of(saved) * 51}, 422, "content-malformed"),
        (lambda saved: {"format": "v2"}, 422, "content-malformed"),
        (
            lambda saved: {"keys": [{**one, "artifact": DIGITS} for one in keys_of(saved)]},
            404,
            "output-source-unknown",
        ),
    ],
    ids=[
        "another ciphertext",
        "no digest",
        "too short",
        "too long",
        "a bit",
        "order",
        "a key less",
        "too many",
        "format",
        "another name",
    ],
)
def test_a_changed_header_is_refused_and_logged_as_no_release(
    api: Api, opening: Opening, changes: Any, status: int, code: str
) -> None:
    problem(opening.ask(**changes(opening.saved)), status, code)
    assert logged(api) == []
    ok(opening.ask())


def saved_output_header(saved: SealedOutput, *, flip: bool) -> Any:
    wrapped = bytearray(saved.header.wrapped)
    wrapped[-1] ^= flip
    return msgspec.to_builtins(bytes(wrapped))


def test_an_equal_repeat_gets_the_recorded_outcome_again(api: Api, opening: Opening) -> None:
    action = new_id("action")
    first, again = (ok(opening.ask(action=action)) for _ in "12")
    assert (again["entry"], again["sources"]) == (first["entry"], first["sources"])
    assert again["key"] != first["key"]  # newly encrypted
    assert open_saved(again, opening.saved, opening.kernel) == SHOWN
    assert len(logged(api)) == 1
    opening.saved = saved_output(*opening.made_from)
    problem(opening.ask(action=action), 409, "action-reused")


def test_an_action_id_of_keys_opens_no_output(api: Api, opening: Opening) -> None:
    action = new_id("action")
    ok(api.release(opening.grants[0], DIGITS, opening.kernel, action=action))
    problem(opening.ask(action=action), 409, "action-reused")


@pytest.mark.parametrize(
    ("where", "error", "status"),
    [
        ("jupyter_aisec.broker.output_releases.seal_key", MalformedError("No key."), 422),
        ("jupyter_aisec.broker.keystore.EmbeddedKeyStore.unwrap", KeyStoreError("Gone."), 503),
    ],
    ids=["cannot be encrypted", "key store away"],
)
def test_what_could_not_be_released_is_not_in_the_ledger(
    api: Api,
    opening: Opening,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    error: Exception,
    status: int,
) -> None:
    def fail(*_: object) -> None:
        raise error

    before = api.checkpoint()
    with monkeypatch.context() as patch:
        patch.setattr(where, fail)
        assert opening.ask().status_code == status
    assert api.checkpoint() == before


def test_an_output_key_that_is_not_there_is_tampering(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(site) as (api, broker):
        opening = Opening(api)
        monkeypatch.setattr(broker.ledger, "wrapped_key", lambda *_: None)
        problem(opening.ask(), 503, "ledger-tampered")
        monkeypatch.undo()
        broker.ledger._rows["wrapped_keys"].pop()
        problem(opening.ask(), 503, "ledger-tampered")


def test_labels_flow_from_an_opened_output(api: Api) -> None:
    """What the kernel seals afterwards has all of it among what it has opened."""
    opening = Opening(api)
    ok(opening.ask())
    made: Sealed = seal("results/plot", opening.kernel.key)
    api.seal(made, kernel=opening.kernel)
    assert api.get("/v1/audit", "approver")["findings"] == []
