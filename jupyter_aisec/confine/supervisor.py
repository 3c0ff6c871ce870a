"""The processes between the keeper and the kernel, and how each of them ends.

::

    keeper          outside; holds credentials; reads them only after the fork
    └── supervisor  outside the PID namespace; no credentials, no capabilities; watches the keeper
        └── init    process 1 inside: reaps what nobody waits for
            └── kernel

If the keeper dies, however, the supervisor's lifeline ends and it kills init. If the supervisor
dies, the kernel of the operating system kills init (``PR_SET_PDEATHSIG``). If init dies, every
process of the namespace is killed. Without a PID namespace the supervisor kills what is left
one by one: it is the reaper of all its descendants. At the end it removes what lay in memory.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NoReturn

from ._syscalls import prctl

__all__ = ["exit_status", "reap_until", "set_parent_death_signal", "supervise"]

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
FORWARDED: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def exit_status(status: int) -> int:
    """A wait status as a shell gives it: the exit code, or 128 + the signal's number."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def set_parent_death_signal() -> None:
    """Die with the parent. To be set again after any change of credentials."""
    prctl("PR_SET_PDEATHSIG", _PR_SET_PDEATHSIG, signal.SIGKILL)


def become_reaper() -> None:
    """Descendants whose parent died become this process's children."""
    prctl("PR_SET_CHILD_SUBREAPER", _PR_SET_CHILD_SUBREAPER, 1)


def forward_signals(target: int) -> None:
    """Pass the signals a person or a service manager sends on to ``target``."""

    def forward(number: int, _frame: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(target, number)

    for number in FORWARDED:
        signal.signal(number, forward)


def default_signals() -> None:
    """What :func:`forward_signals` and Python changed, as a new process expects it."""
    for number in FORWARDED:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def reap_until(child: int) -> int:
    """Reap everything that ends until ``child`` does; its exit status."""
    while True:
        try:
            ended, status = os.waitpid(-1, 0)
        except ChildProcessError:
            return 1
        if ended == child:
            return exit_status(status)


def supervise(start_init: Callable[[], int], lifeline: int, memory: str | None) -> NoReturn:
    """Be the supervisor: start init, wait for it or for the keeper's end, clean up, exit.

    ``lifeline`` is the reading end of a pipe whose only writing end the keeper holds;
    ``memory`` a folder to remove at the end, where it would not vanish by itself.
    """
    become_reaper()
    child = start_init()
    forward_signals(child)
    pidfd = os.pidfd_open(child)
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    poll.register(lifeline, select.POLLIN)
    ready = {descriptor for descriptor, _event in poll.poll()}
    if pidfd not in ready:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    status = exit_status(os.waitpid(child, 0)[1])
    _kill_descendants()
    if memory is not None:
        shutil.rmtree(memory, ignore_errors=True)
    os._exit(status)


def _children() -> list[int]:
    """The processes whose parent is this one."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
                # The name in parentheses may hold anything, also a parenthesis.
                if int(file.read().rpartition(b")")[2].split()[1]) == os.getpid():
                    found.append(int(name))
    return found


def _kill_descendants() -> None:
    """Kill and reap until nobody is left; each death hands us the dead one's children."""
    while True:
        for child in _children():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return
