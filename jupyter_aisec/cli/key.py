"""``aisec key``: the keys with which a person signs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from jupyter_aisec.cli.countersign import countersign, keep
from jupyter_aisec.cli.help import Commands
from jupyter_aisec.cli.output import Json, confirm, emit, safe, table
from jupyter_aisec.cli.session import say_where_keys_are
from jupyter_aisec.client import Home, PersonClient
from jupyter_aisec.client.countersign import prepare_enrolment
from jupyter_aisec.errors import ConflictError, IdentityError, NotFoundError, UsageError
from jupyter_aisec.grants.names import check_person
from jupyter_aisec.people.keys import SigningKey

__all__ = ["app"]

app = typer.Typer(help="Your signing keys.", cls=Commands, rich_markup_mode=None)


@app.command()
def enroll(
    name: Annotated[
        str | None, typer.Option("--as", help="Whose key it is: your name at the broker.")
    ] = None,
    public_out: Annotated[
        Path | None, typer.Option(help="Write the public key (PEM) to this file.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write to this file what an older key must sign.")
    ] = None,
    json: Json = False,
) -> None:
    """Make this home's key if there is none, and print its public half.

    Needs no broker: the public key can go to whoever makes one (`aisec broker init --admin`).
    With --out it becomes a further key of yours: an older one, or two admins, sign the file.
    """
    if name is not None:
        check_person(name)
    home = Home()
    if not home.has_key():
        home.keep_key(SigningKey.generate())
        say_where_keys_are(home)
    if out is not None:
        _refuse_enrolled(PersonClient(home=home))
    if name:
        home.keep_account(msgspec.structs.replace(home.account(), person=name))
    public = home.key().public
    pem = public.pem().decode()
    if public_out is not None:
        try:
            public_out.write_text(pem)
        except OSError as error:
            raise UsageError(
                f"{public_out} cannot be written: {error.strerror}.",
                next="Name a file that can be written.",
            ) from error
    human = f"{public.key_id}\n{pem.rstrip()}"
    if out is not None:
        client = PersonClient(home=home)
        keep(prepare_enrolment(client, client.person), out)
        human += (
            f"\n\nIn a home whose key is enrolled, sign {out} with\n\n"
            f"  aisec key countersign {out}\n\n"
            f"then log in here: `aisec login --as {client.person}`. "
            "Who has no such key left asks two admins to sign it."
        )
    file = None if out is None else str(out)
    emit({"key_id": public.key_id, "public_key": pem, "file": file}, json, human)


def _refuse_enrolled(client: PersonClient) -> None:
    """Raises ConflictError for a key that is enrolled, before others are asked to sign."""
    key_id = client.home.key().public.key_id
    try:
        people = client.people()
    except IdentityError:  # it opens no session: as it should be
        return
    for one in people:
        if any(key.key.key_id == key_id and key.revoked is None for key in one.keys):
            raise ConflictError(
                f"The key of this home is enrolled already, as a key of {one.name}.",
                next="There is nothing to do: `aisec whoami`. A further key is made in another "
                f"home: `export AISEC_HOME=FOLDER; aisec key enroll --as {shlex.quote(one.name)} "
                "--out FILE`.",
                code="key-enrolled",
            )


app.command("countersign")(countersign)


@app.command("list")
def list_(json: Json = False) -> None:
    """List your keys at the broker."""
    client = PersonClient()
    me = client.whoami().person
    keys = next((one.keys for one in client.people() if one.name == me), ())
    here = client.home.key().public.key_id if client.home.has_key() else None
    rows = (
        (
            one.key.key_id,
            f"entry {one.enrolled}",
            "revoked" if one.revoked is not None else "valid",
            "in this home" if one.key.key_id == here else "",
        )
        for one in keys
    )
    data = [{"key_id": one.key.key_id, **msgspec.to_builtins(one)} for one in keys]
    emit(data, json, table(("KEY", "ENROLLED", "STATE", ""), rows))


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id, or its first characters.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    json: Json = False,
) -> None:
    """Revoke a key: it signs nothing from now on. What it signed before stays valid."""
    client = PersonClient()
    valid = [
        (key.key.key_id, one.name)
        for one in client.people()
        for key in one.keys
        if key.revoked is None
        and key.key.key_id.removeprefix("sha256:").startswith(key_id.removeprefix("sha256:"))
    ]
    if len(valid) != 1:
        raise NotFoundError(
            f"{len(valid) or 'No'} valid keys begin with {key_id[:80]!r}.",
            next="`aisec key list` shows your keys.",
            code="key-unknown",
        )
    found, owner = valid[0]
    confirm(f"Revoke {found} of {safe(owner)} for good?", yes)
    client.revoke_key(found)
    emit({"key_id": found, "revoked": True}, json, f"{found} of {safe(owner)} was revoked.")
