"""The kernel's face: one session with its recorder, lease thread and cards.

Magics and functions are two ways to the same few actions, which are here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from jupyter_aisec.errors import RefusedError, UsageError
from jupyter_aisec.kernel.card import Card, render_text
from jupyter_aisec.kernel.ending import end_grant
from jupyter_aisec.kernel.gate import Gate
from jupyter_aisec.kernel.lease import LeaseThread
from jupyter_aisec.record import Recorder

if TYPE_CHECKING:
    from jupyter_aisec.client.views import GrantView
    from jupyter_aisec.kernel.sealing import Sealing
    from jupyter_aisec.kernel.session import KernelSession

__all__ = ["Face"]


class Face:
    """Everything one kernel has. The broker is not asked for anything before it is needed.

    ``keep(face)`` seals what policy says to keep before an end wipes it.
    """

    def __init__(self, shell: Any, keep: Callable[[Face], None]) -> None:
        self.shell = shell
        self._keep = keep
        self.recorder = Recorder()
        self.gate = Gate()
        self._session: KernelSession | None = None
        self._making = threading.Lock()
        self.opening_output = threading.Lock()
        self._lease: LeaseThread | None = None
        self._cards: dict[str, Card] = {}
        self._warnings: dict[str, str] = {}
        self.last_run: str | None = None
        self.unfinished: dict[str, Sealing] = {}  # by artifact: sealed, not yet recorded
        self.ending: RefusedError | None = None  # what stops the running cell just now

    @property
    def session(self) -> KernelSession:
        """The session, made when something first needs it."""
        with self._making:
            if self._session is None:
                from jupyter_aisec.kernel.desk import find_desk
                from jupyter_aisec.kernel.session import KernelSession

                session = KernelSession(find_desk(_connection_file(self.shell)), self.recorder)
                session.listen(self._show)
                self._session = session
            return self._session

    def watch(self) -> None:
        """Keeps leases and cards up to date from now on."""
        if self._lease is None:
            self._lease = LeaseThread(
                self.session, warn=self._warn, end=self._end, tick=self._count_down
            )
        self._lease.start()
        self._lease.poke()

    def stop(self) -> None:
        """Gives back what is in memory: the kernel ends, or the extension is unloaded."""
        if self._lease is not None:
            self._lease.stop()
        if self._session is not None:
            for opened in list(self._session.opened):
                opened.memory.wipe("the kernel ended")
            self._session.opened.clear()
        for sealing in list(self.unfinished.values()):
            sealing.give_up()

    def hand_over(self, to: Face) -> None:
        """The extension is loaded again: what this kernel has opened stays opened by it."""
        if self._session is not None:
            self._session.recorder = to.recorder
            self._session.unsure = set(self._session.bound)
            self._session.listen(to._show)
            to._session = self._session

    def finish(self) -> None:
        """The kernel ends: what lies in the scratch folder is sealed before memory is wiped."""
        session = self._session
        if session is not None and (session.ever_opened or self.unfinished):
            self._keep(self)
        self.stop()

    # -- what the magics do

    def card(self, view: GrantView) -> None:
        """Shows the live card of a grant below the cell; one card may be in several places."""
        if view.id not in self._cards:
            self._cards[view.id] = Card(self.shell)
        self._cards[view.id].display()
        self._show(view)
        self.watch()

    def say_waiting(self, view: GrantView) -> None:
        """One line, so that a cell which waits for somebody is not taken for one that hangs."""
        print(f"{render_text(view, self.session.now())}; interrupt to stop waiting.")  # noqa: T201

    def one_grant(self, name: str | None) -> GrantView:
        """The grant named, or the newest that has not ended."""
        if name is not None:
            return self.session.refresh(name)
        for view in self.session.grants():
            if view.state != "ended":
                return view
        raise UsageError(
            "There is no grant that has not ended.",
            next="Ask for one: `%grant request NAME --for 1h --reason TEXT`",
            code="no-grant",
        )

    def give_back(self, grant: str, reason: str) -> GrantView:
        """Returns a grant, then wipes what it opened; the cell that asked for it goes on."""
        if self._lease is not None:
            self._lease.leave(grant)
        view = self.session.saw(self.session.desk.return_(grant, reason))
        if grant in self.session.bound:
            self.session.closed[grant] = "it was returned"
            self._end(grant, "returned", interrupt=False)
        return view

    # -- called by the background thread

    def _show(self, view: GrantView) -> None:
        card = self._cards.get(view.id)
        if card is not None:
            card.show(view, self.session.now(), self._warnings.get(view.id, ""))

    def _count_down(self) -> None:
        for grant in list(self._cards):
            self._show(self.session.views[grant])

    def _warn(self, grant: str, text: str) -> None:
        self._warnings[grant] = text
        self._show(self.session.views[grant])

    def _end(self, grant: str, why: str, interrupt: bool = True) -> None:
        if why != "lease-lost":  # then the grant may go on, in another kernel
            self.session.foresee_end(grant, why)
        self.ending = _ended_error(self.session.views[grant], why)
        # The cell that returns a grant goes on, and no other begins meanwhile anyway.
        with self.gate.closed() if interrupt else nullcontext():
            end_grant(
                self.session,
                grant,
                why,
                user_ns=self.shell.user_ns,
                keep=lambda: self._keep(self),
                interrupt=interrupt,
                held=lambda: self.gate.holding,
            )
        self.ending = None
        lost = "The lease was lost. " if why == "lease-lost" else ""
        self._warn(
            grant,
            f"{lost}What it opened has been wiped from memory. Ask again with %grant request.",
        )


def _ended_error(view: GrantView, why: str) -> RefusedError:
    """What to say in the place of the interrupt that an end of ``view`` brings."""
    lost = why == "lease-lost"
    what = "its lease was lost" if lost else f"it ended ({why})"
    code = why if lost else f"grant-{why}"
    return RefusedError(
        f"This cell was stopped, for {view.id} is over here: {what}. "
        "What it opened is wiped from memory.",
        next=f'Ask again: `%grant request {" ".join(view.artifacts)} --for 1h --reason "…"`',
        code=code,
    )


def _connection_file(shell: Any) -> str:
    """The kernel's connection file: the same after a restart; "" in a terminal."""
    kernel = getattr(shell, "kernel", None)
    parent = getattr(kernel, "parent", None)
    return str(getattr(parent, "abs_connection_file", "")) if kernel is not None else ""
