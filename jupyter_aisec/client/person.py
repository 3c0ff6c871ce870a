"""A person at the broker: logs in, signs statements with their own key, and sends them.

What is signed is made here and nowhere else, so that command line, keeper and notebook sign
the same bytes. Rules are the broker's: this refuses nothing that the broker would decide.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
from msgspec import UNSET

from jupyter_aisec.client.catalog import get_artifact, get_versions, registration
from jupyter_aisec.client.events import Event, follow
from jupyter_aisec.client.home import Account, Home, Session, take_token
from jupyter_aisec.client.http import BearerAuth, Http
from jupyter_aisec.client.views import (
    ArtifactView,
    AuditView,
    EntryView,
    Explained,
    GrantView,
    Lease,
    ListedView,
    PersonView,
    PolicyView,
    RunView,
    SealedView,
    Who,
    as_list,
    as_view,
)
from jupyter_aisec.client.watch import LedgerWatch
from jupyter_aisec.errors import (
    IdentityError,
    NotFoundError,
    RefusedError,
    SignatureError,
    UsageError,
)
from jupyter_aisec.grants.names import check_artifact
from jupyter_aisec.grants.statements import (
    Approval,
    Binding,
    Decision,
    Enrolment,
    KeyRevocation,
    Login,
    Request,
    Review,
    Statement,
)
from jupyter_aisec.ids import new_id
from jupyter_aisec.ledger.bodies import EndedHow, Isolation, Verdict
from jupyter_aisec.ledger.checkpoint import Checkpoint
from jupyter_aisec.ledger.entry import Entry
from jupyter_aisec.ledger.proof import LedgerProof
from jupyter_aisec.ledger.trust import Trust
from jupyter_aisec.people import dsse
from jupyter_aisec.people.keys import PublicKey, SigningKey
from jupyter_aisec.times import format_time, parse_time

if TYPE_CHECKING:
    from jupyter_aisec.sealed.contents import Sources

__all__ = ["PersonClient"]

S = TypeVar("S", bound=Statement)
_RENEW_EARLY = timedelta(seconds=30)


class PersonClient:
    """One person's dealings with one broker, from one home."""

    def __init__(
        self, url: str | None = None, home: Home | None = None, *, token: str | None = None
    ) -> None:
        """``token`` (by default ``AISEC_TOKEN``, which this removes from the environment)
        replaces the home's own session: for jobs that hold a session and no key."""
        self.home = home or Home()
        self._given_token = token or take_token()
        self.bearer = BearerAuth(self._token)
        self.http = Http(url or self.home.broker(), auth=self.bearer)
        self._open = Http(self.http.url)  # for what needs no session
        self.watch = LedgerWatch(self._open, self.home, lambda: self.trust)

    def __repr__(self) -> str:
        return f"<PersonClient at {self.http.url}>"

    # -- trust and identity

    @cached_property
    def trust(self) -> Trust:
        """The broker's trust file: pinned in the home at the first contact, the same ever after.

        Raises LedgerError (``broker-changed``) if this broker is not the one pinned.
        """
        offered = as_view(self._open.get("/v1/trust"), Trust)
        pinned = self.home.trust()
        if pinned is None:
            self.home.keep_trust(offered)
        else:
            pinned.require_same(offered)
        return offered

    @property
    def person(self) -> str:
        """The name of the person whose home this is; raises IdentityError if not known."""
        name = self.home.account().person
        if name is None:
            raise IdentityError(
                f"{self.home.folder} does not say whose home it is.",
                next="An admin adds you, `aisec person add NAME --role ROLE`, and gives you a "
                "token to log in with: `aisec login --token TOKEN`. With a key that is enrolled "
                "already: `aisec login --as NAME`.",
                code="not-logged-in",
            )
        return name

    def login(self, person: str | None = None) -> Session:
        """Open a session, signed with the home's key; IdentityError if that is not enrolled."""
        name = person or self.person
        envelope = self._sign(Login, person=name, nonce=secrets.token_urlsafe(24))
        return self._keep(self._open.post("/v1/sessions", {"envelope": envelope}))

    def enrol(self, token: str) -> Session:
        """Use a one-time token (``NAME.SECRET``): enrol this home's key, made if there is none."""
        person, dot, _ = token.rpartition(".")
        if not dot:
            raise UsageError(
                "This is not a one-time token.",
                next="Take it as it was given: `aisec login --token TOKEN`.",
                code="token-malformed",
            )
        if not self.home.has_key():
            self.home.keep_key(SigningKey.generate())
        key = self.home.key()
        envelope = self._sign(
            Enrolment, person=person, key=key.public, token_sha256=_sha256(token.encode())
        )
        self._open.post("/v1/people/enrol", {"envelope": envelope, "token": token})
        return self.login(person)

    def whoami(self) -> Who:
        return as_view(self.http.get("/v1/whoami"), Who)

    def _keep(self, answer: Any) -> Session:
        session = as_view(answer, Session)
        self.home.keep_session(session)
        self.home.keep_account(Account(person=session.person, broker=self.http.url))
        self.watch.latest()
        return session

    def _token(self) -> str | None:
        """The bearer token, from a log-in of its own where the last one has run out.

        Only for the broker that is trusted: another one at its address gets no token.
        """
        _ = self.trust
        if self._given_token is not None:
            return self._given_token
        session = self.home.session()
        now = datetime.now(UTC)
        if session is None or parse_time(session.expires) - _RENEW_EARLY < now:
            session = self.login()
        return session.token

    # -- people and keys

    def people(self) -> tuple[PersonView, ...]:
        return as_view(self.http.get("/v1/people"), tuple[PersonView, ...])

    def revoke_key(self, key_id: str) -> Any:
        envelope = self._sign(KeyRevocation, key_id=key_id)
        return self.http.post("/v1/people/keys/revoke", {"envelope": envelope})

    # -- artifacts

    def artifacts(self) -> tuple[ListedView, ...]:
        """The newest version of every artifact, by name."""
        return as_list(self.http.pages("/v1/artifacts"), ListedView)

    def artifact(self, name: str, version: int | None = None) -> ArtifactView:
        return get_artifact(self.http, name, version)

    def versions(self, name: str) -> tuple[ListedView, ...]:
        """Every version of an artifact, the first one first."""
        return get_versions(self.http, name)

    def store(self) -> str:
        """The URL below which new versions are written."""
        return as_view(self.http.get("/v1/store"), dict[str, str])["url"]

    def seal(
        self,
        name: str,
        sources: Sources,
        *,
        labels: Sequence[str] = (),
        store: str | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> SealedView:
        """Seal files or bytes as a new version of an artifact, and register it.

        ``store`` is the URL below which it goes, by default the broker's. ``progress`` gets
        the bytes of plaintext done.
        """
        from jupyter_aisec.sealed.artifact import seal_artifact
        from jupyter_aisec.sealed.store import UrlFolder, version_url

        check_artifact(name)
        seal_id = new_id("seal")
        url = version_url(store or self.store(), name, seal_id)
        folder = UrlFolder(url)
        result = seal_artifact(
            name,
            sources,
            folder,
            self.home.key(),
            seal_id=seal_id,
            labels=tuple(labels),
            progress=progress,
        )
        body = registration(result, url, self.trust)
        try:
            return as_view(self.http.post("/v1/artifacts", body), SealedView)
        except RefusedError:  # for certain: where the answer is lost, it may be in the catalog
            folder.discard()
            raise

    # -- grants

    def request(
        self,
        artifacts: Sequence[str],
        seconds: int,
        reason: str,
        *,
        seat: str | None = None,
        start: str | None = None,
        extends: str | None = None,
        break_glass: bool = False,
    ) -> GrantView:
        """Ask for artifacts for a time; a new seat of this session unless one is named.

        With ``break_glass`` nobody is asked before, where policy lets it; all who would have
        been are told, and review it.
        """
        envelope = self._sign(
            Request,
            grant=new_id("grant"),
            artifacts=tuple(sorted(set(artifacts))),
            seconds=seconds,
            reason=reason,
            seat=seat or new_id("session").replace("_", ":"),
            start=start,
            extends=extends,
            break_glass=break_glass or UNSET,
        )
        return as_view(self.http.post("/v1/grants", {"envelope": envelope}), GrantView)

    def explain(
        self, artifacts: Sequence[str], seconds: int, *, break_glass: bool = False
    ) -> Explained:
        """What policy would say about such a request of this person's; nothing is asked."""
        body = {"artifacts": artifacts, "seconds": seconds, "break_glass": break_glass}
        return as_view(self.http.post("/v1/grants/explain", body), Explained)

    def extend(
        self, grant: str, seconds: int, reason: str, *, break_glass: bool = False
    ) -> GrantView:
        """Ask for the same artifacts and seat again; needs the same approvals as before."""
        old = self.read_request(self.grant(grant))
        return self.request(
            old.artifacts,
            seconds,
            reason,
            seat=old.seat,
            extends=grant,
            break_glass=break_glass,
        )

    def grants(self, state: str | None = None) -> tuple[GrantView, ...]:
        """Those this person may see, the first asked first."""
        params = {} if state is None else {"state": state}
        return as_list(self.http.pages("/v1/grants", params), GrantView)

    def grant(self, grant: str) -> GrantView:
        return as_view(self.http.get(f"/v1/grants/{grant}"), GrantView)

    def read_request(self, view: GrantView) -> Request:
        """What the requester signed, which is what an approver must be shown.

        Raises SignatureError if the broker's view of the grant says anything else.
        """
        request = view.request.read(Request, Request.payload_type, "The request")
        shown = (view.id, view.person, view.reason)
        signed = (request.grant, request.person, request.reason)
        widened = view.seconds > request.seconds or set(view.artifacts) - set(request.artifacts)
        if shown != signed or widened or request.origin != self.trust.origin:
            raise SignatureError(
                f"The broker shows {view.id} differently from what its requester signed.",
                next="Do not approve it. Check the ledger: `aisec audit verify`.",
                code="request-differs",
            )
        return request

    def prepare_approval(
        self,
        view: GrantView,
        *,
        seconds: int | None = None,
        only: Sequence[str] | None = None,
        comment: str = "",
    ) -> Approval:
        """The approval that would be signed, to be shown first; narrowed if asked."""
        self.read_request(view)
        return self.statement(
            Approval,
            grant=view.id,
            request_sha256=_sha256(view.request.payload),
            artifacts=view.artifacts if only is None else tuple(sorted(set(only))),
            seconds=view.seconds if seconds is None else seconds,
            policy_version=view.policy_version,
            checkpoint=self.watch.latest().brief,
            comment=comment,
        )

    def send_approval(self, approval: Approval) -> GrantView:
        return self._post_statement(f"/v1/grants/{approval.grant}/approve", approval)

    def approve(
        self, grant: str, *, seconds: int | None = None, only: Sequence[str] | None = None
    ) -> GrantView:
        return self.send_approval(
            self.prepare_approval(self.grant(grant), seconds=seconds, only=only)
        )

    def prepare_review(self, view: GrantView, verdict: Verdict, comment: str = "") -> Review:
        """The review that would be signed, to be shown first."""
        self.read_request(view)
        return self.statement(
            Review,
            grant=view.id,
            request_sha256=_sha256(view.request.payload),
            verdict=verdict,
            comment=comment,
        )

    def send_review(self, review: Review) -> GrantView:
        return self._post_statement(f"/v1/grants/{review.grant}/review", review)

    def deny(self, grant: str, reason: str = "") -> GrantView:
        return self._decide("deny", grant, reason)

    def withdraw(self, grant: str, reason: str = "") -> GrantView:
        return self._decide("withdraw", grant, reason)

    def return_(self, grant: str, reason: str = "") -> GrantView:
        return self._decide("return", grant, reason)

    def revoke(self, grant: str, reason: str = "") -> GrantView:
        return self._decide("revoke", grant, reason)

    def _decide(
        self, action: Literal["deny", "withdraw", "return", "revoke"], grant: str, reason: str
    ) -> GrantView:
        decision = self.statement(Decision, action=action, grant=grant, reason=reason)
        return self._post_statement(f"/v1/grants/{grant}/{action}", decision)

    # -- seats

    def bind(
        self,
        grant: str,
        *,
        seat: str,
        kernel_key: PublicKey,
        release_key: bytes,
        isolation: Isolation,
        vouched: bool = False,
        missing: Sequence[str] = (),
    ) -> GrantView:
        """Give the seat to a kernel, naming its two public keys."""
        binding = self.statement(
            Binding,
            grant=grant,
            seat=seat,
            kernel_key=kernel_key,
            release_key=release_key,
            isolation=isolation,
            vouched=vouched,
            missing=tuple(missing),
        )
        return self._post_statement(f"/v1/grants/{grant}/bind", binding)

    def lease(self, grant: str) -> Lease:
        return as_view(self.http.post(f"/v1/grants/{grant}/lease"), Lease)

    def ended(self, grant: str, kernel: str, how: EndedHow) -> Any:
        """Confirm that a kernel (its key id) holds no keys and no plaintext any more."""
        return self.http.post(f"/v1/grants/{grant}/ended", {"kernel": kernel, "how": how})

    def relay_refused(self, method: str, route: str, count: int) -> Any:
        """Tell, as a keeper, what its relay refused this person's secure kernel, and how often."""
        body = {"method": method, "route": route, "count": count}
        return self.http.post("/v1/refusals", body)

    # -- runs, ledger, events

    def runs(self) -> tuple[RunView, ...]:
        """Every recorded run, the first first."""
        return as_list(self.http.pages("/v1/runs"), RunView)

    def run(self, run: str) -> RunView:
        return as_view(self.http.get(f"/v1/runs/{run}"), RunView)

    def policy(self) -> PolicyView:
        return as_view(self.http.get("/v1/policy"), PolicyView)

    def bundle(self, seal_id: str) -> Any:
        """The bundle of an artifact version; its file is the canonical JSON of this."""
        return self.http.get(f"/v1/bundles/{seal_id}")

    def entries(self, start: int, end: int) -> tuple[EntryView, ...]:
        """Ledger entries with bodies, of the indexes ``start`` to ``end`` (exclusive)."""
        found: tuple[EntryView, ...] = ()
        while start < end:  # one answer holds only so many bytes
            answer = self.http.get("/v1/ledger/entries", {"from": start, "to": end})
            page = as_view(answer, tuple[EntryView, ...])
            if not page or page[-1].index < start:
                break
            found, start = found + page, page[-1].index + 1
        return found

    def prove(self, index: int) -> tuple[bytes, LedgerProof]:
        """The leaf of a ledger entry, and the proof, verified, that the ledger has it.

        Raises NotFoundError for an entry that there is not, or that is not this person's to see.
        """
        found = self.entries(index, index + 1)
        if not found:
            raise NotFoundError(
                f"There is no ledger entry {index}, or it is not yours to see.",
                next="See which there are: `aisec audit export`.",
                code="entry-unknown",
            )
        entry = Entry(**msgspec.structs.asdict(found[0]))
        proof = self.watch.prove(index)
        proof.verify(entry.leaf_hash, self.trust.log_key)
        return entry.leaf, proof

    def audit(self) -> AuditView:
        """Have the broker check all of its tables now."""
        return as_view(self.http.get("/v1/audit"), AuditView)

    def checkpoint(self) -> Checkpoint:
        """The ledger checkpoint now, which continues the last one seen from this home."""
        return self.watch.latest()

    def events(self, after: int | None = None) -> Iterator[Event]:
        """What happens to this person's grants, as it happens; reconnects by itself."""
        return follow(self.http, "/v1/events", after)

    # -- signing

    def statement(self, type_: type[S], **fields: Any) -> S:
        """A statement for this broker, of now, by this home's person unless one is named."""
        fields["person"] = fields.get("person") or self.person
        return type_(origin=self.trust.origin, at=format_time(datetime.now(UTC)), **fields)

    def _sign(self, type_: type[Statement], **fields: Any) -> dsse.Envelope:
        return self.sign(self.statement(type_, **fields))

    def sign(self, statement: Statement) -> dsse.Envelope:
        """The statement, signed with this home's key."""
        return dsse.sign(statement, statement.payload_type, self.home.key())

    def _post_statement(self, path: str, statement: Statement) -> GrantView:
        return as_view(self.http.post(path, {"envelope": self.sign(statement)}), GrantView)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
