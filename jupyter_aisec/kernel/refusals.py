"""What the relay refused a secure kernel, told to the broker: it is an event of the ledger.

A path is the kernel's own choice and could carry data out. So what is told is one of a few
methods and one of a few routes, once when it is first met, and how often when the kernel ends.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from jupyter_aisec.errors import AisecError
from jupyter_aisec.kernel.rate import Rate

if TYPE_CHECKING:
    from jupyter_aisec.client.person import PersonClient

__all__ = ["MOST", "Refusals", "kind_of"]

MOST: Final = 1_000
"""So many of one kind are counted; more are as many."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "CONNECT", "OPTIONS"})
_OF_THE_BROKER = frozenset(
    {"approvals", "artifacts", "audit", "bundles", "events", "grants", "ledger", "outputs"}
    | {"people", "policy", "runs", "sessions", "store", "trust", "whoami"}
)
_OF_THE_RELAY = frozenset({"keeper", "store"})
_log = logging.getLogger("jupyter_aisec.keeper")


def kind_of(method: str, path: str) -> tuple[str, str]:
    """The method and the route of a refused request, each from a short list."""
    first, _, rest = path.strip("/").partition("/")
    name = rest.partition("/")[0]
    if first == "v1":
        route = name if name in _OF_THE_BROKER else "broker"
    else:
        route = f"relay-{first}" if first in _OF_THE_RELAY else "elsewhere"
    return method if method in _METHODS else "OTHER", route


class Refusals:
    """Counts what one kernel was refused, and tells the broker in the person's name."""

    def __init__(self, person: PersonClient) -> None:
        self._person = person
        self._lock = threading.Lock()
        self._met: Counter[tuple[str, str]] = Counter()
        self._untold: Counter[tuple[str, str]] = Counter()
        self._logged = Rate(10)
        self._teller = ThreadPoolExecutor(1, thread_name_prefix="aisec-refusals")

    def met(self, method: str, path: str) -> None:
        """The relay refused this; returns at once."""
        kind = kind_of(method, path)
        with self._lock:
            self._met[kind] += 1
            self._untold[kind] += 1
            first, number = self._met[kind] == 1, self._met.total()
        if self._logged.take():  # the front end's log is a file: by number, it carries no data
            _log.warning("The relay refused a request of the kernel, number %d.", number)
        if first:
            with suppress(RuntimeError):  # the kernel ends: it is told with the rest
                self._teller.submit(self._tell, kind)

    def close(self) -> None:
        """The kernel ended: tells what was only counted."""
        self._teller.shutdown()
        all(map(self._tell, list(self._untold)))  # or up to the first that cannot be told

    def _tell(self, kind: tuple[str, str]) -> bool:
        with self._lock:
            count = self._untold.pop(kind, 0)
        try:
            if count:
                self._person.relay_refused(*kind, min(count, MOST))
        except AisecError as error:
            _log.warning("What the relay refused could not be told: %s.", error.code)
            with self._lock:
                self._untold[kind] += count
            return False
        return True
