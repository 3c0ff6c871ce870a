"""One keeper is one kernel start: one pair of keys, and no seat that nobody guards."""

from __future__ import annotations

import msgspec
import pytest
import requests

from jupyter_aisec.errors import AisecError, BrokerUnreachableError
from jupyter_aisec.ids import new_id
from jupyter_aisec.kernel.desk import KeeperDesk
from jupyter_aisec.kernel.folder import RelayFolder
from jupyter_aisec.people import dsse
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.provenance.facts import Record
from jupyter_aisec.record import Recorder
from jupyter_aisec.sealed.artifact import seal_artifact
from jupyter_aisec.sealed.release import ReleaseKey
from jupyter_aisec.sealed.store import version_url

from .test_walk_ordinary import run


class Inside:
    """What a notebook can make inside a secure kernel: keys, and requests over the relay."""

    def __init__(self, relay):
        self.relay = relay
        self.desk = KeeperDesk(relay.url)
        self.key, self.release_key = SigningKey.generate(), ReleaseKey.generate()
        self.client = self.desk.kernel_client(self.key, self.release_key)

    def bind(self, grant):
        return self.desk.bind(grant, self.key.public, self.release_key.public)

    def seal(self, name, *, by=None, labels=()):
        """Seals ``name`` by the key ``by``, and registers it in a request that we sign."""
        seal_id = new_id("seal")
        url = version_url(self.client.store(), name, seal_id)
        folder = RelayFolder(self.relay.url, name, seal_id, url)
        result = seal_artifact(
            name, {"out.txt": b"x"}, folder, by or self.key, seal_id=seal_id, labels=labels
        )
        return self.client.sealed(result, url)


def code(call, *what, **more):
    """The code of the error that a call raises."""
    with pytest.raises(AisecError) as raised:
        call(*what, **more)
    return raised.value.code


@pytest.fixture
def kernel(relay, world):
    yield Inside(relay)
    world.end_all()


@pytest.fixture
def grant(kernel, world):
    """An approved grant for the labelled ``dataset/rows``, of this kernel's seat."""
    view = kernel.desk.request(("dataset/rows",), 3600, "a look")
    world.approver.approve(view.id)
    return view.id


def killed(relay):
    """Whether the guard, looking now and from now on, ends the kernel."""
    relay.guardian._confirm_seconds = 0.01
    for seat in list(relay.guardian._seats):
        relay.guardian.look(seat)
    return relay.killed.wait(0.5)


def test_a_second_kernel_key_does_not_shed_the_labels_of_what_the_first_one_opened(
    kernel, grant, world
):
    kernel.bind(grant)
    kernel.client.keys(grant, "dataset/rows")
    second = Inside(kernel.relay)
    assert code(second.bind, grant) == "kernel-key-changed"
    assert code(second.seal, "results/laundered") == "kernel-key-changed"
    assert code(kernel.seal, "results/laundered", by=second.key) == "kernel-key-changed"
    assert code(kernel.seal, "results/laundered") == "labels-missing"
    kernel.seal("results/honest", labels=("secret",))
    assert code(world.researcher.artifact, "results/laundered") == "artifact-unknown"


def test_nor_does_a_persons_own_key_or_one_that_another_notebook_bound(kernel, grant, world):
    """Their private halves may lie in any file that the kernel can read."""
    elsewhere = SigningKey.generate()
    other = world.researcher.request(["weights/base"], 3600, "elsewhere")
    world.approver.approve(other.id)
    world.researcher.bind(
        other.id,
        seat=world.researcher.read_request(other).seat,
        kernel_key=elsewhere.public,
        release_key=ReleaseKey.generate().public,
        isolation="none",
    )
    kernel.bind(grant)
    kernel.client.keys(grant, "dataset/rows")
    for key in (elsewhere, world.researcher.home.key()):
        assert code(kernel.seal, "results/laundered", by=key) == "kernel-key-changed"
        signed = kernel.desk.kernel_client(key, kernel.release_key)
        assert code(signed.keys, other.id, "weights/base") == "kernel-key-changed"
        assert code(signed.record_run, dsse.sign({}, "x", key), "seal") == "kernel-key-changed"


def test_the_other_key_of_the_pair_does_not_change_either(kernel, grant):
    kernel.bind(grant)
    kernel.release_key = ReleaseKey.generate()
    assert code(kernel.bind, grant) == "kernel-key-changed"


@pytest.mark.parametrize("header", [None, 'aisec=();keyid="x"', "{}, {}", '{};keyid="x"'])
def test_a_request_whose_signer_cannot_be_told_does_not_pass(kernel, grant, header):
    kernel.bind(grant)
    ours = f'aisec=("@method");keyid="{kernel.key.public.key_id}"'
    headers = {} if header is None else {"Signature-Input": header.format(ours, ours)}
    for path in (f"/v1/grants/{grant}/keys", "/v1/outputs/keys", "/v1/artifacts", "/v1/runs"):
        answer = requests.post(kernel.relay.url + path, json={}, headers=headers, timeout=20)
        assert answer.json()["code"] == "kernel-key-changed"


def test_a_record_in_the_name_of_another_key_is_not_observed(kernel, grant):
    kernel.bind(grant)

    def record(key):
        facts = {
            **msgspec.structs.asdict(Recorder().facts()),
            "origin": kernel.desk.about().trust.origin,
            "run": new_id("run"),
            "kernel": key.public.key_id,
            "grants": (),
            "inputs": (),
            "output": {"artifact": "results/x", "seal_id": new_id("seal"), "manifest_sha256": "0"},
        }
        return dsse.sign(facts, Record.payload_type, key)

    assert kernel.desk.observe(record(kernel.key)) is not None
    assert code(kernel.desk.observe, record(SigningKey.generate())) == "kernel-key-changed"


def test_a_key_to_which_nothing_can_be_released_is_not_the_kernels(kernel, grant):
    assert code(kernel.desk.bind, grant, kernel.key.public, b"x") == "hpke-key-malformed"
    assert kernel.bind(grant).state == "active"


def test_a_kernel_that_loads_the_extension_again_keeps_its_keys_and_what_it_opened(relayed):
    run(relayed, '%grant request dataset/rows --for 1h --reason "a look"')
    grant = relayed.world.approve_next()
    run(relayed, "%load_secure dataset/rows as df")
    run(relayed, "%reload_ext jupyter_aisec")
    run(relayed, "%load_secure dataset/rows as df")
    run(relayed, "%save_secure df as results/after-a-reload")
    assert relayed.world.researcher.artifact("results/after-a-reload").labels == ("secret",)
    assert len(relayed.world.researcher.grant(grant).kernels) == 1


# -- P4: no seat that nobody guards


@pytest.fixture
def lose(relay, monkeypatch):
    """Loses the answer to the next binding, or the binding itself."""
    bind = relay.keeping.person.bind

    def lose(*, sent):
        def lost(*what, **more):
            monkeypatch.setattr(relay.keeping.person, "bind", bind)
            if sent:
                bind(*what, **more)
            raise BrokerUnreachableError("The answer was lost.")

        monkeypatch.setattr(relay.keeping.person, "bind", lost)

    return lose


def test_a_seat_whose_binding_was_not_answered_is_guarded(kernel, grant, world, lose):
    lose(sent=True)
    assert code(kernel.bind, grant) == "broker-unreachable"
    kernel.client.keys(grant, "dataset/rows")
    world.approver.revoke(grant)
    assert killed(kernel.relay)


def test_a_binding_whose_answer_was_lost_can_be_asked_for_again(kernel, grant, world, lose):
    lose(sent=True)
    assert code(kernel.bind, grant) == "broker-unreachable"
    assert kernel.bind(grant).holder == kernel.key.public.key_id
    assert len(world.researcher.grant(grant).kernels) == 1
    world.approver.revoke(grant)
    assert killed(kernel.relay)


def test_a_binding_that_came_twice_is_one(kernel, grant, monkeypatch):
    """Something on the way sent it again, and the answer to the second is what comes back."""
    person = kernel.relay.keeping.person
    bind = person.bind

    def twice(*what, **more):
        bind(*what, **more)
        return bind(*what, **more)

    monkeypatch.setattr(person, "bind", twice)
    assert kernel.bind(grant).holder == kernel.key.public.key_id
    assert kernel.client.keys(grant, "dataset/rows").keys


@pytest.mark.parametrize("sent", [True, False], ids=["the answer", "the binding"])
def test_a_lost_binding_under_which_nothing_was_opened_costs_no_kernel(
    kernel, grant, world, lose, sent
):
    lose(sent=sent)
    assert code(kernel.bind, grant) == "broker-unreachable"
    world.approver.revoke(grant)
    assert not killed(kernel.relay)
    assert world.researcher.grant(grant).ending == ()


def test_a_seat_that_was_refused_is_not_guarded(kernel, world):
    view = kernel.desk.request(("dataset/rows",), 600, "not approved")
    assert code(kernel.bind, view.id) == "grant-pending"
    assert kernel.relay.guardian._seats == {}


def test_nothing_opens_under_a_grant_that_is_not_guarded(kernel, grant, world):
    world.researcher.bind(
        grant,
        seat=world.researcher.read_request(world.researcher.grant(grant)).seat,
        kernel_key=kernel.key.public,
        release_key=kernel.release_key.public,
        isolation="partial",
    )
    assert code(kernel.client.keys, grant, "dataset/rows") == "seat-not-guarded"
    answer = requests.post(
        kernel.relay.url + "/v1/outputs/keys", json={"grants": {"seal": grant}}, timeout=20
    )
    assert answer.json()["code"] == "seat-not-guarded"
    assert kernel.relay.opened == []
    kernel.bind(grant)
    assert kernel.client.keys(grant, "dataset/rows").keys


def test_keys_that_come_after_the_guard_was_lifted_do_not_pass(kernel, grant, monkeypatch):
    kernel.bind(grant)
    keeping = kernel.relay.keeping
    forward = keeping.forward

    def late(*what):
        answer = forward(*what)
        kernel.relay.guardian.confirmed(grant)
        return answer

    monkeypatch.setattr(keeping, "forward", late)
    assert code(kernel.client.keys, grant, "dataset/rows") == "seat-not-guarded"
    assert kernel.relay.opened == []


# -- names


@pytest.mark.parametrize("name", ["dataset/keys", "dataset/versions"])
def test_an_artifact_may_be_named_like_a_route(relayed, name):
    relayed.world.researcher.seal(name, {"a.txt": b"its content"})
    run(relayed, f'%grant request {name} --for 1h --reason "a look"')
    relayed.world.approve_next()
    run(relayed, f"%load_secure {name} as files --format bytes")
    assert "its content" in repr(relayed.shell.user_ns["files"])
    assert [what[0] for what in relayed.relay.opened] == [name]
