"""The person's side of a kernel: who signs requests and bindings, and renews the lease.

In a secure kernel that is the keeper, outside, reached over the relay; in an ordinary one
the kernel uses the person's own AISEC_HOME. Both offer the same few things, and neither
offers approving, people or policy.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec
from ulid import ULID

from jupyter_aisec.client.events import parse_events
from jupyter_aisec.client.http import Http
from jupyter_aisec.client.views import GrantView, Lease, as_view
from jupyter_aisec.ledger.bodies import EndedHow, Isolation
from jupyter_aisec.ledger.trust import Trust
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.people.keys import PublicKey

if TYPE_CHECKING:
    from jupyter_aisec.client.kernel import KernelClient
    from jupyter_aisec.client.person import PersonClient
    from jupyter_aisec.people.keys import SigningKey
    from jupyter_aisec.sealed.release import ReleaseKey

__all__ = ["About", "Desk", "HomeDesk", "KeeperDesk", "find_desk", "seat_of"]


class About(msgspec.Struct, frozen=True, kw_only=True):
    """Whose kernel this is, and what its confinement proved."""

    person: str
    seat: str
    trust: Trust
    isolation: Isolation = "none"
    missing: tuple[str, ...] = ()


class Desk(Protocol):
    """What a kernel may have somebody do in its person's name; nothing else is offered.

    With ``keeps_keys`` it does so for the first pair of keys that the kernel binds, and no other.
    """

    keeps_keys: bool

    def about(self) -> About: ...
    def kernel_client(self, key: SigningKey, release_key: ReleaseKey) -> KernelClient: ...
    def request(
        self, artifacts: Sequence[str], seconds: int, reason: str, *, break_glass: bool = False
    ) -> GrantView: ...
    def extend(
        self, grant: str, seconds: int, reason: str, *, break_glass: bool = False
    ) -> GrantView: ...
    def withdraw(self, grant: str, reason: str) -> GrantView: ...
    def return_(self, grant: str, reason: str) -> GrantView: ...
    def bind(self, grant: str, kernel_key: PublicKey, release_key: bytes) -> GrantView: ...
    def lease(self, grant: str) -> Lease: ...
    def ended(self, grant: str, kernel: str, how: EndedHow) -> None: ...
    def observe(self, record: Envelope) -> Envelope | None: ...
    def events(self) -> Iterator[object]: ...


class HomeDesk:
    """An ordinary kernel: this process holds the person's session and signing key itself."""

    keeps_keys = False

    def __init__(self, person: PersonClient, seat: str) -> None:
        self._person = person
        self._seat = seat

    def about(self) -> About:
        return About(person=self._person.person, seat=self._seat, trust=self._person.trust)

    def kernel_client(self, key: SigningKey, release_key: ReleaseKey) -> KernelClient:
        from jupyter_aisec.client.kernel import KernelClient

        return KernelClient(
            self._person.http.url, key, release_key, self._person.trust, bearer=self._person.bearer
        )

    def request(
        self, artifacts: Sequence[str], seconds: int, reason: str, *, break_glass: bool = False
    ) -> GrantView:
        return self._person.request(
            artifacts, seconds, reason, seat=self._seat, break_glass=break_glass
        )

    def extend(
        self, grant: str, seconds: int, reason: str, *, break_glass: bool = False
    ) -> GrantView:
        return self._person.extend(grant, seconds, reason, break_glass=break_glass)

    def withdraw(self, grant: str, reason: str) -> GrantView:
        return self._person.withdraw(grant, reason)

    def return_(self, grant: str, reason: str) -> GrantView:
        return self._person.return_(grant, reason)

    def bind(self, grant: str, kernel_key: PublicKey, release_key: bytes) -> GrantView:
        view = self._person.grant(grant)
        if view.holder == kernel_key.key_id:  # bound before, and the answer was lost
            return view
        seat = self._person.read_request(view).seat
        return self._person.bind(
            grant, seat=seat, kernel_key=kernel_key, release_key=release_key, isolation="none"
        )

    def lease(self, grant: str) -> Lease:
        return self._person.lease(grant)

    def ended(self, grant: str, kernel: str, how: EndedHow) -> None:
        self._person.ended(grant, kernel, how)

    def observe(self, record: Envelope) -> Envelope | None:
        return None  # nobody watches an ordinary kernel from outside

    def events(self) -> Iterator[object]:
        return self._person.events()


class KeeperDesk:
    """A secure kernel: the keeper signs, and holds what this process must not."""

    keeps_keys = True

    def __init__(self, relay: str) -> None:
        self._url = relay
        self._http = Http(relay)
        self._about: About | None = None

    def about(self) -> About:
        if self._about is None:
            self._about = as_view(self._http.get("/keeper/about"), About)
        return self._about

    def kernel_client(self, key: SigningKey, release_key: ReleaseKey) -> KernelClient:
        from jupyter_aisec.client.kernel import KernelClient

        return KernelClient(self._url, key, release_key, self.about().trust)

    def request(
        self, artifacts: Sequence[str], seconds: int, reason: str, *, break_glass: bool = False
    ) -> GrantView:
        return self._post(
            "request",
            {
                "artifacts": list(artifacts),
                "seconds": seconds,
                "reason": reason,
                "break_glass": break_glass,
            },
        )

    def extend(
        self, grant: str, seconds: int, reason: str, *, break_glass: bool = False
    ) -> GrantView:
        return self._post(
            "extend",
            {"grant": grant, "seconds": seconds, "reason": reason, "break_glass": break_glass},
        )

    def withdraw(self, grant: str, reason: str) -> GrantView:
        return self._post("withdraw", {"grant": grant, "reason": reason})

    def return_(self, grant: str, reason: str) -> GrantView:
        return self._post("return", {"grant": grant, "reason": reason})

    def bind(self, grant: str, kernel_key: PublicKey, release_key: bytes) -> GrantView:
        return self._post(
            "bind", {"grant": grant, "kernel_key": kernel_key, "release_key": release_key}
        )

    def lease(self, grant: str) -> Lease:
        return as_view(self._http.get("/keeper/lease", {"grant": grant}), Lease)

    def ended(self, grant: str, kernel: str, how: EndedHow) -> None:
        self._http.post("/keeper/wiped", {"grant": grant, "how": how})

    def observe(self, record: Envelope) -> Envelope | None:
        return as_view(self._http.post("/keeper/observe", {"record": record}), Envelope)

    def events(self) -> Iterator[object]:
        return parse_events(self._http.lines("/keeper/events"))

    def _post(self, verb: str, body: object) -> GrantView:
        return as_view(self._http.post(f"/keeper/{verb}", body), GrantView)


def seat_of(environ: Mapping[str, str], connection_file: str) -> str:
    """The seat of a kernel: the same after a restart, so that no new approval is needed.

    Jupyter Server names the notebook (``JPY_SESSION_NAME``); elsewhere the connection file,
    which a kernel manager keeps over restarts, stands for it.
    """
    session = environ.get("JPY_SESSION_NAME") or connection_file
    digest = hashlib.sha256(f"jupyter-aisec/seat/v1\n{session}".encode(errors="replace"))
    return f"session:{ULID.from_bytes(digest.digest()[:16])}"


def find_desk(connection_file: str) -> Desk:
    """The keeper's, if this kernel has one (``AISEC_RELAY``), else the person's own home."""
    relay = os.environ.get("AISEC_RELAY")
    if relay:
        return KeeperDesk(relay)
    from jupyter_aisec.client.person import PersonClient

    return HomeDesk(PersonClient(), seat_of(os.environ, connection_file))
