"""A little ledger with real keys and real rules, walked from the genesis to a bundle.

Nothing is stood in for but the ciphertext, whose content no check here looks at.
"""

from __future__ import annotations

import hashlib
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from ulid import ULID

from jupyter_aisec import grants
from jupyter_aisec.grants.fold import apply
from jupyter_aisec.grants.statements import (
    Approval,
    Binding,
    Declassification,
    Enrolment,
    Invitation,
    KeyRevocation,
    PolicyChange,
    Removal,
    Request,
    Review,
    Statement,
)
from jupyter_aisec.ledger import (
    Checkpoint,
    Entry,
    NoteSigner,
    Trust,
    make_entry,
    sign_checkpoint,
    trust_of,
)
from jupyter_aisec.ledger.bodies import Body, Founder
from jupyter_aisec.people import Envelope, SigningKey, canonical, sign, sign_again
from jupyter_aisec.provenance import (
    Cell,
    Environment,
    Gpu,
    Input,
    Observation,
    Output,
    Record,
    SealedBytes,
    SeenCell,
    SignedRun,
    Steps,
    make_bundle,
    sign_run,
)
from jupyter_aisec.sealed.datakey import COMMITMENT_SIZE
from jupyter_aisec.sealed.manifest import KeyEntry, Manifest, SealedFile, sign_manifest
from jupyter_aisec.sealed.release import PUBLIC_SIZE, ReleaseKey
from jupyter_aisec.sealed.stream import sealed_size
from jupyter_aisec.times import format_time

ORIGIN = "aisec.example/lab"
START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
RELEASE_KEY = ReleaseKey.generate().public
DIGEST = hashlib.sha256(b"").hexdigest()


def new_id(prefix: str) -> str:
    return f"{prefix}_{ULID()}"


def source(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class World:
    """The ledger, everybody's keys, and what lies at the store."""

    def __init__(self) -> None:
        self.keys = {
            name: SigningKey.generate()
            for name in ("log", "broker", "researcher", "approver", "admin", "kernel")
        }
        self.keys["model"] = SigningKey.generate("p256")
        self.log = NoteSigner(ORIGIN, self.keys["log"])
        self.state = grants.State()
        self.entries: list[Entry] = []
        self.now = START
        self.files: dict[str, dict[str, bytes]] = {}  # by seal id: name -> sealed bytes
        self.grant = new_id("grant")
        self.run = new_id("run")
        self.seat = f"session:{ULID()}"

    # The ledger.

    def append(self, body: Body) -> int:
        """Append, as a broker does: the rules are asked again."""
        entry = make_entry(len(self.entries), self.at(), body, secrets.token_bytes(32))
        apply(self.state, entry, signatures=True)
        self.entries.append(entry)
        self.now += timedelta(seconds=1)
        return entry.index

    def at(self) -> str:
        return format_time(self.now)

    def checkpoint(self) -> Checkpoint:
        return Checkpoint(ORIGIN, self.state.size, self.state.tree.root())

    def signed_checkpoint(self) -> str:
        return sign_checkpoint(self.checkpoint(), self.log)

    @property
    def trust(self) -> Trust:
        return trust_of(self.entries[0])

    def sign(self, type_: type[Statement], person: str, **fields: Any) -> Envelope:
        statement = type_(origin=ORIGIN, person=person, at=self.at(), **fields)
        return sign(statement, type_.payload_type, self.keys[person])

    # The steps of the walk.

    def found(self) -> None:
        self.append(
            grants.make_genesis(
                origin=ORIGIN,
                log_key=self.log.verifier_key,
                broker_key=self.keys["broker"].public,
                model_key=self.keys["model"].public,
                seal_key=bytes(PUBLIC_SIZE),
                people=[
                    Founder(
                        name="researcher",
                        roles=("admin", "researcher"),
                        key=self.keys["researcher"].public,
                    ),
                    Founder(name="admin", roles=("admin",), key=self.keys["admin"].public),
                ],
                policy=grants.parse_policy(grants.DEFAULT_POLICY_TEXT),
            )
        )

    def invite(self, name: str, roles: tuple[str, ...], *by: str) -> None:
        """Admins invite a person, who enrols a first key with the one-time token."""
        token = secrets.token_urlsafe()
        digest = hashlib.sha256(token.encode()).hexdigest()
        expires = format_time(self.now + timedelta(days=1))
        invitation = self.sign(
            Invitation, by[0], invites=name, roles=roles, token_sha256=digest, expires=expires
        )
        for other in by[1:]:
            invitation = sign_again(invitation, self.keys[other])
        self.append(grants.propose_invitation(self.state, invitation, self.now))
        key = self.keys.setdefault(name, SigningKey.generate()).public
        enrolment = self.sign(Enrolment, name, key=key, token_sha256=digest)
        self.append(grants.propose_enrolment(self.state, enrolment, self.now, token))

    def enrol(self, person: str, key: str, *vouching: str) -> None:
        """A further key of a person, vouched for by these keys."""
        new = self.keys.setdefault(key, SigningKey.generate())
        statement = Enrolment(origin=ORIGIN, person=person, at=self.at(), key=new.public)
        envelope = sign(statement, Enrolment.payload_type, new)
        for name in vouching:
            envelope = sign_again(envelope, self.keys[name])
        self.append(grants.propose_enrolment(self.state, envelope, self.now))

    def revoke(self, key: str, by: str) -> None:
        envelope = self.sign(KeyRevocation, by, key_id=self.keys[key].public.key_id)
        self.append(grants.propose_revocation(self.state, envelope, self.now))

    def remove(self, person: str, by: str) -> None:
        envelope = self.sign(Removal, by, removes=person)
        self.append(grants.propose_removal(self.state, envelope, self.now))

    def apply_policy(self, text: str, *signers: str) -> None:
        policy = grants.parse_policy(text)
        envelope = self.sign(
            PolicyChange,
            signers[0],
            policy_sha256=grants.policy_sha256(policy),
            replaces=self.state.policy_version,
        )
        for name in signers[1:]:
            envelope = sign_again(envelope, self.keys[name])
        self.append(grants.propose_policy(self.state, policy, envelope, self.now))

    def seal(
        self, artifact: str, key: str, labels: tuple[str, ...] = (), files: int = 2
    ) -> tuple[str, int]:
        """Seal a version; its seal id and number."""
        seal_id = new_id("seal")
        key_id = new_id("key")
        contents = {
            f"{index:04d}.sealed": secrets.token_bytes(sealed_size(100 + index))
            for index in range(files)
        }
        manifest = Manifest(
            artifact=artifact,
            seal_id=seal_id,
            created=self.at(),
            media_type="files",
            files=tuple(
                SealedFile(
                    name=f"part-{index}",
                    index=index,
                    size=100 + index,
                    sealed_size=len(content),
                    sha256=hashlib.sha256(content).hexdigest(),
                    key_id=key_id,
                )
                for index, content in enumerate(contents.values())
            ),
            keys=(KeyEntry(key_id=key_id, commitment=bytes(COMMITMENT_SIZE)),),
            output_key=bytes(PUBLIC_SIZE),
            labels=labels,
        )
        envelope = sign_manifest(manifest, self.keys[key])
        url = f"memory://x/{artifact}/{seal_id}"
        body = grants.propose_sealed(self.state, envelope, url, {key_id: DIGEST}, self.now)
        self.append(body)
        self.files[seal_id] = contents
        return seal_id, body.version

    def declassify(self, artifact: str, *drops: str, by: tuple[str, ...]) -> int:
        """Drop labels of the last version; the entry's index."""
        found = self.state.catalog.find(artifact)
        envelope = self.sign(
            Declassification,
            by[0],
            artifact=artifact,
            version=found.version,
            seal_id=found.seal_id,
            manifest_sha256=grants.payload_sha256(found.manifest),
            drops=tuple(sorted(drops)),
            reason="Aggregates only",
            policy_version=self.state.policy_version,
            checkpoint=self.checkpoint().brief,
        )
        for name in by[1:]:
            envelope = sign_again(envelope, self.keys[name])
        return self.append(grants.propose_declassification(self.state, envelope, self.now))

    def request(self, artifacts: tuple[str, ...], grant: str | None = None, **fields: Any) -> None:
        envelope = self.sign(
            Request,
            "researcher",
            grant=grant or self.grant,
            artifacts=artifacts,
            seconds=3600,
            reason="Ablation 12",
            seat=self.seat,
            **fields,
        )
        self.append(grants.propose_request(self.state, envelope, self.now))

    def approve(self, grant: str | None = None) -> None:
        asked = self.state.grant(grant or self.grant)
        envelope = self.sign(
            Approval,
            "approver",
            grant=asked.id,
            request_sha256=asked.signed.sha256,
            artifacts=asked.request.artifacts,
            seconds=1800,
            policy_version=self.state.policy_version,
            checkpoint=self.checkpoint().brief,
        )
        body = grants.propose_approval(self.state, envelope, self.now)
        both = sign_again(body.approval, self.keys["broker"])
        self.append(msgspec.structs.replace(body, approval=both))

    def review(self, person: str, **fields: Any) -> None:
        asked = self.state.grant(self.grant)
        values = {"request_sha256": asked.signed.sha256, "verdict": "justified"}
        envelope = self.sign(Review, person, grant=asked.id, **{**values, **fields})
        self.append(grants.propose_review(self.state, envelope, self.now))

    def bind(self, grant: str | None = None, kernel: str = "kernel") -> None:
        envelope = self.sign(
            Binding,
            "researcher",
            grant=grant or self.grant,
            seat=self.seat,
            kernel_key=self.keys[kernel].public,
            release_key=RELEASE_KEY,
            isolation="full",
        )
        self.append(grants.propose_binding(self.state, envelope, self.now))

    def release(self, artifact: str, grant: str | None = None) -> Input:
        body = grants.propose_release(
            self.state,
            grant or self.grant,
            artifact,
            None,
            None,
            self.keys["kernel"].public.key_id,
            new_id("action"),
            DIGEST,
            self.now,
        )
        index = self.append(body)
        return Input(
            artifact=artifact,
            version=body.version,
            seal_id=body.seal_id,
            grant=body.grant,
            entry=index,
        )

    def show(self, *artifacts: str, grant: str | None = None) -> tuple[Input, ...]:
        """Open a saved output that was made from these."""
        keys = sorted((one, self.state.catalog.find(one).seal_id) for one in artifacts)
        body = grants.propose_output_release(
            self.state,
            keys,
            dict.fromkeys((seal_id for _, seal_id in keys), grant or self.grant),
            DIGEST,
            self.keys["kernel"].public.key_id,
            new_id("action"),
            DIGEST,
            self.now,
        )
        index = self.append(body)
        return tuple(
            Input(
                artifact=one.artifact,
                version=one.version,
                seal_id=one.seal_id,
                grant=one.grant,
                entry=index,
            )
            for one in body.sources
        )

    # The observers.

    def record(self, inputs: tuple[Input, ...], seal_id: str, **changes: Any) -> Record:
        sealed = self.state.catalog.sealed(seal_id)
        assert sealed is not None
        sources = ("%load_secure dataset/digits as df", "train(df)", "%save_secure model")
        record = Record(
            origin=ORIGIN,
            run=self.run,
            kernel=self.keys["kernel"].public.key_id,
            grants=(self.grant,),
            started=self.at(),
            finished=self.at(),
            cells=tuple(
                Cell(
                    n=number,
                    cell_id=f"cell-{number}",
                    sha256=source(text),
                    started=self.at(),
                    finished=self.at() if number < len(sources) else None,
                    ok=True if number < len(sources) else None,
                )
                for number, text in enumerate(sources, 1)
            ),
            cells_missing=0,
            steps=(
                Steps(optimizer="torch.optim.sgd.SGD", steps=9, first=self.at(), last=self.at()),
            ),
            frameworks=("lightning 2.6.0",),
            cut_short=None,
            inputs=inputs,
            output=Output(
                artifact=sealed.artifact,
                seal_id=seal_id,
                manifest_sha256=hashlib.sha256(sealed.manifest.payload).hexdigest(),
            ),
            environment=Environment(
                python="CPython 3.11.7",
                platform="Linux-6.1.0-amd64-x86_64-with-glibc2.36",
                packages=("numpy==2.4.0", "ruamel.yaml==0.18.1", "torch==2.13.0+cpu"),
                packages_sha256=DIGEST,
            ),
            gpus=(
                Gpu(uuid="GPU-1", name="NVIDIA H100", memory=80 << 30, driver="580.1", used=True),
            ),
        )
        return msgspec.structs.replace(record, **changes)

    def observe(self, record: Record, **changes: Any) -> Observation:
        observation = Observation(
            origin=ORIGIN,
            person="researcher",
            run=record.run,
            kernel=record.kernel,
            record_sha256=hashlib.sha256(canonical(record)).hexdigest(),
            at=self.at(),
            isolation="full",
            cells=tuple(
                SeenCell(
                    msg_id=f"msg-{cell.n}",
                    sha256=cell.sha256,
                    at=cell.started,
                    outputs_sha256=DIGEST,
                    status=None if cell.ok is None else "ok",
                )
                for cell in record.cells
            ),
        )
        return msgspec.structs.replace(observation, **changes)

    def sign_record(self, record: Record, key: str = "kernel") -> Envelope:
        return sign(record, Record.payload_type, self.keys[key])

    def sign_observation(self, observation: Observation, key: str = "researcher") -> Envelope:
        return sign(observation, Observation.payload_type, self.keys[key])

    # The broker.

    def sign_run(self, record: Envelope, observation: Envelope | None) -> SignedRun:
        return sign_run(self.entries, record, observation, self.keys["broker"])

    def bundle(self, signed: SignedRun) -> bytes:
        return make_bundle(
            self.entries,
            self.state.tree,
            self.signed_checkpoint(),
            signed,
            self.keys["model"],
        )

    # The verifier.

    def manifest_file(self, seal_id: str) -> bytes:
        sealed = self.state.catalog.sealed(seal_id)
        assert sealed is not None
        return canonical(sealed.manifest)

    def sealed_files(self, seal_id: str) -> dict[str, SealedBytes]:
        return {
            name: SealedBytes(len(content), hashlib.sha256(content).hexdigest())
            for name, content in self.files[seal_id].items()
        }


class Walked(msgspec.Struct, frozen=True):
    """A whole walk, and its result."""

    world: World
    seal_id: str
    record: Record
    signed: SignedRun
    bundle: bytes


def prepare() -> tuple[World, tuple[Input, ...]]:
    """Everything up to the release of the inputs' keys."""
    world = World()
    world.found()
    world.invite("approver", ("approver",), "admin", "researcher")
    world.invite("bystander", ("researcher",), "admin", "researcher")  # has no part in the run
    world.seal("dataset/digits", "researcher", labels=("internal",))
    world.seal("weights/minilm", "researcher")
    world.seal("dataset/other", "researcher")
    world.request(("dataset/digits", "weights/minilm"))
    world.approve()
    world.bind()
    world.request(("dataset/other",), grant=new_id("grant"))  # has no part in the run
    return world, (world.release("dataset/digits"), world.release("weights/minilm"))


def walk() -> Walked:
    """The whole walk."""
    world, inputs = prepare()
    seal_id, _ = world.seal("weights/digits-net", "kernel", labels=("internal",))
    record = world.record(inputs, seal_id)
    signed = world.sign_run(
        world.sign_record(record), world.sign_observation(world.observe(record))
    )
    world.append(grants.propose_run(world.state, signed.body, world.now))
    world.request(("dataset/other",), grant=new_id("grant"))  # the ledger goes on
    return Walked(world, seal_id, record, signed, world.bundle(signed))
