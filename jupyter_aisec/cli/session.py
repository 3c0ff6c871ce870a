"""``aisec login`` and ``aisec whoami``."""

from __future__ import annotations

from typing import Annotated

import typer

from jupyter_aisec.cli.output import Json, emit, note
from jupyter_aisec.client import Home, PersonClient, Session, Who

__all__ = ["login", "say_where_keys_are", "whoami"]


def login(
    token: Annotated[
        str | None, typer.Option(help="The one-time token an admin gave you, the first time.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--as", help="Your name, where this home does not know it yet.")
    ] = None,
    json: Json = False,
) -> None:
    """Log in to the broker with this home's key; with --token, enrol the key first."""
    home = Home()
    client = PersonClient(home=home)
    session = client.enrol(token) if token else client.login(name)
    say_where_keys_are(home)
    data = {"person": session.person, "expires": session.expires, "broker": client.http.url}
    emit(data, json, _logged_in(session, client))
    say_what_waits(PersonClient(home=home).whoami())  # by this log-in, not by AISEC_TOKEN


def whoami(json: Json = False) -> None:
    """Whom the broker takes you for."""
    client = PersonClient()
    who = client.whoami()
    data = {
        "person": who.person,
        "roles": who.roles,
        "broker": client.http.url,
        "reviews_waiting": who.reviews_waiting,
    }
    emit(data, json, f"{who.person} ({', '.join(who.roles)}) at {client.http.url}")
    say_what_waits(who)


def say_what_waits(who: Who) -> None:
    """Say what is owed: a break-glass grant stays a duty until it is reviewed."""
    if who.reviews_waiting:
        grants = (
            "1 break-glass grant waits"
            if who.reviews_waiting == 1
            else (f"{who.reviews_waiting} break-glass grants wait")
        )
        note(f"{grants} for your review: `aisec grant list --review`")


def say_where_keys_are(home: Home) -> None:
    """Say it aloud where there is no keyring and the secrets are files."""
    if home.secrets_kind == "file":
        note(f"No usable OS keyring: your key is in files of mode 0600 in {home.folder}/secrets.")


def _logged_in(session: Session, client: PersonClient) -> str:
    return f"Logged in as {session.person} at {client.http.url} until {session.expires}."
