"""One secure kernel: what its keeper serves outside, and what runs inside.

Outside: the person's credentials, the lease, the relay, the second observer, the output guard.
Inside, confined: IPython's kernel with the extension loaded.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hmac
import logging
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from jupyter_aisec.confine.keeper import Keeper, Outside, Service
from jupyter_aisec.errors import AisecError

if TYPE_CHECKING:
    from jupyter_aisec.confine import Inside, Withheld
    from jupyter_aisec.confine.wire import Message

__all__ = ["run_secure_kernel"]

_log = logging.getLogger("jupyter_aisec.keeper")


def run_secure_kernel(arguments: list[str], withheld: Withheld) -> int:
    """Starts a secure kernel and stays until it ends; its exit code."""
    parser = argparse.ArgumentParser(prog="python -m jupyter_aisec.kernel.launch")
    parser.add_argument("-f", dest="connection_file", required=True, type=Path)
    options, _ = parser.parse_known_args(arguments)  # front ends add options of their own
    try:
        return Keeper(
            options.connection_file,
            inside=run_inside,
            serve=lambda outside: serve(outside, options.connection_file),
        ).run(withheld)
    except AisecError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code


def run_inside(inside: Inside) -> int:
    """IPython's kernel, with everything of ours already there."""
    from jupyter_aisec.confine.ipython_kernel import run_ipython_kernel
    from jupyter_aisec.kernel import others

    os.environ["AISEC_RELAY"] = inside.relay_url
    others.begin()
    code = run_ipython_kernel(inside, extensions=["jupyter_aisec"])
    from jupyter_aisec.kernel.extension import face

    with contextlib.suppress(AisecError):  # the broker is away: nobody is left to be told
        face().finish()
    return code


def serve(outside: Outside, connection_file: Path) -> Service:
    """The keeper's side: who the person is, and what passes."""
    # Imported only now, after the fork: the inside must not have had these in memory.
    from jupyter_aisec.client.person import PersonClient
    from jupyter_aisec.kernel.desk import seat_of
    from jupyter_aisec.kernel.guardian import Guardian
    from jupyter_aisec.kernel.keeping import Keeping
    from jupyter_aisec.kernel.observer import Observer
    from jupyter_aisec.kernel.outputs import OutputGuard
    from jupyter_aisec.kernel.refusals import Refusals
    from jupyter_aisec.kernel.relay import relay_routes
    from jupyter_aisec.sealed.messages import GUARD_VARIABLE

    _take_back(outside.environment)
    person = PersonClient()
    observer = Observer(_now)
    said = outside.environment.get(GUARD_VARIABLE, "")
    guard = OutputGuard(guarded=_is_guarded(connection_file, said), now=_now)
    guardian = Guardian(person, outside.kill, outside.alone)
    guardian.start()
    refusals = Refusals(person)
    keeping = Keeping(
        person,
        seat=seat_of(outside.environment, str(connection_file)),
        isolation=outside.level.name,
        missing=outside.level.missing,
        observer=observer,
        guardian=guardian,
        opened=guard.opened,
        refused=refusals.met,
    )

    async def finish(code: int) -> None:
        with ThreadPoolExecutor(1) as pool:
            for last in (guardian.kernel_exited, keeping.close, refusals.close):
                await asyncio.get_running_loop().run_in_executor(pool, last)

    return Service(
        routes=relay_routes(keeping),
        observer=_watching(observer.saw, guard.change),
        on_refused=refusals.met,
        finish=finish,
    )


def _take_back(environment: Mapping[str, str]) -> None:
    """The variables that the inside never sees, for the client outside.

    The person's token, and the session bus, over which the OS keyring gives their key.
    """
    for name in ("AISEC_TOKEN", "DBUS_SESSION_BUS_ADDRESS"):
        if name in environment:
            os.environ[name] = environment[name]


def _is_guarded(connection_file: Path, said: str) -> bool:
    """Whether this kernel's own server told its keeper that it seals outputs on save."""
    from jupyter_aisec.confine import connection
    from jupyter_aisec.sealed.messages import guard_token

    if not said:
        return False
    key = connection.read(connection_file).key.encode()
    return bool(key) and hmac.compare_digest(said.encode(), guard_token(key).encode())


def _watching(
    saw: Callable[[Message], None], change: Callable[[Message], Message | None]
) -> Callable[[Message], Message | None]:
    """Observed first, as it came; then changed, as it has to go on.

    A message of the kernel's that either cannot read does not pass; nothing that is wrong with
    a message ends the passing of the next.
    """

    def observe(message: Message) -> Message | None:
        from jupyter_aisec.kernel.outputs import dropped

        try:
            saw(message)
            return change(message)
        except Exception as error:
            if message.direction == "in":  # the kernel drops it too
                return None
            # Only what kind of fault: its text may quote the message.
            _log.warning("Dropped a message of the kernel: %s.", type(error).__name__)
            return dropped(message, _now())

    return observe


def _now() -> str:
    from jupyter_aisec.times import format_time

    return format_time(datetime.now(UTC))
