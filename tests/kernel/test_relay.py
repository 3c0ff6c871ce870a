"""The keeper's relay, served in this process, with a kernel that goes through it."""

from __future__ import annotations

import http.client
import threading
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
import requests
import torch

from jupyter_aisec.broker.keystore import open_key_store
from jupyter_aisec.client import http as http_of_client
from jupyter_aisec.errors import (
    AisecError,
    BrokerUnreachableError,
    NotFoundError,
    RefusedError,
    SealError,
)
from jupyter_aisec.ids import new_id
from jupyter_aisec.kernel import keeping, shelf
from jupyter_aisec.kernel.desk import KeeperDesk
from jupyter_aisec.kernel.folder import RelayFolder
from jupyter_aisec.kernel.refusals import kind_of
from jupyter_aisec.kernel.saved import open_saved
from jupyter_aisec.ledger import Checkpoint, NoteSigner, open_checkpoint, sign_checkpoint
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.provenance.facts import Observation
from jupyter_aisec.sealed.artifact import seal_artifact
from jupyter_aisec.sealed.manifest import read_manifest
from jupyter_aisec.sealed.release import ReleaseKey
from jupyter_aisec.sealed.store import version_url

from .conftest import sealed, wait_for
from .test_saved import STREAM, saved
from .test_walk_ordinary import TRAIN, run

GRANT = "grant_01ARZ3NDEKTSV4RRFFQ69G5FAV"
SEAL_ID = "seal_01ARZ3NDEKTSV4RRFFQ69G5FAV"


def test_the_whole_walk_over_the_relay(relayed, capsys):
    relay = relayed.relay
    run(relayed, '%grant request dataset/rows weights/base --for 1h --reason "over the relay"')
    grant = relayed.world.approve_next()
    run(relayed, "%load_secure dataset/rows as df")
    run(relayed, "%load_secure weights/base as state")
    assert torch.equal(relayed.shell.user_ns["state"]["b"], torch.ones(3))
    assert [(what[0]) for what in relay.opened] == ["dataset/rows", "weights/base"]
    run(relayed, TRAIN)
    run(relayed, "%save_secure model as weights/relayed")
    view = relayed.world.researcher.artifact("weights/relayed")
    bundle = relayed.world.researcher.bundle(view.seal_id)
    envelope = msgspec.convert(bundle["observation"], type=Envelope)
    seen = envelope.read(Observation, Observation.payload_type, "it")
    assert (seen.isolation, seen.person) == ("partial", "researcher")
    run(relayed, "%provenance")
    assert "isolation partial" in capsys.readouterr().out
    desk = relayed.face.session.desk
    assert desk.lease(grant).state == "active"
    assert desk.extend(grant, 60, "more").state == "pending"
    pending = relayed.face.session.grants()[0]
    run(relayed, f"%grant withdraw {pending.id}")
    run(relayed, f"%grant return {grant}")
    assert "df" not in relayed.shell.user_ns
    assert relay.refused == []


def test_a_saved_output_of_an_older_version_opens_over_the_relay(relayed):
    """The keeper hears of all it was made from, though nobody asked it for that manifest."""
    world, relay = relayed.world, relayed.relay
    world.researcher.seal("dataset/shown", {"a.txt": b"first"})
    bundle = saved(world, artifacts=("dataset/shown", "weights/base"))
    first = world.researcher.artifact("dataset/shown")
    world.researcher.seal("dataset/shown", {"a.txt": b"second"})
    pinned = f"dataset/shown@{first.version}"
    run(relayed, f'%grant request {pinned} weights/base --for 1h --reason "a look"')
    world.approve_next()
    assert open_saved(relayed.face, bundle) == STREAM
    assert [what[0] for what in relay.opened] == ["dataset/shown", "weights/base"]
    assert relay.opened[0][1:] == (first.seal_id, read_manifest(first.manifest).output_key)
    assert relay.refused == []


def test_a_release_that_the_keeper_cannot_learn_from_is_not_passed_on(relayed, monkeypatch):
    def away(*_):
        raise BrokerUnreachableError("Away.")

    world = relayed.world
    run(relayed, '%grant request dataset/rows weights/base --for 1h --reason "a look"')
    world.approve_next()
    monkeypatch.setattr(relayed.relay.keeping.person, "artifact", away)
    with pytest.raises(AisecError):
        open_saved(relayed.face, saved(world))
    assert relayed.relay.opened == []
    assert relayed.face.session.ever_opened == {}


def test_the_keeper_remembers_the_ledger_of_each_release(relayed):
    home = relayed.world.researcher.home
    run(relayed, '%grant request dataset/rows --for 1h --reason "a look"')
    relayed.world.approve_next()
    run(relayed, "%load_secure dataset/rows as df")
    (entry,) = [view.entry for view in relayed.face.session.ever_opened.values()]
    log_key = relayed.world.researcher.trust.log_key
    wait_for(lambda: open_checkpoint(home.checkpoint(), log_key).size > entry)


def test_a_ledger_with_another_past_releases_nothing_more(relayed, caplog):
    """One release is out before its ledger is checked; the next one is not asked for."""
    world, home = relayed.world, relayed.world.researcher.home
    run(relayed, '%grant request dataset/rows weights/base --for 1h --reason "a look"')
    world.approve_next()
    seen = home.checkpoint()
    keys = open_key_store(world.broker.home).keys()
    size = world.researcher.checkpoint().size
    other = Checkpoint(keys.origin, size, bytes(32))
    home.keep_checkpoint(sign_checkpoint(other, NoteSigner(keys.origin, keys.log)))
    try:
        run(relayed, "%load_secure dataset/rows as df")
        wait_for(lambda: "rolled back or forked" in caplog.text)
        with pytest.raises(AisecError) as raised:
            run(relayed, "%load_secure weights/base as state")
        assert raised.value.code == "ledger-rolled-back"
        assert [what[0] for what in relayed.relay.opened] == ["dataset/rows"]
    finally:
        home.keep_checkpoint(seen)


def test_lists_go_on_over_the_relay(relayed, monkeypatch):
    session, researcher = relayed.face.session, relayed.world.researcher
    asked = [researcher.request(["dataset/rows"], 60, "a page of one").id for _ in range(3)]
    monkeypatch.setattr(http_of_client, "PAGE", 1)
    assert {view.id for view in session.grants()} >= set(asked)
    assert relayed.relay.refused == []


def test_events_reach_the_kernel(relay):
    events = KeeperDesk(relay.url).events()
    heard = []
    reading = threading.Thread(target=lambda: heard.append(next(events)))
    reading.start()
    while not relay.guardian._readers:
        reading.join(0.01)
    relay.guardian._tell({"type": "ending", "grant": "g", "why": "revoked"})
    reading.join(20)
    assert heard == [{"type": "ending", "grant": "g", "why": "revoked"}]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/people"),
        ("POST", "/v1/grants"),
        ("POST", f"/v1/grants/{GRANT}/approve"),
        ("GET", "/keeper/anything"),
        ("POST", "/keeper/approve"),
        ("GET", "/v1/ledger/entries"),
        ("GET", "/v1/whoami?note=plaintext"),
        ("DELETE", "/v1/whoami"),
        ("BREW", "/keeper/about"),
    ],
)
def test_what_is_not_on_the_list_is_refused_and_an_event(relay, method, path):
    answer = requests.request(method, relay.url + path, json={})
    assert answer.status_code == 403
    assert answer.json()["code"] == "relay-refused"
    assert relay.refused == [(method, path.partition("?")[0])]
    assert kind_of(*relay.refused[0])[1] != "elsewhere"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/keeper/bind", {"grant": GRANT}),
        ("/keeper/observe", {}),
        ("/keeper/request", {"artifacts": "dataset/rows"}),
        ("/keeper/request", {"approve": True}),
        ("/keeper/withdraw", {"grant": f"{GRANT}/../../people"}),
        ("/keeper/request", {"reason": "x" * 70_000}),
        ("/v1/artifacts", {"url": "file:///tmp"}),
    ],
)
def test_what_the_keeper_cannot_read_is_malformed(relay, path, body):
    answer = requests.post(relay.url + path, json=body)
    assert answer.json()["code"] in ("malformed", "grant-id-invalid")


def test_the_brokers_refusals_come_through(relay):
    desk = KeeperDesk(relay.url)
    with pytest.raises(AisecError) as raised:
        desk.withdraw(GRANT, "")
    assert raised.value.code == "grant-unknown"
    with pytest.raises(AisecError):
        desk.lease(GRANT)


def test_a_broker_that_is_away_is_said(relay, monkeypatch):
    monkeypatch.setattr(relay.keeping.person.http, "url", "http://127.0.0.1:1")
    answer = requests.get(relay.url + "/v1/whoami")
    assert (answer.status_code, answer.json()["code"]) == (503, "broker-unreachable")


def put(folder, data):
    with folder.create("0000.sealed") as file:
        file.write(data)


def test_sealed_files_go_in_once_and_come_out_by_ranges(relay):
    folder = RelayFolder(relay.url, "results/x", new_id("seal"))
    data = sealed(5_000_000)
    with folder.create("0000.sealed") as file:
        file.write(data)
    source = folder.source("0000.sealed")
    assert source.size == len(data)
    assert bytes(source.fetch(300, 5000, memoryview(b""))) == data[300:5000]
    with pytest.raises(SealError), folder.create("0000.sealed") as file:
        file.write(sealed(5))


def test_a_kernel_that_stops_in_the_middle_leaves_nothing(relay, world):
    folder = RelayFolder(relay.url, "results/x", new_id("seal"))
    creating = folder.create("0000.sealed")
    creating.__enter__().write(sealed(3_000_000)[:-1])
    assert not creating.__exit__(MemoryError, MemoryError(), None)
    with pytest.raises(NotFoundError):
        folder.source("0000.sealed")


@pytest.mark.parametrize("range_", ["", "bytes=5-4", "bytes=0-99999999999", "bytes=-5"])
def test_only_plain_ranges_are_served(relay, range_):
    folder = RelayFolder(relay.url, "results/x", new_id("seal"))
    with folder.create("0000.sealed") as file:
        file.write(sealed(4))
    url = f"{relay.url}{folder._path}/0000.sealed"
    assert requests.get(url, headers={"Range": range_}).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        f"/store/results/x/{SEAL_ID}/../../etc/passwd",
        f"/store/results/../x/{SEAL_ID}/0000.sealed",
        f"/store/results/x/{SEAL_ID}/plain.txt",
        "/store/etc/passwd",
    ],
)
def test_nothing_but_sealed_files_of_artifacts(relay, path):
    parts = urlsplit(relay.url)
    connection = http.client.HTTPConnection(parts.netloc)  # requests would tidy the path
    connection.request("GET", parts.path + path)
    assert connection.getresponse().status == 403
    connection.close()


@pytest.mark.parametrize("path", ["/v1/ledger/../people", "/v1/ledger/%2e%2e/people", "/v1//trust"])
def test_a_path_that_others_may_read_otherwise_is_refused(relay, path):
    parts = urlsplit(relay.url)
    connection = http.client.HTTPConnection(parts.netloc)
    connection.request("GET", parts.path + path)
    assert connection.getresponse().status == 403
    connection.close()
    assert relay.refused


def test_plaintext_is_never_stored(relay, world):
    seal_id = new_id("seal")
    text = b"PLAINTEXT of row 4711, " * 100_000
    for data in (text, sealed(1_000_000)[:70_000] + text, bytes(70_000)):
        answer = requests.put(f"{relay.url}/store/results/y/{seal_id}/0000.sealed", data=data)
        assert (answer.status_code, answer.json()["code"]) == (403, "not-ciphertext")
    store = urlsplit(world.researcher.store()).path
    assert list(Path(store, "results", "y").rglob("*.*")) == []


def test_a_store_without_room_is_said(relay, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shelf._Sealed, "write", full)
    folder = RelayFolder(relay.url, "results/y", new_id("seal"))
    with pytest.raises(SealError, match="No space left on device") as raised:
        put(folder, sealed(3_000_000))
    assert raised.value.code == "store-unwritable"
    assert "Make room there" in raised.value.next


def test_a_broker_that_is_away_is_said_when_something_is_sealed(relay, monkeypatch):
    monkeypatch.setattr(relay.keeping.person.http, "url", "http://127.0.0.1:1")
    with pytest.raises(BrokerUnreachableError) as raised:
        put(RelayFolder(relay.url, "results/y", new_id("seal")), sealed(3_000_000))
    assert "`aisec broker start --listen 127.0.0.1:1`" in raised.value.next


def test_a_store_that_does_not_answer_is_said(relay, monkeypatch):
    done = threading.Event()
    monkeypatch.setattr(keeping, "_STORE_SECONDS", 0.05)
    monkeypatch.setattr(relay.keeping.shelf, "source", lambda *_: done.wait(20))
    with pytest.raises(SealError) as raised:
        RelayFolder(relay.url, "results/y", SEAL_ID).source("0000.sealed")
    done.set()
    assert raised.value.code == "store-silent"


def test_a_version_that_was_not_stored_here_is_not_registered(relay, world):
    view = world.researcher.artifact("dataset/rows")
    body = {"manifest": view.manifest, "url": view.url}
    answer = requests.post(relay.url + "/v1/artifacts", data=msgspec.json.encode(body))
    assert (answer.status_code, answer.json()["code"]) == (403, "document-differs")


def test_a_version_that_the_broker_refused_goes_with_the_kernel(relay, world):
    name, seal_id = "results/refused", new_id("seal")
    key, folder = SigningKey.generate(), RelayFolder(relay.url, "results/refused", seal_id)
    result = seal_artifact(name, {"a": b"1"}, folder, key, seal_id=seal_id)
    url = version_url(world.researcher.store(), name, seal_id)
    body = msgspec.json.encode({"manifest": result.envelope, "url": url})
    assert requests.post(relay.url + "/v1/artifacts", data=body).status_code == 422
    relay.keeping.close()
    assert list(Path(urlsplit(url).path).parent.glob("*")) == []


def test_reasons_are_short_and_few(relay):
    body = {"grant": GRANT, "reason": "x" * 1001}
    codes = [requests.post(relay.url + "/keeper/withdraw", json=body).json()["code"]]
    for _ in range(11):
        answer = requests.post(relay.url + "/keeper/withdraw", json={"grant": GRANT})
        codes.append(answer.json()["code"])
    assert codes == ["reason-too-long", *["grant-unknown"] * 10, "asked-too-often"]


def test_a_kernel_that_says_wiped_on_an_active_grant_stays_guarded(relay, world):
    view = world.researcher.request(["dataset/rows"], 600, "says wiped", seat=relay.seat)
    world.approver.approve(view.id)
    key, release = SigningKey.generate(), ReleaseKey.generate()
    desk = KeeperDesk(relay.url)
    desk.bind(view.id, key.public, release.public)
    with pytest.raises(AisecError) as raised:
        desk.ended(view.id, key.public.key_id, "wiped")
    assert raised.value.code == "grant-not-over"
    world.approver.revoke(view.id)
    desk.ended(view.id, key.public.key_id, "wiped")
    assert world.researcher.grant(view.id).ending == ()


def test_a_version_that_was_never_asked_for_is_not_found(relay):
    with pytest.raises(NotFoundError):
        RelayFolder(relay.url, "results/never", SEAL_ID).source("0000.sealed")


def test_a_relay_that_went_away_is_our_error():
    folder = RelayFolder("http://127.0.0.1:1", "results/x", SEAL_ID)
    with pytest.raises(SealError), folder.create("0000.sealed") as file:
        file.write(b"x")
    with pytest.raises(SealError):
        folder.source("0000.sealed")
    with pytest.raises(BrokerUnreachableError):
        KeeperDesk("http://127.0.0.1:1").about()


def test_output_keys_are_asked_for_when_the_kernel_skips_the_manifest(relay, world):
    seal_id = world.researcher.artifact("dataset/rows").seal_id
    assert relay.keeping.output_key("dataset/rows", seal_id)


def test_nobody_approves_here(relayed):
    with pytest.raises(RefusedError):
        run(relayed, "%grant approve")


def test_a_seat_in_use_elsewhere_is_not_taken(relay, world):
    view = world.researcher.request(["dataset/rows"], 600, "another notebook")
    world.approver.approve(view.id)
    first, second = (SigningKey.generate(), ReleaseKey.generate()), SigningKey.generate()
    world.researcher.bind(
        view.id,
        seat=world.researcher.read_request(view).seat,
        kernel_key=first[0].public,
        release_key=first[1].public,
        isolation="none",
    )
    with pytest.raises(RefusedError) as raised:
        KeeperDesk(relay.url).bind(view.id, second.public, first[1].public)
    assert raised.value.code == "seat-taken"
    world.end_all()


def test_no_fault_puts_what_the_kernel_wrote_into_a_log(relay, caplog):
    assert requests.get(f"{relay.url}/keeper/lease?PLAINTEXT=1", timeout=20).status_code == 400
    with requests.get(f"{relay.url}/keeper/events?PLAINTEXT", stream=True, timeout=20) as events:
        next(events.iter_content(1))
    relay.guardian._tell({"type": "x"})
    assert "PLAINTEXT" not in caplog.text
    assert "MissingArgumentError" in caplog.text
