"""``aisec person``: who may ask, approve and administer."""

from __future__ import annotations

from typing import Annotated, get_args

import typer

from jupyter_aisec.cli.output import Json, confirm, emit, table
from jupyter_aisec.client import PersonClient
from jupyter_aisec.errors import UsageError
from jupyter_aisec.ledger.bodies import Role

__all__ = ["app", "as_role"]

app = typer.Typer(help="The people of the broker.", no_args_is_help=True, rich_markup_mode=None)


@app.command()
def add(
    name: str,
    role: Annotated[list[str], typer.Option(help="researcher, approver or admin; may repeat.")],
    json: Json = False,
) -> None:
    """Add a person; prints the one-time token with which they log in the first time."""
    client = PersonClient()
    token = client.invite(name, [as_role(one) for one in role])
    human = (
        f"{name} was added. Give them this one-time token, not in public:\n\n"
        f"  AISEC_BROKER={client.http.url} aisec login --token {token}\n"
    )
    emit({"person": name, "roles": role, "token": token}, json, human)


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
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Remove a person: their keys sign nothing any more, their grants end."""
    confirm(f"Remove {name}, whose name can never be given again?", yes)
    PersonClient().remove(name)
    emit({"person": name, "removed": True}, json, f"{name} was removed.")


def as_role(text: str) -> Role:
    """The role of that name; raises UsageError."""
    for role in get_args(Role):
        if role == text:
            return role  # type: ignore[no-any-return]
    raise UsageError(
        f"{text[:40]!r} is not a role.", next=f"Use one of: {', '.join(get_args(Role))}."
    )
