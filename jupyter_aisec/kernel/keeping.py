"""What a secure kernel's keeper does for it: in the person's name, and with their session.

The relay's routes (:mod:`~jupyter_aisec.kernel.relay`) call this. It never approves, and
never touches people or policy.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
import requests

from jupyter_aisec.errors import (
    AisecError,
    BrokerError,
    IdentityError,
    MalformedError,
    RefusedError,
    SealError,
)
from jupyter_aisec.kernel.desk import About
from jupyter_aisec.kernel.listed import GRANT
from jupyter_aisec.kernel.rate import Rate
from jupyter_aisec.kernel.shelf import Shelf
from jupyter_aisec.people import dsse
from jupyter_aisec.people.kernel_requests import signing_key_id
from jupyter_aisec.people.keys import PublicKey
from jupyter_aisec.people.release_keys import load_release_key
from jupyter_aisec.provenance.facts import Observation, Record
from jupyter_aisec.sealed.manifest import read_manifest

if TYPE_CHECKING:
    from jupyter_aisec.client.person import PersonClient
    from jupyter_aisec.client.views import GrantView
    from jupyter_aisec.confine.level import LevelName
    from jupyter_aisec.kernel.guardian import Guardian
    from jupyter_aisec.kernel.observer import Observer

__all__ = ["Asked", "Keeping"]

_T = TypeVar("_T")
_log = logging.getLogger("jupyter_aisec.keeper")
_GRANT = re.compile(GRANT)
_WORDED = frozenset({"request", "extend", "withdraw", "return"})  # carry a reason, in words
_PER_MINUTE = 10  # of those
_MAX_REASON = 1_000  # characters
_STORE_SECONDS = 60.0  # for one answer of a store


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a kernel may ask the keeper to sign, all verbs together."""

    grant: str = ""
    artifacts: tuple[str, ...] = ()
    seconds: int = 0
    reason: str = ""
    break_glass: bool = False
    kernel_key: PublicKey | None = None
    release_key: bytes = b""
    how: str = "wiped"
    record: dsse.Envelope | None = None


class Keeping:
    """What the relay acts on: the person, the observer, the guardian of leases."""

    def __init__(
        self,
        person: PersonClient,
        *,
        seat: str,
        isolation: LevelName,
        missing: tuple[str, ...],
        observer: Observer,
        guardian: Guardian,
        opened: Callable[[str, str, bytes], None],
        refused: Callable[[str, str], None],
    ) -> None:
        """``opened(artifact, seal_id, output_key)`` hears of each artifact version opened,
        ``refused(method, path)`` of each request that is not on the list."""
        self.person = person
        self._seat = seat
        self._isolation = isolation
        self._missing = missing
        self.observer = observer
        self.guardian = guardian
        self.opened = opened
        self.refused = refused
        self.pool = ThreadPoolExecutor(8, thread_name_prefix="aisec-relay")
        # A store that hangs must not keep the lease from being renewed.
        self.stores = ThreadPoolExecutor(8, thread_name_prefix="aisec-store")
        self._watcher = ThreadPoolExecutor(1, thread_name_prefix="aisec-watch")
        self._other_past: AisecError | None = None  # what the ledger of a release showed
        self.shelf = Shelf(person)
        self._rate = Rate(_PER_MINUTE)
        self._binding = threading.Lock()
        self._kernel: tuple[PublicKey, bytes] | None = None  # the keys it made when it started
        self.output_keys: dict[str, bytes] = {}
        self._session = requests.Session()
        self._session.trust_env = False

    @cached_property
    def about(self) -> About:
        """Whose kernel this is; asks the broker, so that a kernel starts without one."""
        return About(
            person=self.person.person,
            seat=self._seat,
            trust=self.person.trust,
            isolation=self._isolation,
            missing=self._missing,
        )

    async def call(self, function: Callable[[], _T]) -> _T:
        """A blocking call, off the loop."""
        return await asyncio.get_running_loop().run_in_executor(self.pool, function)

    async def call_store(self, function: Callable[[], _T]) -> _T:
        """The same for a store; raises SealError (``store-silent``) if it does not answer."""
        answer = asyncio.get_running_loop().run_in_executor(self.stores, function)
        try:
            return await asyncio.wait_for(answer, _STORE_SECONDS)
        except TimeoutError as error:
            raise SealError(
                f"The store has not answered for {_STORE_SECONDS:.0f} seconds.",
                next="Try again; if it stays, tell whoever runs the store.",
                code="store-silent",
            ) from error

    def forward(
        self, method: str, target: str, headers: dict[str, str], body: bytes | None
    ) -> requests.Response:
        """The broker's answer to a request as the kernel made (and signed) it."""
        return self._session.request(
            method,
            self.person.http.url + target,
            headers=headers,
            data=body,
            auth=self.person.bearer,
            timeout=60,
            allow_redirects=False,
        )

    # -- the ledger of what is released

    def check_past(self) -> None:
        """Raises LedgerError (``ledger-rolled-back``) once a release came from a ledger with
        another past than the person's home has seen: then no more of them pass."""
        if self._other_past is not None:
            raise self._other_past

    def watch(self, checkpoint: str) -> None:
        """Holds a release's ledger checkpoint against the last one that the person's home saw.

        In the order they came, and behind the opening, which is not to wait for the proof.
        """
        self._watcher.submit(self._watch, checkpoint)

    def _watch(self, checkpoint: str) -> None:
        try:
            self.person.watch.accept(checkpoint)
        except AisecError as error:
            _log.error("The ledger of a release could not be checked: %s", error)
            if error.code == "ledger-rolled-back":
                self._other_past = error

    # -- in the person's name

    def sign(self, verb: str, asked: Asked) -> Any:
        """Does what ``verb`` names, in the person's name; raises what the broker refuses."""
        person = self.person
        if asked.grant:
            self.check_grant(asked.grant)
        if verb in _WORDED:
            self._check_words(asked)
        match verb:
            case "request":
                return person.request(
                    asked.artifacts,
                    asked.seconds,
                    asked.reason,
                    seat=self.about.seat,
                    break_glass=asked.break_glass,
                )
            case "extend":
                return person.extend(
                    asked.grant, asked.seconds, asked.reason, break_glass=asked.break_glass
                )
            case "withdraw":
                return person.withdraw(asked.grant, asked.reason)
            case "return":
                return person.return_(asked.grant, asked.reason)
            case "bind":
                return self._bind(asked)
            case "wiped":
                self.guardian.wiped(asked.grant)
                return {}
            case _:
                return self._observe(asked)

    @staticmethod
    def check_grant(grant: str) -> None:
        """Raises MalformedError unless it is an id: it becomes part of a path at the broker."""
        if not _GRANT.fullmatch(grant):
            raise MalformedError(
                f"{grant[:60]!r} is not the id of a grant.", code="grant-id-invalid"
            )

    def _check_words(self, asked: Asked) -> None:
        """Reasons are for people: short and few, or they would carry data out."""
        if len(asked.reason) > _MAX_REASON:
            raise RefusedError(
                f"A reason from a secure kernel has at most {_MAX_REASON} characters.",
                next="Say it shorter.",
                code="reason-too-long",
            )
        if not self._rate.take():
            raise RefusedError(
                f"A secure kernel asks at most {_PER_MINUTE} times a minute.",
                next="Wait a minute.",
                code="asked-too-often",
            )

    def _bind(self, asked: Asked) -> GrantView:
        if asked.kernel_key is None:
            raise MalformedError("A binding names the kernel's key.")
        asked.kernel_key.load()
        load_release_key(asked.release_key)
        with self._binding:  # one at a time: each rests on what became of the one before
            self._remember(asked.kernel_key, asked.release_key)
            grant = self.person.grant(asked.grant)
            # Bound already, and the answer was lost: the seat is this kernel's all the same.
            view = self._held(grant) or self._take(grant, asked.kernel_key, asked.release_key)
            self.guardian.guard(view, asked.kernel_key.key_id)
        return view

    def _remember(self, kernel_key: PublicKey, release_key: bytes) -> None:
        """One keeper is one kernel start, and that makes keys once.

        What is opened is counted by the kernel's key: a second one would seal without the
        labels of what the first one opened, and record runs without its inputs.
        """
        if self._kernel is None:
            self._kernel = (kernel_key, release_key)
        if self._kernel != (kernel_key, release_key):
            raise _another_key()

    def _held(self, grant: GrantView) -> GrantView | None:
        """The grant, if this kernel holds its seat."""
        return grant if self._kernel and grant.holder == self._kernel[0].key_id else None

    def _take(self, grant: GrantView, kernel_key: PublicKey, release_key: bytes) -> GrantView:
        """Binds the kernel; guarded before, since the answer may not come."""
        seat = self.person.read_request(grant).seat
        if grant.state == "active" and seat != self.about.seat:
            raise RefusedError(
                f"{grant.id} is in use in another notebook.",
                next='Ask for this one: %grant request NAME --for 1h --reason "…"',
                code="seat-taken",
            )
        about = self.about  # asks the broker: before there is anything to guard
        self.guardian.expect(grant, kernel_key.key_id)
        try:
            return self.person.bind(
                grant.id,
                seat=seat,
                kernel_key=kernel_key,
                release_key=release_key,
                isolation=about.isolation,
                missing=about.missing,
            )
        except BrokerError:
            raise  # it may have been bound
        except AisecError:
            if held := self._held(self.person.grant(grant.id)):  # what was sent came twice
                return held
            self.guardian.forget(grant.id)
            raise

    def check_signer(self, signature_input: str) -> None:
        """Raises IdentityError (``kernel-key-changed``) for a request by another kernel's key.

        Before the kernel has bound a key there is none to compare with, and nothing opened.
        """
        if self._kernel and signing_key_id(signature_input) != self._kernel[0].key_id:
            raise _another_key()

    def check_sealer(self, manifest: dsse.Envelope) -> None:
        """The same for the signature of a manifest, which says whose labels it must carry."""
        signers = [signature.keyid for signature in manifest.signatures]
        if self._kernel and signers != [self._kernel[0].key_id]:
            raise _another_key()

    def _observe(self, asked: Asked) -> Any:
        """The observation beside a record, signed with the person's key."""
        if asked.record is None:
            raise MalformedError("There is no record to observe.")
        record = asked.record.read(Record, Record.payload_type, "The record")
        if self._kernel and record.kernel != self._kernel[0].key_id:
            raise _another_key()
        observation = self.observer.observation(
            origin=self.about.trust.origin,
            person=self.about.person,
            run=record.run,
            kernel=record.kernel,
            record_sha256=hashlib.sha256(asked.record.payload).hexdigest(),
            isolation=self.about.isolation,
        )
        return dsse.sign(observation, Observation.payload_type, self.person.home.key())

    # -- sealed files

    def output_key(self, artifact: str, seal_id: str, version: int | None = None) -> bytes:
        """The output key of a version, from its manifest: the kernel's, or else asked for here."""
        if seal_id not in self.output_keys:
            view = self.person.artifact(artifact, version)
            self.output_keys[view.seal_id] = read_manifest(view.manifest).output_key
        return self.output_keys[seal_id]

    def close(self) -> None:
        """The kernel ended: what it stored and never registered goes."""
        self.shelf.sweep()


def _another_key() -> IdentityError:
    return IdentityError(
        "This is another key than the one that this kernel bound when it started.",
        next="A kernel makes its keys once: restart it for new ones.",
        code="kernel-key-changed",
    )
