"""A small world for tests of the rules: people with keys, a ledger, a clock that is told.

``World`` signs statements as people and kernels would, puts them to the ``propose_…``
functions and appends what comes back through ``State.apply``, as a broker does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from jupyter_aisec.errors import AisecError
from jupyter_aisec.grants import (
    DEFAULT_POLICY_TEXT,
    Policy,
    State,
    make_genesis,
    parse_policy,
    payload_sha256,
    policy_sha256,
    propose_approval,
    propose_binding,
    propose_decision,
    propose_declassification,
    propose_enrolment,
    propose_invitation,
    propose_login,
    propose_policy,
    propose_release,
    propose_removal,
    propose_request,
    propose_review,
    propose_revocation,
    propose_sealed,
)
from jupyter_aisec.grants.catalog import MANIFEST_TYPE, read_manifest
from jupyter_aisec.grants.fold import apply
from jupyter_aisec.grants.statements import (
    Approval,
    Binding,
    Decision,
    Declassification,
    Enrolment,
    Invitation,
    KeyRevocation,
    Login,
    PolicyChange,
    Removal,
    Request,
    Review,
    Statement,
)
from jupyter_aisec.ledger.bodies import Body, Founder, KeysReleased
from jupyter_aisec.ledger.checkpoint import Checkpoint
from jupyter_aisec.ledger.entry import Entry, make_entry
from jupyter_aisec.people.dsse import Envelope, sign, sign_again
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.sealed.release import ReleaseKey
from jupyter_aisec.times import format_time

ORIGIN = "aisec.test/ledger"
START = datetime(2026, 11, 22, 12, tzinfo=UTC)
SALT = bytes(32)
HOUR = 3600
KEYS = [SigningKey.generate() for _ in range(12)]
BROKER, MODEL = SigningKey.generate(), SigningKey.generate("p256")
RELEASE_KEY = ReleaseKey.generate().public
PEOPLE = ("researcher", "approver", "second", "admin")


def ulid(number: int) -> str:
    """A well-formed ULID that tests can count."""
    return f"{number:026d}"


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def policy(**changes: Any) -> Policy:
    """The default policy with other top-level values; ``rule`` changes its one rule."""
    found = parse_policy(DEFAULT_POLICY_TEXT)
    rules = changes.pop("rules", None)
    rule = msgspec.structs.replace(found.rule[0], **changes.pop("rule", {}))
    return msgspec.structs.replace(found, rule=(rule,) if rules is None else rules, **changes)


def place(manifest: Envelope) -> str:
    """Where a version lies in a store."""
    facts = read_manifest(manifest)
    return f"file:///store/{facts.artifact}/{facts.seal_id}"


class Kernel:
    """A kernel's keys, as they are made when it starts."""

    def __init__(self) -> None:
        self.key = SigningKey.generate()
        self.id = self.key.public.key_id
        self.release_key = RELEASE_KEY


class World:
    """Four people (a researcher, two approvers, an admin who is one with ``second``)."""

    def __init__(self, policy: Policy | None = None, now: datetime = START) -> None:
        self.now = now
        self.state = State()
        self.entries: list[Entry] = []
        self.keys = dict(zip(PEOPLE, KEYS, strict=False))
        self.count = 0
        roles = {
            "researcher": ("researcher",),
            "approver": ("approver",),
            "second": ("admin", "approver"),
            "admin": ("admin",),
        }
        self.append(
            make_genesis(
                origin=ORIGIN,
                log_key="aisec.test/ledger+00000000+AAAA",
                broker_key=BROKER.public,
                model_key=MODEL.public,
                seal_key=bytes(1216),
                people=[
                    Founder(name=name, roles=roles[name], key=self.keys[name].public)
                    for name in PEOPLE
                ],
                policy=policy or parse_policy(DEFAULT_POLICY_TEXT),
            )
        )

    def later(self, **length: float) -> None:
        """Move the clock (back, with a negative length)."""
        self.now += timedelta(**length)

    def next(self) -> str:
        self.count += 1
        return ulid(self.count)

    def append(self, body: Body) -> Body:
        """What the broker does with a body that was proposed."""
        at = format_time(self.state.time(self.now))
        entry = make_entry(self.state.size, at, body, SALT)
        apply(self.state, entry)
        self.entries.append(entry)
        return body

    def sign(self, statement: Statement, *signers: str) -> Envelope:
        """``statement`` signed by the person it names, and by ``signers``."""
        envelope = sign(statement, statement.payload_type, self.keys[statement.person])
        for name in signers:
            envelope = sign_again(envelope, self.keys[name])
        return envelope

    def head(self, person: str) -> dict[str, str]:
        return {"origin": ORIGIN, "person": person, "at": format_time(self.now)}

    def checkpoint(self, size: int | None = None) -> str:
        size = self.state.size if size is None else size
        return Checkpoint(origin=ORIGIN, size=size, root=self.state.tree.root(size)).brief

    # What people say …

    def request(self, *artifacts: str, person: str = "researcher", **fields: Any) -> Envelope:
        values = {
            "grant": f"grant_{self.next()}",
            "artifacts": tuple(sorted(artifacts or ("dataset/digits",))),
            "seconds": HOUR,
            "reason": "Ablation 12",
            "seat": f"session:{ulid(7)}",
        }
        return self.sign(Request(**{**self.head(person), **values, **fields}))

    def approval(self, grant: str, person: str = "approver", **fields: Any) -> Envelope:
        found = self.state.grants[grant]
        values = {
            "request_sha256": payload_sha256(found.signed.envelope),
            "artifacts": found.request.artifacts,
            "seconds": found.request.seconds,
            "policy_version": self.state.policy_version,
            "checkpoint": self.checkpoint(),
        }
        return self.sign(Approval(**self.head(person), grant=grant, **{**values, **fields}))

    def a_review(self, grant: str, person: str = "approver", **fields: Any) -> Envelope:
        found = self.state.grants[grant]
        values = {
            "request_sha256": payload_sha256(found.signed.envelope),
            "verdict": "justified",
        }
        return self.sign(Review(**self.head(person), grant=grant, **{**values, **fields}))

    def decision(self, action: str, grant: str, person: str, reason: str = "") -> Envelope:
        return self.sign(
            Decision(**self.head(person), action=action, grant=grant, reason=reason)  # type: ignore[arg-type]
        )

    def binding(self, grant: str, kernel: Kernel, **fields: Any) -> Envelope:
        found = self.state.grants[grant]
        values = {
            "seat": found.request.seat,
            "kernel_key": kernel.key.public,
            "release_key": kernel.release_key,
            "isolation": "full",
        }
        person = fields.pop("person", found.person)
        return self.sign(Binding(**self.head(person), grant=grant, **{**values, **fields}))

    def manifest(self, artifact: str, by: SigningKey | None = None, **fields: Any) -> Envelope:
        values = {
            "format": "jupyter-aisec/manifest/v1",
            "artifact": artifact,
            "seal_id": f"seal_{self.next()}",
            "keys": [{"key_id": "key_1", "commitment": "…"}, {"key_id": "key_2"}],
            "labels": [],
            "parents": [],
            "files": [{"sealed_size": 1000}, {"sealed_size": 500}],
        }
        return sign({**values, **fields}, MANIFEST_TYPE, by or self.keys["admin"])

    def declassification(
        self, artifact: str, *drops: str, signers: tuple[str, ...], **fields: Any
    ) -> Envelope:
        """The last version's labels, dropped by ``signers``, of whom the first begins it."""
        found = self.state.catalog.find(artifact, fields.pop("version", None))
        values = {
            "artifact": artifact,
            "version": found.version,
            "seal_id": found.seal_id,
            "manifest_sha256": payload_sha256(found.manifest),
            "drops": tuple(sorted(drops)),
            "reason": "Aggregates only",
            "policy_version": self.state.policy_version,
            "checkpoint": self.checkpoint(),
        }
        statement = Declassification(**self.head(signers[0]), **{**values, **fields})
        return self.sign(statement, *signers[1:])

    def policy_change(self, new: Policy, *signers: str, **fields: Any) -> Envelope:
        values = {"policy_sha256": policy_sha256(new), "replaces": self.state.policy_version}
        first, *others = signers or ("admin", "second")
        return self.sign(PolicyChange(**self.head(first), **{**values, **fields}), *others)

    def invitation(
        self, name: str, *roles: str, signers: tuple[str, ...] = ("admin", "second")
    ) -> Envelope:
        return self.sign(
            Invitation(
                **self.head(signers[0]),
                invites=name,
                roles=tuple(sorted(roles)),  # type: ignore[arg-type]
                token_sha256=sha256(f"token of {name}"),
                expires=format_time(self.now + timedelta(days=1)),
            ),
            *signers[1:],
        )

    def enrolment(
        self, name: str, key: SigningKey, *signers: str, token: str | None = None
    ) -> Envelope:
        statement = Enrolment(
            **self.head(name), key=key.public, token_sha256=token and sha256(token)
        )
        envelope = sign(statement, statement.payload_type, key)
        for signer in signers:
            envelope = sign_again(envelope, self.keys[signer])
        return envelope

    def removal(self, name: str, *signers: str) -> Envelope:
        first, *others = signers
        return self.sign(Removal(**self.head(first), removes=name), *others)

    def revocation(self, key_id: str, by: str) -> Envelope:
        return self.sign(KeyRevocation(**self.head(by), key_id=key_id))

    def login(self, person: str, **fields: Any) -> Envelope:
        return self.sign(Login(**{**self.head(person), "nonce": self.next(), **fields}))

    # … and what a broker does when it hears it.

    def ask(self, *artifacts: str, **fields: Any) -> str:
        """Request, and return the grant's id."""
        body = propose_request(self.state, self.request(*artifacts, **fields), self.now)
        self.append(body)
        return body.grant

    def approve(self, grant: str, person: str = "approver", **fields: Any) -> None:
        body = propose_approval(self.state, self.approval(grant, person, **fields), self.now)
        self.append(self.countersigned(body))

    @staticmethod
    def countersigned(body: Any) -> Any:
        return msgspec.structs.replace(body, approval=sign_again(body.approval, BROKER))

    def decide(self, action: str, grant: str, person: str, reason: str = "") -> None:
        envelope = self.decision(action, grant, person, reason)
        self.append(propose_decision(self.state, envelope, self.now))

    def review(self, grant: str, person: str = "approver", **fields: Any) -> None:
        self.append(propose_review(self.state, self.a_review(grant, person, **fields), self.now))

    def bind(self, grant: str, kernel: Kernel | None = None, **fields: Any) -> Kernel:
        kernel = kernel or Kernel()
        envelope = self.binding(grant, kernel, **fields)
        self.append(propose_binding(self.state, envelope, self.now))
        return kernel

    def release(
        self, grant: str, kernel: Kernel, artifact: str = "dataset/digits", **fields: Any
    ) -> KeysReleased:
        values = {
            "version": None,
            "key_ids": None,
            "action": f"action_{self.next()}",
            "request_sha256": sha256("request"),
            **fields,
        }
        body = propose_release(
            self.state, grant, artifact, kernel=kernel.id, now=self.now, **values
        )
        recorded = self.state.actions.get(body.action)
        if recorded is None or recorded.body is not body:
            self.append(body)
        return body

    def seal(self, artifact: str, by: SigningKey | None = None, **fields: Any) -> str:
        """Seal a version, and return its seal id."""
        manifest = self.manifest(artifact, by, **fields)
        wrapped = {"key_1": sha256("1"), "key_2": sha256("2")}
        body = propose_sealed(self.state, manifest, place(manifest), wrapped, self.now)
        self.append(body)
        return body.seal_id

    def declassify(
        self, artifact: str, *drops: str, signers: tuple[str, ...], **fields: Any
    ) -> int:
        """Drop labels, and return the index of the entry."""
        envelope = self.declassification(artifact, *drops, signers=signers, **fields)
        self.append(propose_declassification(self.state, envelope, self.now))
        return self.state.size - 1

    def apply_policy(self, new: Policy, *signers: str) -> None:
        envelope = self.policy_change(new, *signers)
        self.append(propose_policy(self.state, new, envelope, self.now))

    def invite(
        self, name: str, *roles: str, signers: tuple[str, ...] = ("admin", "second")
    ) -> SigningKey:
        """Invite a person and enrol their first key."""
        envelope = self.invitation(name, *roles, signers=signers)
        self.append(propose_invitation(self.state, envelope, self.now))
        self.keys[name] = KEYS[len(self.keys)]
        token = f"token of {name}"
        envelope = self.enrolment(name, self.keys[name], token=token)
        self.append(propose_enrolment(self.state, envelope, self.now, token))
        return self.keys[name]

    def remove(self, name: str, *signers: str) -> None:
        envelope = self.removal(name, *(signers or ("admin",)))
        self.append(propose_removal(self.state, envelope, self.now))

    def revoke_key(self, key_id: str, by: str) -> None:
        self.append(propose_revocation(self.state, self.revocation(key_id, by), self.now))

    def sign_in(self, person: str, token: str = "token") -> str:
        digest = sha256(token)
        envelope = self.login(person)
        self.append(propose_login(self.state, envelope, self.now, digest, timedelta(hours=8)))
        return digest


def stocked(policy: Policy | None = None) -> World:
    """A world with ``dataset/digits`` and ``weights/minilm`` sealed by the admin."""
    world = World(policy)
    world.seal("dataset/digits")
    world.seal("weights/minilm")
    return world


@contextmanager
def refused(
    code: str, kind: type[AisecError] = AisecError
) -> Iterator[pytest.ExceptionInfo[AisecError]]:
    """Expect an error of that code (and class), one that says what to do or what it is about."""
    with pytest.raises(kind) as caught:
        yield caught
    assert caught.value.code == code, caught.value
