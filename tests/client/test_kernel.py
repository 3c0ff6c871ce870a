"""A kernel's requests and the releases it accepts, against answers made here."""

from __future__ import annotations

import base64
import ctypes
import hashlib
from collections.abc import Callable
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import requests
from http_message_signatures import HTTPMessageVerifier, InvalidSignature, algorithms
from http_message_signatures.resolvers import MappingKeyResolver

from jupyter_aisec.client import kernel
from jupyter_aisec.client.http import BearerAuth
from jupyter_aisec.client.kernel import KernelAuth, KernelClient
from jupyter_aisec.errors import (
    AisecError,
    BrokerFaultError,
    MalformedError,
    SealError,
    SignatureError,
    WrongKeyError,
)
from jupyter_aisec.grants.statements import OutputReleaseStatement, ReleaseStatement
from jupyter_aisec.ids import new_id
from jupyter_aisec.ledger import Checkpoint, NoteSigner, sign_checkpoint
from jupyter_aisec.ledger.trust import Trust
from jupyter_aisec.people import dsse
from jupyter_aisec.people.canonical import canonical
from jupyter_aisec.people.kernel_requests import COVERED
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.sealed.outputs import OutputHeader, OutputKey
from jupyter_aisec.sealed.release import (
    ReleaseKey,
    output_release_info,
    release_info,
    seal_key,
)
from tests.scripted import Answer, Got, Scripted

BROKER = SigningKey.generate()
LOG = NoteSigner("log.example", SigningKey.generate())
TRUST = Trust(
    origin="log.example",
    log_key=LOG.verifier_key,
    genesis_sha256="00" * 32,
    seal_key=b"",
    broker_key=BROKER.public,
)
KERNEL = SigningKey.generate()
RELEASE = ReleaseKey.generate()
GRANT, SEAL, KEY = new_id("grant"), new_id("seal"), new_id("key")
DATA_KEY = b"k" * 32


def client(scripted: Scripted) -> KernelClient:
    return KernelClient(scripted.url, KERNEL, RELEASE, TRUST)


class FakeBroker:
    """Releases DATA_KEY as the real broker would; ``change`` makes it lie."""

    def __init__(self, **change: Any) -> None:
        self.change = change
        self.signer = BROKER
        self.recipient = RELEASE.public
        self.size = 8

    def __call__(self, got: Got) -> Answer:
        info = release_info(
            grant=GRANT,
            artifact="dataset/x",
            seal_id=SEAL,
            key_id=KEY,
            kernel=KERNEL.public.key_id,
        )
        keys = {KEY: base64.b64encode(seal_key(DATA_KEY, self.recipient, info)).decode()}
        said = {
            "entry": 7,
            "action": got.headers["Aisec-Action"],
            "grant": GRANT,
            "seal_id": SEAL,
            "kernel": KERNEL.public.key_id,
            "keys_sha256": hashlib.sha256(canonical(keys)).hexdigest(),
            **self.change,
        }
        checkpoint = Checkpoint("log.example", self.size, b"r" * 32)
        answer = {
            "keys": keys,
            "seal_id": SEAL,
            "entry": 7,
            "signature": dsse.sign(
                ReleaseStatement(**said), ReleaseStatement.payload_type, self.signer
            ),
            "checkpoint": sign_checkpoint(checkpoint, LOG),
        }
        return Answer(body=msgspec.json.encode(answer))


def test_a_release_is_opened(scripted: Scripted) -> None:
    scripted.route = FakeBroker()
    release = client(scripted).keys(GRANT, "dataset/x", version=3, files=["a.parquet"])
    assert (release.seal_id, release.entry, list(release.keys)) == (SEAL, 7, [KEY])
    assert bytes(release.keys[KEY].secret) == DATA_KEY
    assert DATA_KEY.decode() not in repr(release)
    [asked] = scripted.got
    assert asked.path == f"/v1/grants/{GRANT}/keys"
    assert msgspec.json.decode(asked.body) == {
        "artifact": "dataset/x",
        "version": 3,
        "files": ["a.parquet"],
    }


def _other_signer(broker: FakeBroker) -> None:
    broker.signer = SigningKey.generate()


def _other_recipient(broker: FakeBroker) -> None:
    broker.recipient = ReleaseKey.generate().public


def _too_small(broker: FakeBroker) -> None:
    broker.size = 7


def _lie(**change: Any) -> Callable[[FakeBroker], None]:
    return lambda broker: broker.change.update(change)


@pytest.mark.parametrize(
    ("twist", "kind", "code"),
    [
        (_other_signer, SignatureError, "signature-missing"),
        (_other_recipient, WrongKeyError, "sealed-key-wrong"),
        (_too_small, SignatureError, "release-not-logged"),
        (_lie(entry=6), SignatureError, "release-differs"),
        (_lie(action=new_id("action")), SignatureError, "release-differs"),
        (_lie(grant=new_id("grant")), SignatureError, "release-differs"),
        (_lie(seal_id=new_id("seal")), SignatureError, "release-differs"),
        (_lie(kernel="sha256:00"), SignatureError, "release-differs"),
        (_lie(keys_sha256="00"), SignatureError, "release-differs"),
    ],
    ids=[
        "signed by another key",
        "encrypted to another kernel",
        "not below its checkpoint",
        "another entry",
        "another action",
        "another grant",
        "another version",
        "another kernel",
        "other keys",
    ],
)
def test_a_release_that_is_not_the_brokers_is_refused(
    scripted: Scripted,
    twist: Callable[[FakeBroker], None],
    kind: type[AisecError],
    code: str,
) -> None:
    broker = FakeBroker()
    twist(broker)
    scripted.route = broker
    with pytest.raises(kind) as caught:
        client(scripted).keys(GRANT, "dataset/x")
    assert caught.value.code == code


HEADER = OutputHeader(
    keys=(
        OutputKey(artifact="dataset/x", seal_id=SEAL),
        OutputKey(artifact="weights/y", seal_id="seal_2"),
    ),
    ciphertext_sha256="0" * 64,
    wrapped=b"wrapped",
)
GRANTS = {SEAL: GRANT, "seal_2": "grant_2"}


class FakeOutputBroker(FakeBroker):
    """Releases DATA_KEY as the content key of HEADER."""

    sources = tuple(
        {
            "artifact": key.artifact,
            "version": 3,
            "seal_id": key.seal_id,
            "grant": GRANTS[key.seal_id],
        }
        for key in HEADER.keys
    )

    def __call__(self, got: Got) -> Answer:
        info = output_release_info(
            ciphertext_sha256=HEADER.ciphertext_sha256, kernel=KERNEL.public.key_id
        )
        key = seal_key(DATA_KEY, self.recipient, info)
        said = {
            "entry": 7,
            "action": got.headers["Aisec-Action"],
            "ciphertext_sha256": HEADER.ciphertext_sha256,
            "kernel": KERNEL.public.key_id,
            "key_sha256": hashlib.sha256(key).hexdigest(),
            **self.change,
        }
        type_ = OutputReleaseStatement
        checkpoint = Checkpoint("log.example", self.size, b"r" * 32)
        answer = {
            "key": key,
            "sources": self.sources,
            "entry": 7,
            "signature": dsse.sign(type_(**said), type_.payload_type, self.signer),
            "checkpoint": sign_checkpoint(checkpoint, LOG),
        }
        return Answer(body=msgspec.json.encode(answer))


def test_an_outputs_content_key_is_opened(scripted: Scripted) -> None:
    scripted.route = FakeOutputBroker()
    release = client(scripted).output(HEADER, GRANTS)
    assert bytes(release.key.secret) == DATA_KEY
    assert [one.grant for one in release.sources] == [GRANT, "grant_2"]
    assert DATA_KEY.decode() not in repr(release)
    [asked] = scripted.got
    assert asked.path == "/v1/outputs/keys"
    body = msgspec.json.decode(asked.body)
    assert msgspec.convert(body["header"], OutputHeader) == HEADER
    assert body["grants"] == GRANTS


def _other_sources(broker: FakeBroker) -> None:
    broker.sources = FakeOutputBroker.sources[:1]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("twist", "kind", "code"),
    [
        (_other_signer, SignatureError, "signature-missing"),
        (_other_recipient, WrongKeyError, "sealed-key-wrong"),
        (_too_small, SignatureError, "release-not-logged"),
        (_other_sources, SignatureError, "release-differs"),
        (_lie(entry=6), SignatureError, "release-differs"),
        (_lie(action=new_id("action")), SignatureError, "release-differs"),
        (_lie(ciphertext_sha256="1" * 64), SignatureError, "release-differs"),
        (_lie(kernel="sha256:00"), SignatureError, "release-differs"),
        (_lie(key_sha256="00"), SignatureError, "release-differs"),
    ],
    ids=[
        "signed by another key",
        "encrypted to another kernel",
        "not below its checkpoint",
        "other artifacts",
        "another entry",
        "another action",
        "another output",
        "another kernel",
        "another key",
    ],
)
def test_an_outputs_release_that_is_not_the_brokers_is_refused(
    scripted: Scripted,
    twist: Callable[[FakeBroker], None],
    kind: type[AisecError],
    code: str,
) -> None:
    broker = FakeOutputBroker()
    twist(broker)
    scripted.route = broker
    with pytest.raises(kind) as caught:
        client(scripted).output(HEADER, GRANTS)
    assert caught.value.code == code


def test_an_answer_of_another_shape_is_a_fault(scripted: Scripted) -> None:
    with pytest.raises(BrokerFaultError, match="aisec doctor"):
        client(scripted).keys(GRANT, "dataset/x")


def test_a_name_cannot_lead_to_another_route(scripted: Scripted) -> None:
    with pytest.raises(MalformedError):
        client(scripted).artifact("../grants")
    assert not scripted.got


class TestSignature:
    """RFC 9421, checked as a broker does."""

    def verify(self, request: requests.PreparedRequest, body: bytes) -> None:
        resolver = MappingKeyResolver(
            public_keys={KERNEL.public.key_id: KERNEL.public.load()}, private_keys={}
        )
        verifier = HTTPMessageVerifier(
            signature_algorithm=algorithms.ED25519, key_resolver=resolver
        )
        verifier.verify(
            request,
            body=body,
            max_age=timedelta(minutes=1),
            expect_tag="jupyter-aisec",
            expect_label="aisec",
            require_components=COVERED,
        )

    def signed(self, auth: KernelAuth, **options: Any) -> requests.PreparedRequest:
        return requests.Request(
            "POST",
            "http://relay.example/v1/grants/g/keys?x=1",
            headers={"Aisec-Action": new_id("action")},
            auth=auth,
            **options,
        ).prepare()

    @pytest.mark.parametrize("data", [b'{"a":1}', '{"a":1}'], ids=["bytes", "text"])
    def test_a_request_with_an_action_is_signed(self, data: bytes | str) -> None:
        self.verify(self.signed(KernelAuth(KERNEL), data=data), b'{"a":1}')

    def test_one_without_an_action_is_not(self) -> None:
        request = requests.Request("GET", "http://h/v1/store", auth=KernelAuth(KERNEL)).prepare()
        assert "Signature" not in request.headers

    def test_without_a_keeper_the_bearer_goes_along(self) -> None:
        auth = KernelAuth(KERNEL, BearerAuth(lambda: "very-secret-token"))
        request = self.signed(auth, data=b"{}")
        assert request.headers["Authorization"] == "Bearer very-secret-token"
        self.verify(request, b"{}")
        assert "very-secret-token" not in repr(auth)

    @pytest.mark.parametrize("part", ["method", "url", "action", "body", "key"])
    def test_changing_anything_that_is_covered_breaks_it(self, part: str) -> None:
        key = SigningKey.generate() if part == "key" else KERNEL
        request = self.signed(KernelAuth(key), data=b"{}")
        if part == "key":
            request.headers["Signature-Input"] = request.headers["Signature-Input"].replace(
                key.public.key_id, KERNEL.public.key_id
            )
        elif part == "method":
            request.method = "PUT"
        elif part == "url":
            request.url = "http://relay.example/v1/grants/h/keys?x=1"
        elif part == "action":
            request.headers["Aisec-Action"] = new_id("action")
        with pytest.raises(InvalidSignature):
            self.verify(request, b"[]" if part == "body" else b"{}")

    def test_the_host_is_not_covered_since_a_relay_changes_it(self) -> None:
        request = self.signed(KernelAuth(KERNEL), data=b"{}")
        request.url = "https://broker.example/v1/grants/g/keys?x=1"
        self.verify(request, b"{}")


def test_no_repr_shows_a_key(scripted: Scripted) -> None:
    shown = f"{client(scripted)!r} {KernelAuth(KERNEL)!r}"
    assert KERNEL.to_bytes().hex() not in shown
    assert shown.count("…") == 2


def test_what_else_a_kernel_asks_goes_to_its_route(scripted: Scripted) -> None:
    scripted.route = lambda got: Answer(
        body={
            "/v1/store": b'{"url": "file:///store"}',
            "/v1/grants": b"[]",
            "/v1/artifacts/dataset/x/versions": b"[]",
        }.get(got.path.partition("?")[0], b"{}")
    )
    kernel = client(scripted)
    assert kernel.store() == "file:///store"
    assert kernel.grants() == ()
    assert kernel.versions("dataset/x") == ()
    assert kernel.bundle("seal_1") == {}
    record = dsse.sign({"a": 1}, "application/x", KERNEL)
    assert kernel.record_run(record, "seal_1") == {}
    assert "Signature" in scripted.got[-1].headers


def test_a_data_key_leaves_nothing_that_cannot_be_wiped(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted.route = FakeBroker()
    opened: list[int] = []
    open_ = ReleaseKey.open

    def watched(key: ReleaseKey, sealed: bytes, info: bytes) -> bytes:
        opened.append(id(secret := open_(key, sealed, info)) + bytes.__basicsize__ - 1)
        return secret

    monkeypatch.setattr(ReleaseKey, "open", watched)
    monkeypatch.setattr(kernel, "ctypes", SimpleNamespace(memset=overwrite(opened)))
    release = client(scripted).keys(GRANT, "dataset/x", version=3, files=["a.parquet"])
    assert opened == []
    assert bytes(release.keys[KEY].secret) == DATA_KEY
    release.wipe()
    with pytest.raises(SealError):
        release.keys[KEY].secret  # noqa: B018


def overwrite(expected: list[int]) -> Callable[[int, int, int], None]:
    """``memset``, once for each place in ``expected``, and what lay there is the key."""

    def memset(place: int, value: int, size: int) -> None:
        expected.remove(place)
        assert ctypes.string_at(place, size) == DATA_KEY
        ctypes.memset(place, value, size)
        assert ctypes.string_at(place, size) == b"\xff" * 32

    return memset


def test_a_secret_that_somebody_else_has_is_not_changed_under_them() -> None:
    secret = bytes([7]) * 32
    kept = [secret]
    key = kernel._taken(kept[0])
    assert bytes(key.secret) == kept[0] == b"\x07" * 32
