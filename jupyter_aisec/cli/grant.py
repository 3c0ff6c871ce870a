"""``aisec grant``: asking, approving, and ending."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Annotated

import msgspec
import typer
from rich.table import Table

from jupyter_aisec.cli.explain import show_explained
from jupyter_aisec.cli.help import Commands
from jupyter_aisec.cli.output import Json, confirm, emit, fields, note, safe, say, table
from jupyter_aisec.client import Event, GrantView, PersonClient
from jupyter_aisec.errors import RefusedError, UsageError
from jupyter_aisec.grants.statements import Approval, Request, Review
from jupyter_aisec.ids import is_id
from jupyter_aisec.times import format_duration, parse_duration, parse_time

__all__ = ["app"]

app = typer.Typer(
    help="Permission to open artifacts for a time.", cls=Commands, rich_markup_mode=None
)
For = Annotated[str, typer.Option("--for", help="How long, like 45m, 2h, 1d.")]
Why = Annotated[str, typer.Option("--reason", help="Why; everybody concerned can read it.")]
Grant = Annotated[str, typer.Argument(metavar="GRANT")]
Glass = Annotated[
    bool,
    typer.Option(
        "--break-glass", help="An emergency: at once and for a short time, to be reviewed after."
    ),
]
Job = Annotated[str | None, typer.Option(metavar="job:NAME", help="For a job, not a notebook.")]


@app.command()
def request(
    artifacts: Annotated[list[str], typer.Argument(metavar="NAME...")],
    for_: For,
    reason: Why,
    seat: Job = None,
    break_glass: Glass = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say who would be asked; ask nobody.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is decided.")] = False,
    json: Json = False,
) -> None:
    """Ask to open artifacts for a time, for a stated reason."""
    client = PersonClient()
    if dry_run:
        explained = client.explain(artifacts, _seconds(for_), break_glass=break_glass)
        show_explained(explained, json)
        return
    events = client.events() if wait else None  # before anything is asked, or could be missed
    view = client.request(artifacts, _seconds(for_), reason, seat=seat, break_glass=break_glass)
    if events is not None:
        view = _wait(client, view, events)
    emit(view, json, _asked(view))
    _refuse_if_refused(view)


@app.command("list")
def list_(
    pending: Annotated[bool, typer.Option("--pending", help="Only what waits.")] = False,
    review: Annotated[
        bool, typer.Option("--review", help="Only break-glass that waits for your review.")
    ] = False,
    json: Json = False,
) -> None:
    """List grants that concern you."""
    client = PersonClient()
    views = client.grants("pending" if pending else None)
    if review:
        me = client.whoami().person
        views = tuple(one for one in views if me in one.review_by)
    rows = (
        (one.id, _state(one), one.person, " ".join(one.artifacts), _left(one), one.reason)
        for one in views
    )
    emit(views, json, table(("GRANT", "STATE", "PERSON", "ARTIFACTS", "TIME", "REASON"), rows))


@app.command()
def show(grant: Grant, json: Json = False) -> None:
    """Show a grant: who asked, what policy asks for, who approved."""
    view = PersonClient().grant(_grant(grant))
    emit(view, json, _details(view))


@app.command()
def approve(
    grant: Annotated[str | None, typer.Argument(metavar="[GRANT]")] = None,
    for_: Annotated[str | None, typer.Option("--for", help="Less time than was asked for.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Fewer artifacts; may repeat.")] = None,
    comment: Annotated[str, typer.Option(help="A word to the requester, signed too.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Sign without asking.")] = False,
    json: Json = False,
) -> None:
    """Approve another person's request: shows exactly what will be signed, then signs it.

    Without GRANT, the one request that waits for you.
    """
    client = PersonClient()
    view = _only_one_waiting(client) if grant is None else client.grant(_grant(grant))
    approval = client.prepare_approval(
        view, seconds=_seconds(for_) if for_ else None, only=only or None, comment=comment
    )
    if not json:
        say(_to_be_signed(view, approval))
    confirm("Sign this approval?", yes or json)
    view = client.send_approval(approval)
    have = len(view.approvals)
    emit(view, json, f"Approved by {have} of {view.approvals_needed}: {view.id} is {view.state}.")


@app.command()
def review(
    grant: Grant,
    unjustified: Annotated[
        bool, typer.Option("--unjustified", help="It should not have been done.")
    ] = False,
    comment: Annotated[str, typer.Option(help="Why you think so; signed too.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Sign without asking.")] = False,
    json: Json = False,
) -> None:
    """Review another person's break-glass grant: shows exactly what will be signed, then signs it.

    It ends nothing: to end the grant, revoke it.
    """
    client = PersonClient()
    view = client.grant(_grant(grant))
    signed = client.prepare_review(view, "unjustified" if unjustified else "justified", comment)
    if not json:
        say(_to_be_signed(view, signed))
    confirm("Sign this review?", yes or json)
    view = client.send_review(signed)
    left = f"it waits for {_names(view.review_by)}" if view.review_by else "its review is done"
    emit(view, json, f"{view.id} was found {signed.verdict}; {left}.")


@app.command()
def deny(grant: Grant, reason: Why = "", json: Json = False) -> None:
    """Refuse a pending request."""
    _ended(PersonClient().deny(_grant(grant), reason), json)


@app.command()
def withdraw(grant: Grant, reason: Why = "", json: Json = False) -> None:
    """Take back your own pending request."""
    _ended(PersonClient().withdraw(_grant(grant), reason), json)


@app.command("return")
def return_(grant: Grant, reason: Why = "", json: Json = False) -> None:
    """Give your own grant back before its time."""
    _ended(PersonClient().return_(_grant(grant), reason), json)


@app.command()
def revoke(grant: Grant, reason: Why = "", json: Json = False) -> None:
    """End another person's grant at once."""
    _ended(PersonClient().revoke(_grant(grant), reason), json)


@app.command()
def extend(
    grant: Grant, for_: For, reason: Why, break_glass: Glass = False, json: Json = False
) -> None:
    """Ask for the same artifacts again; it needs the same approvals."""
    view = PersonClient().extend(_grant(grant), _seconds(for_), reason, break_glass=break_glass)
    emit(view, json, _asked(view))


# -- reading what was typed


def _seconds(text: str) -> int:
    return int(parse_duration(text).total_seconds())


def _grant(text: str) -> str:
    if not is_id(text, "grant"):
        raise UsageError(
            f"{text[:60]!r} is not the id of a grant.",
            next="`aisec grant list` shows them.",
            code="grant-id-malformed",
        )
    return text


def _only_one_waiting(client: PersonClient) -> GrantView:
    """The request that waits for the caller's approval; raises UsageError unless it is one."""
    me = client.whoami().person
    waiting = [one for one in client.grants("pending") if me in one.waiting_for]
    if len(waiting) != 1:
        raise UsageError(
            f"{len(waiting) or 'No'} requests wait for the approval of {me}.",
            next="Name one: `aisec grant list --pending` shows what waits, and for whom.",
            code="grant-not-named",
        )
    return waiting[0]


def _wait(client: PersonClient, view: GrantView, events: Iterator[Event]) -> GrantView:
    note(f"Waiting for {', '.join(map(safe, view.approvers)) or 'an approver'}: {view.id}")
    if view.state == "pending":
        for event in events:
            if event.grant == view.id and (view := client.grant(view.id)).state != "pending":
                break
    return view


# -- showing


def _state(view: GrantView) -> str:
    state = f"{view.state} ({view.ended_why})" if view.ended_why else view.state
    if not view.break_glass:
        return state
    return f"{state}, break-glass{', review owed' if view.review_by else ''}"


def _names(names: Iterable[str]) -> str:
    return ", ".join(map(safe, names)) or "nobody"


def _length(seconds: int) -> str:
    return format_duration(timedelta(seconds=seconds))


def _left(view: GrantView) -> str:
    """The time left of an active grant, else the time asked for."""
    if view.state == "active" and view.ends_at:
        return format_duration(parse_time(view.ends_at) - parse_time(view.now)) + " left"
    return _length(view.seconds)


def _asked(view: GrantView) -> str:
    if view.break_glass:
        return (
            f"{view.id} is {_state(view)}: nobody approved it. {_names(view.approvers)} "
            f"can see that, and must review it, with\n  aisec grant review {view.id}"
        )
    if view.state != "pending":
        return f"{view.id} is {_state(view)}."
    asked = _names(view.approvers)
    if view.approvals_needed < len(view.approvers):
        asked = f"{view.approvals_needed} of {asked}"
    return f"{view.id} is pending: {asked} must approve it, with\n  aisec grant approve {view.id}"


def _refuse_if_refused(view: GrantView) -> None:
    if view.state == "ended":
        raise RefusedError(
            f"{view.id} was {view.ended_why}.",
            next=f"`aisec audit search {view.id}` says by whom and why.",
            code=f"grant-{view.ended_why}",
        )


def _details(view: GrantView) -> Table:
    approvals = "; ".join(
        f"{one.person} at {one.at} for {_length(one.seconds)}" for one in view.approvals
    )
    asked = view.request.read(Request, Request.payload_type, "The request")
    decided = view.ended_why not in (None, "expired", "lapsed")
    return fields(
        (
            ("grant", view.id),
            ("state", _state(view)),
            ("", f"`aisec audit search {view.id}` says by whom and why" if decided else None),
            ("person", view.person),
            ("artifacts", " ".join(view.artifacts)),
            ("labels", " ".join(view.asked_labels)),
            ("seat", asked.seat),
            ("reason", view.reason),
            ("time", _left(view)),
            ("asked", view.requested_at),
            ("pending until", view.pending_until if view.state == "pending" else None),
            ("approvers", ", ".join(view.approvers)),
            ("approvals", f"{len(view.approvals)} of {view.approvals_needed}"),
            ("", approvals),
            *_glass(view),
            ("starts", view.starts_at or _to_begin(view)),
            ("ends", view.ends_at),
            ("isolation", f"{view.isolation} at least"),
            ("policy", f"version {view.policy_version}"),
            ("because", "; ".join(view.terms.reasons)),
        )
    )


def _glass(view: GrantView) -> Iterator[tuple[str, str]]:
    """What there is to say of a grant that nobody approved before."""
    if not view.break_glass:
        return
    yield "break-glass", f"{len(view.reviews)} of {view.reviews_needed} reviews"
    for one in view.reviews:
        yield "", f"{one.verdict}, {one.person} at {one.at}" + (one.comment and f": {one.comment}")
    if view.review_by:
        yield "", f"{_names(view.review_by)} can review it: aisec grant review {view.id}"


def _to_begin(view: GrantView) -> str | None:
    """When the time of an approved grant begins, which is not yet."""
    if view.state != "scheduled" or view.begin_until is None:
        return None
    return f"when something is opened, until {view.begin_until}"


def _to_be_signed(view: GrantView, statement: Approval | Review) -> Table:
    """The statement, field by field as it is signed, with the request that it is over."""
    signed = msgspec.to_builtins(statement)
    return fields(
        (
            ("requested by", view.person),
            ("reason", view.reason),
            ("requested", f"{' '.join(view.artifacts)} for {_length(view.seconds)}"),
            ("labels", " ".join(view.asked_labels)),
            ("state", _state(view) if view.break_glass else None),
            ("you sign", statement.payload_type),
            *((f"  {name}", _plain(name, value)) for name, value in signed.items()),
        )
    )


def _plain(name: str, value: object) -> object:
    if name == "seconds" and isinstance(value, int):
        return f"{value} ({_length(value)})"
    return " ".join(value) if isinstance(value, list | tuple) else value


def _ended(view: GrantView, json: bool) -> None:
    emit(view, json, f"{view.id} is {_state(view)}.")
