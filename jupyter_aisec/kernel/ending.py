"""The end of a grant in this kernel: interrupt, keep what may be kept, wipe, confirm.

What user code copied cannot be wiped, but what the project put into memory is, the processes
that a secure kernel started end, and a cell that still runs is stopped first: a training run
cut short is marked so, and never goes on with wiped weights unnoticed.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jupyter_aisec.errors import AisecError
from jupyter_aisec.kernel import others
from jupyter_aisec.kernel.memory import release_freed

if TYPE_CHECKING:
    from jupyter_aisec.kernel.session import KernelSession, Opened
    from jupyter_aisec.ledger.bodies import EndedHow

__all__ = ["end_grant"]

STOP_SECONDS = 6.0  # for a cell to react to the interrupt
_AGAIN_SECONDS = 0.5
_OTHERS_SECONDS = 2.0  # for other processes to be gone
_CONFIRM_SECONDS = 2.0  # between two tries; shorter than the keeper's patience


def end_grant(
    session: KernelSession,
    grant: str,
    why: str,
    *,
    user_ns: dict[str, Any],
    keep: Callable[[], None],
    interrupt: bool = True,
    stop_seconds: float = STOP_SECONDS,
    held: Callable[[], bool] = lambda: False,
) -> None:
    """Ends everything open under ``grant``.

    ``keep`` seals what policy keeps (the scratch folder) before anything is wiped. With
    ``interrupt``, from a background thread, the running cell is stopped first; one that does
    not stop in ``stop_seconds``, or leaves processes that do not end, takes the whole process
    with it. ``held`` tells of a cell that waits for this end: it does not run yet.
    """
    ending = [opened for opened in session.opened if opened.grant == grant]
    ending = [opened for opened in ending if not _passed_on(session, opened, grant)]
    stopped = True
    try:
        if ending and interrupt:
            if session.recorder.steps.total:
                session.recorder.cut_short(f"the grant ended ({why})")
            stopped = _interrupt(lambda: _busy(session) and not held(), stop_seconds)
        if ending:
            keep()
    except Exception as error:  # a file that went away, a full store: the wipe comes all the same
        print(f"Scratch was not kept: {error}", file=sys.stderr)  # noqa: T201
    finally:
        if ending:
            stopped = others.end_others(_OTHERS_SECONDS) and stopped
        for opened in ending:
            opened.memory.wipe(why)
            _forget(opened, user_ns)
            session.opened.remove(opened)
        if ending:
            release_freed()
        session.bound.pop(grant, None)
        _confirm(session, grant, "wiped" if stopped else "exited")
        if not stopped:
            os.kill(os.getpid(), signal.SIGKILL)


def _passed_on(session: KernelSession, opened: Opened, ended: str) -> bool:
    """Whether another grant carries it on: the end of one grant never ends another.

    Its keys are asked for anew, so that this is logged like any release.
    """
    from jupyter_aisec.kernel.covers import covers

    for other in list(session.bound):
        view = session.views.get(other)
        if other == ended or other in session.closed or view is None:
            continue
        if view.state == "active" and covers(view, opened.artifact, opened.version):
            try:
                release = session.client.keys(other, opened.artifact, version=opened.version)
            except AisecError:
                continue
            release.wipe()  # asked for so that it is logged; what is open stays open
            opened.grant, opened.entry = other, release.entry
            return True
    return False


def _interrupt(busy: Callable[[], bool], seconds: float) -> bool:
    """Interrupts what runs in the main thread until nothing does; False if time ran out."""
    deadline = time.monotonic() + seconds
    main = threading.main_thread().ident
    while busy():
        if time.monotonic() > deadline:
            return False
        # A cell that ignores the signal is not interrupted, and so does not stop in time.
        if main is not None and callable(signal.getsignal(signal.SIGINT)):
            signal.pthread_kill(main, signal.SIGINT)
        _until_idle(busy)
    return True


def _busy(session: KernelSession) -> bool:
    """Whether a cell runs: the recorder's word, which a notebook can take away, and the signal's
    handler, which ipykernel sets while it executes anything."""
    handled = others.confined() and callable(signal.getsignal(signal.SIGINT))
    return session.recorder.cells.running or handled


def _until_idle(busy: Callable[[], bool]) -> None:
    """Waits for the cell to stop, but not for long."""
    until = time.monotonic() + _AGAIN_SECONDS
    while busy() and time.monotonic() < until:
        time.sleep(0.01)


def _forget(opened: Opened, user_ns: dict[str, Any]) -> None:
    """Removes the variables that %load_secure made, unless they name something else by now."""
    for name, identity in opened.variables.items():
        if name in user_ns and id(user_ns[name]) == identity:
            del user_ns[name]


def _confirm(session: KernelSession, grant: str, how: EndedHow) -> None:
    """Tells the keeper, and again for as long as it holds that the grant is not over yet."""
    if not _confirmed(session, grant, how):

        def insist() -> None:
            while not _confirmed(session, grant, how):
                time.sleep(_CONFIRM_SECONDS)

        threading.Thread(target=insist, name="aisec-confirm", daemon=True).start()


def _confirmed(session: KernelSession, grant: str, how: EndedHow) -> bool:
    try:
        session.desk.ended(grant, session.key.public.key_id, how)
    except AisecError as error:
        # If the broker is away, it shows the grant as ending until somebody confirms.
        return error.code != "grant-not-over"
    return True
