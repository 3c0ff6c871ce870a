"""One kernel's dealings: its keys, the seats it took, and what it has opened.

The bound key (Ed25519) and the release key (HPKE) are made here, inside the kernel, and
never leave it. A seat is bound once per kernel start and grant; a restart makes new keys and
binds again, which needs no new approval.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from jupyter_aisec.client.views import ArtifactView, GrantView, Lease
from jupyter_aisec.errors import AisecError, ConflictError, NotFoundError, RefusedError
from jupyter_aisec.grants.statements import Request
from jupyter_aisec.kernel.boot_clock import boot_time
from jupyter_aisec.kernel.covers import covers, newest_covered
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.sealed.release import ReleaseKey
from jupyter_aisec.times import parse_time

if TYPE_CHECKING:
    from jupyter_aisec.client.kernel import KernelClient, Release
    from jupyter_aisec.kernel.desk import About, Desk
    from jupyter_aisec.record import Recorder
    from jupyter_aisec.sealed.artifact import OpenArtifact
    from jupyter_aisec.sealed.memory import Memory

__all__ = ["KernelSession", "Opened", "Released", "Shown"]

_POLL_SECONDS = 1.0
_USABLE = {"active": 0, "scheduled": 1, "pending": 2}  # the best state first
_WHY_NOT = {
    "denied": "was denied",
    "withdrawn": "was withdrawn",
    "lapsed": "lapsed before anyone approved it",
    "expired": "has expired",
    "revoked": "was revoked",
    "returned": "was returned",
}


def _say_nothing(view: GrantView) -> None:
    """For those who need not be told that it takes a while."""


class Released:
    """Keys of one artifact version that came for a grant, on their way to being used."""

    def __init__(self, view: ArtifactView, release: Release, grant: str) -> None:
        self.view = view
        self.release = release
        self.grant = grant


class Opened:
    """An artifact version open in this kernel, the memory it lives in, and its variables."""

    def __init__(self, released: Released, memory: Memory) -> None:
        self.artifact = released.view.artifact
        self.version = released.view.version
        self.seal_id = released.view.seal_id
        self.labels = released.view.labels
        self.grant = released.grant
        self.entry = released.release.entry
        self.memory = memory
        self.variables: dict[str, int] = {}  # name -> id of the object it was given
        self.content: OpenArtifact | None = None  # where its files are read one by one

    def __repr__(self) -> str:
        return f"<Opened {self.artifact} version {self.version}>"


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact version that a saved output, opened in this kernel, was made from."""

    artifact: str
    version: int
    seal_id: str
    labels: tuple[str, ...]
    grant: str
    entry: int


class KernelSession:
    """Everything one kernel holds at the broker: keys, seats, leases, and what is open.

    ``desk`` signs for the person; ``recorder`` knows what ran.
    """

    def __init__(self, desk: Desk, recorder: Recorder) -> None:
        self.desk = desk
        self.recorder = recorder
        self.key = SigningKey.generate()
        self.release_key = ReleaseKey.generate()
        self.opened: list[Opened] = []
        # By seal id: what flows into what is sealed.
        self.ever_opened: dict[str, Opened | Shown] = {}
        self.views: dict[str, GrantView] = {}
        self.bound: dict[str, Lease | None] = {}
        self.unsure: set[str] = set()  # of those: bound again before anything opens under them
        self.closed: dict[str, str] = {}  # grants that open nothing any more, and why
        self.changed = threading.Condition()
        self._carried: frozenset[str] = frozenset()
        self._listeners: list[Callable[[GrantView], None]] = []
        self._ahead = timedelta(0)  # how far the broker's clock is ahead of ours

    def __repr__(self) -> str:
        return f"<KernelSession {self.key.public.key_id[:19]}…>"

    @cached_property
    def about(self) -> About:
        return self.desk.about()

    @cached_property
    def client(self) -> KernelClient:
        return self.desk.kernel_client(self.key, self.release_key)

    # -- the broker's clock

    def now(self) -> datetime:
        """The instant now by the broker's clock, also while the broker is away."""
        return boot_time() + self._ahead

    def _saw_clock(self, text: str) -> None:
        self._ahead = parse_time(text) - boot_time()

    # -- grants

    def request(
        self, artifacts: tuple[str, ...], seconds: int, reason: str, *, break_glass: bool = False
    ) -> GrantView:
        return self.saw(self.desk.request(artifacts, seconds, reason, break_glass=break_glass))

    def extend(
        self, grant: str, seconds: int, reason: str, *, break_glass: bool = False
    ) -> GrantView:
        return self.saw(self.desk.extend(grant, seconds, reason, break_glass=break_glass))

    def grants(self) -> tuple[GrantView, ...]:
        """This person's grants, as the broker has them now; the newest first."""
        mine = [view for view in self.client.grants() if view.person == self.about.person]
        for view in mine:
            self.saw(view)
        return tuple(sorted(mine, key=lambda view: view.id, reverse=True))

    def refresh(self, grant: str) -> GrantView:
        return self.saw(self.client.grant(grant))

    def saw(self, view: GrantView) -> GrantView:
        """Remembers the newest view of a grant and tells whoever listens."""
        self._saw_clock(view.now)
        self._remember(view)
        return view

    def foresee_end(self, grant: str, why: str) -> None:
        """Takes a grant for ended, as its lease said: the broker is not waited for."""
        view = self.views[grant]
        self._remember(msgspec.structs.replace(view, state="ended", ended_why=why))

    def _remember(self, view: GrantView) -> None:
        with self.changed:
            self.views[view.id] = view
            if view.holder == self.key.public.key_id:
                self._carried |= frozenset(view.labels)
            self.changed.notify_all()
        for listener in list(self._listeners):
            listener(view)

    def listen(self, listener: Callable[[GrantView], None]) -> None:
        """``listener(view)`` is called, by any thread, with each new view of a grant."""
        self._listeners.append(listener)

    def choose(
        self, artifact: str, version: int | None = None, but: Container[str] = ()
    ) -> GrantView | None:
        """The grant to open ``artifact`` under: of this seat, in the best state, the newest.

        One for that ``version`` where one is given, else for any; none of those in ``but``. A
        grant that another seat has begun to use is that seat's.
        """
        usable = [
            view
            for view in self.grants()
            if covers(view, artifact, version)
            and view.state in _USABLE
            and view.id not in self.closed
            and view.id not in but
            and self.is_ours(view)
        ]
        return min(usable, key=lambda view: _USABLE[view.state], default=None)

    def await_grant(
        self,
        artifact: str,
        version: int | None = None,
        *,
        wait: bool,
        but: Container[str] = (),
        waiting: Callable[[GrantView], None] = _say_nothing,
    ) -> GrantView:
        """A grant that opens ``artifact``, once it is approved; interruptible by the user.

        ``waiting(view)`` is called once, if there is something to wait for.

        Raises NotFoundError where nothing was asked for, ConflictError for one that is
        pending with ``wait`` false, RefusedError for one that ended meanwhile.
        """
        view = self.choose(artifact, version, but)
        if view is None:
            raise NotFoundError(
                f"No grant of this notebook lets it open {artifact}.",
                next=f'Ask for it: `%grant request {artifact} --for 1h --reason "…"`',
                code="no-grant",
            )
        if view.state == "pending" and wait:
            waiting(view)
        while view.state == "pending":
            if not wait:
                raise ConflictError(
                    f"The grant for {artifact} is still pending.",
                    next=f"Let an approver decide, `aisec grant approve {view.id}`; "
                    "without --no-wait, loading waits for it.",
                    code="grant-pending",
                )
            try:
                with self.changed:
                    self.changed.wait(_POLL_SECONDS)
                view = self.refresh(view.id)
            except KeyboardInterrupt:
                raise AisecError(
                    f"Stopped waiting for {artifact}; the request is still pending.",
                    next=f"Load it again to wait on, or take it back: `%grant withdraw {view.id}`.",
                    code="interrupted",
                ) from None
        if view.state == "ended":
            raise RefusedError(
                f"The grant for {artifact} {_WHY_NOT.get(view.ended_why or '', 'has ended')}.",
                next=f'Ask again: `%grant request {artifact} --for 1h --reason "…"`',
                code=f"grant-{view.ended_why or 'ended'}",
            )
        return view

    def is_ours(self, view: GrantView) -> bool:
        """Whether no other seat has begun to use it."""
        return view.state != "active" or self._seat(view) == self.about.seat

    def _seat(self, view: GrantView) -> str:
        return view.request.read(Request, Request.payload_type, "The request").seat

    # -- seats and keys

    def bind(self, view: GrantView) -> None:
        """Takes the seat, once per kernel start; whoever signs knows if it has it already."""
        if view.id in self.bound and view.id not in self.unsure:
            return
        try:
            bound = self._bind(view.id)
        except ConflictError as error:
            if error.code != "kernel-bound-already" or self.desk.keeps_keys:
                raise
            self._renew_keys()
            bound = self._bind(view.id)
        self.saw(bound)
        self.bound.setdefault(view.id, None)
        self.unsure.discard(view.id)

    def _bind(self, grant: str) -> GrantView:
        return self.desk.bind(grant, self.key.public, self.release_key.public)

    def _renew_keys(self) -> None:
        """A seat that another kernel took is taken back by new keys: the old ones had it once.

        To the broker they are another kernel, of which it counts what this one has opened: so
        its labels are carried on, and a record of the new keys' names what they opened.
        """
        self._carried |= frozenset(self.labels)
        self.ever_opened.clear()
        self.key, self.release_key = SigningKey.generate(), ReleaseKey.generate()
        self.__dict__.pop("client", None)  # it signs with the old one
        self.bound.clear()

    def release(
        self,
        artifact: str,
        *,
        version: int | None = None,
        wait: bool = True,
        waiting: Callable[[GrantView], None] = _say_nothing,
    ) -> Released:
        """The keys of an artifact version, logged before they come; see :meth:`await_grant`.

        By default it is the newest version that the grant covers. A version may have labels
        that a grant's approvers were not asked about: then it is a later grant that opens it.
        """
        outgrown: set[str] = set()
        while True:
            grant = self.await_grant(artifact, version, wait=wait, but=outgrown, waiting=waiting)
            try:
                return self._release(grant, artifact, version)
            except RefusedError as error:
                outgrown.add(grant.id)
                if error.code != "labels-new" or self.choose(artifact, version, outgrown) is None:
                    raise

    def _release(self, grant: GrantView, artifact: str, version: int | None) -> Released:
        self.bind(grant)
        self.check_open(grant.id)
        if version is None:
            version = newest_covered(grant, artifact)
        view = self.client.artifact(artifact, version)
        return Released(view, self.client.keys(grant.id, artifact, version=view.version), grant.id)

    def check_open(self, grant: str) -> None:
        """Raises RefusedError once a grant's lease is lost or the grant is over."""
        if why := self.closed.get(grant):
            raise RefusedError(
                f"Nothing opens under {grant} any more: {why}.",
                next="If the broker was away, try again; else ask again: "
                "`%grant request NAME --for 1h --reason TEXT`.",
                code="lease-lost",
            )

    def keep(self, opened: Opened) -> None:
        """What was opened is known from here on: its labels flow, and its end wipes it."""
        with self.changed:
            self.opened.append(opened)
            self.ever_opened[opened.seal_id] = opened

    def show(self, shown: Shown) -> None:
        """What an output showed is known from here on; what is open itself says more."""
        with self.changed:
            self.ever_opened.setdefault(shown.seal_id, shown)

    def leases(self, grant: str) -> Lease:
        """Renews the lease of a bound grant."""
        lease = self.desk.lease(grant)
        self._saw_clock(lease.now)
        self.bound[grant] = lease
        return lease

    # -- what flows

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of everything this kernel has opened, sorted.

        And those that the broker counts besides: a kernel that had the seat before, and that
        nobody confirmed gone, may have been this very process.
        """
        opened = {label for one in self.ever_opened.values() for label in one.labels}
        return tuple(sorted(opened | self._carried))

    @property
    def parents(self) -> tuple[str, ...]:
        """The seal ids of everything this kernel has opened, sorted."""
        return tuple(sorted(self.ever_opened))
