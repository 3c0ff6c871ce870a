"""A broker with two people, a sealed artifact and kernels, over real HTTP.

``Site`` is the home and the people's keys; ``Api`` speaks to a broker that serves it, in a
thread of this process (``serve``) or in a process of its own (``BrokerProcess``).
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import requests
import uvicorn
from http_message_signatures import HTTPMessageSigner
from http_message_signatures.algorithms import ED25519
from http_message_signatures.resolvers import MappingKeyResolver

from jupyter_aisec.broker import genesis
from jupyter_aisec.broker.app import make_app
from jupyter_aisec.broker.config import Config
from jupyter_aisec.broker.service import Broker, open_broker
from jupyter_aisec.grants.policy import DEFAULT_POLICY_TEXT
from jupyter_aisec.grants.statements import Approval, Binding, Decision, Login, Request
from jupyter_aisec.ids import new_id
from jupyter_aisec.ledger.bodies import Founder
from jupyter_aisec.people.dsse import Envelope, sign
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.provenance.facts import Environment, Input, Output, Record, Steps
from jupyter_aisec.sealed.artifact import OUTPUT_KEY_ID
from jupyter_aisec.sealed.datakey import DataKey
from jupyter_aisec.sealed.manifest import KeyEntry, Manifest, SealedFile, sign_manifest
from jupyter_aisec.sealed.release import ReleaseKey, deposit_info, release_info, seal_key
from jupyter_aisec.sealed.store import version_url
from jupyter_aisec.sealed.stream import sealed_size
from jupyter_aisec.times import format_time

ORIGIN = "test.example/ledger"
LABEL, TAG = "aisec", "jupyter-aisec"
COVERED = ("@method", "@path", "@query", "content-digest", "aisec-action")
FREE = "127.0.0.1:0"


def timestamp() -> str:
    return format_time(datetime.now(UTC))


@dataclass
class Kernel:
    """A kernel's two keys."""

    key: SigningKey = field(default_factory=SigningKey.generate)
    release: ReleaseKey = field(default_factory=ReleaseKey.generate)

    @property
    def id(self) -> str:
        return self.key.public.key_id


@dataclass
class Sealed:
    """A version that was sealed by a test: no real files, real keys."""

    artifact: str
    manifest: Manifest
    envelope: Envelope
    data_key: bytes
    output_key: ReleaseKey

    def body(self, seal_public: bytes, store: str = "memory://store") -> dict[str, Any]:
        seal_id, key_id = self.manifest.seal_id, self.manifest.keys[0].key_id

        def deposit(secret: bytes, name: str) -> bytes:
            return seal_key(secret, seal_public, deposit_info(seal_id=seal_id, key_id=name))

        return {
            "manifest": self.envelope,
            "url": version_url(store, self.artifact, seal_id),
            "keys": {key_id: deposit(self.data_key, key_id)},
            "output_key": deposit(self.output_key.to_bytes(), OUTPUT_KEY_ID),
        }


def seal(artifact: str, key: SigningKey, *, parents: tuple[str, ...] = ()) -> Sealed:
    data_key, output_key = DataKey.generate(), ReleaseKey.generate()
    key_id = new_id("key")
    manifest = Manifest(
        artifact=artifact,
        seal_id=new_id("seal"),
        created=timestamp(),
        media_type="files",
        files=(
            SealedFile(
                name="part.bin",
                index=0,
                size=10,
                sealed_size=sealed_size(10),
                sha256=hashlib.sha256(b"ciphertext").hexdigest(),
                key_id=key_id,
            ),
        ),
        keys=(KeyEntry(key_id=key_id, commitment=data_key.commitment()),),
        output_key=output_key.public,
        parents=parents,
    )
    return Sealed(
        artifact, manifest, sign_manifest(manifest, key), bytes(data_key.secret), output_key
    )


class Site:
    """A broker's home with its genesis, and the keys of its first people."""

    ROLES = {  # noqa: RUF012 - a constant
        "researcher": ("admin", "researcher"),
        "approver": ("admin", "approver"),
        "second": ("approver",),
    }

    def __init__(self, home: Path, policy: str = DEFAULT_POLICY_TEXT) -> None:
        self.home = home
        self.keys = {name: SigningKey.generate() for name in self.ROLES}
        founders = [
            Founder(name=name, roles=roles, key=self.keys[name].public)
            for name, roles in self.ROLES.items()
        ]
        self.trust = genesis.create(home, founders, policy, ORIGIN)

    @property
    def database(self) -> Path:
        return self.home / "broker.sqlite"

    @property
    def store(self) -> str:
        return (self.home / "store").resolve().as_uri()

    def signed(self, type_: Any, person: str, **fields: Any) -> Envelope:
        statement = type_(origin=ORIGIN, person=person, at=timestamp(), **fields)
        return sign(statement, type_.payload_type, self.keys[person])


class Api:
    """What people and kernels send to the broker, as plain HTTP."""

    def __init__(self, site: Site, url: str) -> None:
        self.site = site
        self.url = url
        self.http = requests.Session()
        self.http.trust_env = False
        self.tokens: dict[str, str] = {}

    # -- HTTP

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        person: str | None = None,
        kernel: Kernel | None = None,
        action: str | None = None,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> requests.Response:
        sent = dict(headers or {})
        if person is not None:
            sent["Authorization"] = f"Bearer {self.token(person)}"
        content = None
        if body is not None:
            sent["Content-Type"] = "application/json"
            content = body if isinstance(body, bytes) else msgspec.json.encode(body)
        request = requests.Request(method, self.url + path, data=content, headers=sent)
        prepared = self.http.prepare_request(request)
        if kernel is not None:
            prepared.headers["Aisec-Action"] = action or new_id("action")
            sign_request(prepared, kernel.key)
        return self.http.send(prepared, timeout=30, **options)

    def get(self, path: str, person: str | None = None) -> Any:
        return ok(self.send("GET", path, person=person))

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        return ok(self.send("POST", path, {} if body is None else body, **options))

    def token(self, person: str) -> str:
        if person not in self.tokens:
            envelope = self.site.signed(Login, person, nonce=secrets.token_hex(8))
            self.tokens[person] = self.post("/v1/sessions", {"envelope": envelope})["token"]
        return self.tokens[person]

    # -- the walk

    def seal(
        self, sealed: Sealed, *, person: str | None = None, kernel: Kernel | None = None
    ) -> Any:
        body = sealed.body(self.site.trust.seal_key, self.site.store)
        return self.post("/v1/artifacts", body, person=person, kernel=kernel)

    def request_envelope(self, artifacts: tuple[str, ...], **changes: Any) -> Envelope:
        fields = {
            "grant": new_id("grant"),
            "artifacts": artifacts,
            "seconds": 600,
            "reason": "Ablation 12",
            "seat": f"session:{new_id('seat').removeprefix('seat_')}",
        }
        return self.site.signed(Request, "researcher", **{**fields, **changes})

    def ask(self, *artifacts: str, **changes: Any) -> Any:
        envelope = self.request_envelope(artifacts, **changes)
        return self.post("/v1/grants", {"envelope": envelope}, person="researcher")

    def approval(self, view: dict[str, Any], person: str = "approver", **changes: Any) -> Envelope:
        request = msgspec.convert(view["request"], Envelope)
        asked = json.loads(request.payload)
        size, root = self.checkpoint()
        fields = {
            "grant": view["id"],
            "request_sha256": hashlib.sha256(request.payload).hexdigest(),
            "artifacts": tuple(asked["artifacts"]),
            "seconds": asked["seconds"],
            "policy_version": view["policy_version"],
            "checkpoint": f"{size}:{root}",
        }
        return self.site.signed(Approval, person, **{**fields, **changes})

    def approve(self, view: dict[str, Any], person: str = "approver", **changes: Any) -> Any:
        envelope = self.approval(view, person, **changes)
        return self.post(f"/v1/grants/{view['id']}/approve", {"envelope": envelope}, person=person)

    def decision(self, grant: str, action: str, person: str) -> Envelope:
        return self.site.signed(Decision, person, action=action, grant=grant)

    def decide(self, grant: str, action: str, person: str) -> Any:
        envelope = self.decision(grant, action, person)
        return self.post(f"/v1/grants/{grant}/{action}", {"envelope": envelope}, person=person)

    def binding(self, view: dict[str, Any], kernel: Kernel, **changes: Any) -> Envelope:
        fields = {
            "grant": view["id"],
            "seat": view["seat"],
            "kernel_key": kernel.key.public,
            "release_key": kernel.release.public,
            "isolation": "none",
        }
        return self.site.signed(Binding, "researcher", **{**fields, **changes})

    def bind(self, view: dict[str, Any], kernel: Kernel) -> Any:
        return self.post(
            f"/v1/grants/{view['id']}/bind",
            {"envelope": self.binding(view, kernel)},
            person="researcher",
        )

    def release(
        self, grant: str, artifact: str, kernel: Kernel, *, action: str | None = None, **ask: Any
    ) -> requests.Response:
        return self.send(
            "POST",
            f"/v1/grants/{grant}/keys",
            {"artifact": artifact, **ask},
            kernel=kernel,
            action=action,
        )

    def checkpoint(self) -> tuple[int, str]:
        _, size, root, *_ = ok_text(self.send("GET", "/v1/ledger/checkpoint")).split("\n")
        return int(size), root

    def granted(self, name: str = "dataset/digits", **changes: Any) -> tuple[Any, Kernel]:
        """An active grant with its bound kernel."""
        view, kernel = self.ask(name, **changes), Kernel()
        self.approve(view)
        return self.bind(view, kernel), kernel


@dataclass
class Recorded:
    """A home on which a run was recorded, under a grant that is active still."""

    site: Site
    grant: str
    kernel: Kernel
    given: Sealed
    output: Sealed
    answer: dict[str, Any]
    tokens: dict[str, str]

    @contextmanager
    def serve(self, **options: Any) -> Iterator[Api]:
        with serve(self.site, **options) as (api, _):
            api.tokens = dict(self.tokens)
            yield api


def open_release(answer: Any, grant: str, artifact: str, kernel: Kernel) -> dict[str, bytes]:
    """The data keys in a release, as the kernel opens them."""
    released = {}
    for key_id, encrypted in answer["keys"].items():
        info = release_info(
            grant=grant,
            artifact=artifact,
            seal_id=answer["seal_id"],
            key_id=key_id,
            kernel=kernel.id,
        )
        sealed = msgspec.convert(encrypted, bytes)
        released[key_id] = kernel.release.open(sealed, info)
    return released


def run_body(
    api: Api, grant: str, kernel: Kernel, given: Sealed, output: Sealed, **changes: Any
) -> dict[str, Any]:
    """What a kernel hands in about a run on ``given`` that made ``output``."""
    entries = api.get("/v1/ledger/entries", "approver")
    release = next(one["index"] for one in entries if one["type"] == "keys.released")
    now = timestamp()
    record = Record(
        **{
            "origin": ORIGIN,
            "run": new_id("run"),
            "kernel": kernel.id,
            "grants": (grant,),
            "started": now,
            "finished": now,
            "cells": (),
            "cells_missing": 0,
            "steps": (Steps(optimizer="torch.optim.sgd.SGD", steps=3, first=now, last=now),),
            "frameworks": ("torch 2.13.0",),
            "cut_short": None,
            "inputs": (
                Input(
                    artifact=given.artifact,
                    version=1,
                    seal_id=given.manifest.seal_id,
                    grant=grant,
                    entry=release,
                ),
            ),
            "output": Output(
                artifact=output.artifact,
                seal_id=output.manifest.seal_id,
                manifest_sha256=hashlib.sha256(output.envelope.payload).hexdigest(),
            ),
            "environment": Environment(
                python="CPython 3.11.7",
                platform="Linux",
                packages=(),
                packages_sha256=hashlib.sha256(b"").hexdigest(),
            ),
            "gpus": (),
            **changes,
        }
    )
    return {
        "record": sign(record, Record.payload_type, kernel.key),
        "observation": None,
        "seal_id": output.manifest.seal_id,
    }


def record_run(api: Api, grant: str, kernel: Kernel, given: Sealed) -> tuple[Sealed, Any]:
    """A release, a sealed ``weights/net`` and its recorded run; returns it and the answer."""
    ok(api.release(grant, given.artifact, kernel))
    output = seal("weights/net", kernel.key, parents=(given.manifest.seal_id,))
    api.seal(output, kernel=kernel)
    return output, api.post("/v1/runs", run_body(api, grant, kernel, given, output), kernel=kernel)


def sign_request(request: requests.PreparedRequest, key: SigningKey, **changes: Any) -> None:
    """Signs as a kernel does (RFC 9421); ``changes`` are faults to plant."""
    key_id = key.public.key_id
    signer = HTTPMessageSigner(
        signature_algorithm=ED25519,
        key_resolver=MappingKeyResolver(public_keys={}, private_keys={key_id: key.private}),
    )
    body = request.body or b""
    options: dict[str, Any] = {
        "key_id": key_id,
        "label": LABEL,
        "tag": TAG,
        "covered_component_ids": COVERED,
        "body": body if isinstance(body, bytes) else body.encode(),
    }
    signer.sign(request, **{**options, **changes})


def ok(response: requests.Response) -> Any:
    assert response.status_code == 200, response.text
    return response.json()


def ok_text(response: requests.Response) -> str:
    assert response.status_code == 200, response.text
    return response.text


def problem(response: requests.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of a refusal, of this status and code."""
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert document["code"] == code, document
    assert document["type"] == f"urn:jupyter-aisec:error:{code}"
    assert set(document) == {"type", "title", "status", "detail", "next", "code"}
    return document


class Clock:
    """The wall clock, moved on by a test."""

    def __init__(self) -> None:
        self.offset = timedelta()

    def __call__(self) -> datetime:
        now = datetime.now(UTC) + self.offset
        return now.replace(microsecond=now.microsecond // 1000 * 1000)


@contextmanager
def serve(
    site: Site, *, config: Config | None = None, clock: Clock | None = None
) -> Iterator[tuple[Api, Broker]]:
    """A broker that serves ``site`` from a thread of this process."""
    broker = open_broker(site.home, config or Config(), clock=clock or Clock())
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    app = make_app(broker)
    server = uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    api = Api(site, f"http://127.0.0.1:{listener.getsockname()[1]}")
    try:
        yield api, broker
    finally:
        api.http.close()
        server.should_exit = True
        thread.join(30)
        listener.close()


_RUN = f"""
import sys
from pathlib import Path
from jupyter_aisec.broker import run_broker
run_broker(Path(sys.argv[1]), {FREE!r})
"""


class BrokerProcess:
    """A broker in a process of its own."""

    def __init__(self, site: Site, *, before: str = "", **environment: str) -> None:
        self.site = site
        self.process = subprocess.Popen(
            [sys.executable, "-c", before + _RUN, str(site.home)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
            text=True,
        )

    def wait_ready(self) -> Api | None:
        """The API once the ready line is there; None if the broker ended before that."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.process.wait(30)
            return None
        return Api(self.site, json.loads((self.site.home / "broker.json").read_text())["url"])

    def stop(self) -> tuple[int, str]:
        """Exit status after SIGTERM, and what it wrote to stderr."""
        self.process.terminate()
        _, errors = self.process.communicate(timeout=30)
        return self.process.returncode, errors

    def __enter__(self) -> BrokerProcess:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate(timeout=30)
