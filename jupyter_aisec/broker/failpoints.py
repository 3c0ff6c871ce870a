"""Named places where a test may kill the broker, to see that nothing acknowledged is lost.

``AISEC_FAILPOINTS=append.before-commit=kill`` sends SIGKILL to this very process when it
gets there (``=kill@3``: the third time). Without the variable a failpoint is one lookup in
an empty dictionary. ``FAILPOINTS`` lists them all, so that a test can visit every one.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Mapping
from typing import Final

from jupyter_aisec.errors import UsageError

__all__ = ["FAILPOINTS", "VARIABLE", "failpoint", "parse_failpoints"]

VARIABLE: Final = "AISEC_FAILPOINTS"

FAILPOINTS: Final[Mapping[str, str]] = {
    "append.before-transaction": "a change is allowed by the rules; nothing is written",
    "append.rows-written": "the rows are in the open transaction",
    "append.committed": "the transaction is durable; memory does not know it yet",
    "append.before-outside-copies": "memory knows; no copy of the ledger checkpoint is outside",
    "append.between-outside-copies": "one of the two outside copies is written",
    "append.done": "all copies are written; nobody has been told",
    "outside.file-written": "the new outside copy lies beside the old one, not yet renamed",
    "keys.encrypted": "the data keys of a release are encrypted; nothing is logged",
    "keys.released": "a key release is logged; the reply is not sent",
    "output.encrypted": "the content key of an output is encrypted; nothing is logged",
    "output.released": "an output's release is logged; the reply is not sent",
    "artifact.wrapped": "the data keys of a new version are wrapped; nothing is logged",
    "run.signed": "a run's statement is signed; nothing is logged",
    "run.bundled": "a run's bundle is made; the transaction is not open yet",
    "run.recorded": "a run is logged and its bundle stored; the reply is not sent",
    "start.checked": "the stored log is checked; the broker does not listen yet",
    "stop.closing": "the broker is told to stop",
}

_SETTING = re.compile(r"(?P<name>[a-z.-]+)=kill(?:@(?P<visit>[1-9]\d{0,5}))?")


def parse_failpoints(setting: str) -> dict[str, int]:
    """``"name=kill,other=kill@3"`` as the visit at which each one kills; raises UsageError."""
    visits: dict[str, int] = {}
    for part in filter(None, setting.split(",")):
        match = _SETTING.fullmatch(part)
        if match is None or match["name"] not in FAILPOINTS:
            raise UsageError(
                f"{VARIABLE} does not understand {part[:80]!r}.",
                next=f"Unset {VARIABLE}; it is for tests only.",
                code="failpoint-unknown",
            )
        visits[match["name"]] = int(match["visit"] or 1)
    return visits


_left = parse_failpoints(os.environ.get(VARIABLE, ""))


def failpoint(name: str) -> None:
    """Dies here, by SIGKILL, if the environment asks for it."""
    if name in _left:
        _left[name] -= 1
        if _left[name] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
