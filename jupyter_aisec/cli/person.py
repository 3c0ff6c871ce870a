"""``aisec person``: who may ask, approve and administer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from jupyter_aisec.cli.countersign import Out, countersign, only_admin, others_first, send_or_keep
from jupyter_aisec.cli.help import Commands
from jupyter_aisec.cli.output import Json, confirm, emit, note, table
from jupyter_aisec.client import PersonClient
from jupyter_aisec.client.countersign import left_alone, prepare_invitation, prepare_removal
from jupyter_aisec.errors import UsageError
from jupyter_aisec.grants.names import check_person
from jupyter_aisec.ledger.bodies import Role

__all__ = ["app", "as_role"]

app = typer.Typer(help="The people of the broker.", cls=Commands, rich_markup_mode=None)


@app.command()
def add(
    name: str,
    role: Annotated[list[str], typer.Option(help="researcher, approver or admin; may repeat.")],
    out: Out = None,
    json: Json = False,
) -> None:
    """Add a person; prints the one-time token with which they log in the first time.

    Where there are two admins or more, another one signs too (as many as the policy says).
    """
    client = PersonClient()
    unsent, token = prepare_invitation(client, name, [as_role(one) for one in role])
    file = out or Path(f"{name}.invitation.json")
    left = send_or_keep(client, unsent, file)
    login = f"  AISEC_BROKER={client.http.url} aisec login --token {token}\n"
    human = f"{name} was added. Give them this one-time token, not in public:\n\n{login}"
    if left:
        human = (
            others_first(f"{name} is not added", left, file, "person")
            + f"\n\nThen, and not before, {name} can use this one-time token:\n\n{login}"
        )
    data = {"person": name, "roles": role, "token": token, "signatures_missing": left}
    emit(data | {"file": str(file) if left else None}, json, human)


app.command("countersign")(countersign)


@app.command("list")
def list_(json: Json = False) -> None:
    """List people, their roles and keys."""
    people = PersonClient().people()
    rows = (
        (one.name, ", ".join(one.roles), len(one.keys), "" if one.removed is None else "removed")
        for one in people
    )
    emit(people, json, table(("NAME", "ROLES", "KEYS", ""), rows))


@app.command()
def remove(
    name: str,
    out: Out = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Remove a person: their keys sign nothing any more, their grants end.

    To remove an admin, as many admins must sign as to add one.
    """
    check_person(name)
    client = PersonClient()
    alone = left_alone(client, name)
    if alone is not None and not json:
        note(only_admin(alone, "would be"))
    confirm(f"Remove {name}, whose name can never be given again?", yes)
    file = out or Path(f"{name}.removal.json")
    left = send_or_keep(client, prepare_removal(client, name), file)
    human = f"{name} was removed."
    if left:
        human = others_first(f"{name} is not removed", left, file, "person")
    elif alone is not None:
        human += f"\n{only_admin(alone, 'is')}"
    data = {
        "person": name,
        "removed": not left,
        "signatures_missing": left,
        "only_admin": None if alone is None else alone.admin,
    }
    emit(data | {"file": str(file) if left else None}, json, human)


def as_role(text: str) -> Role:
    """The role of that name; raises UsageError."""
    for role in get_args(Role):
        if role == text:
            return role  # type: ignore[no-any-return]
    raise UsageError(
        f"{text[:40]!r} is not a role.", next=f"Use one of: {', '.join(get_args(Role))}."
    )
