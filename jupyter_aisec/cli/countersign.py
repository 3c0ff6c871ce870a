"""``aisec … countersign``: the file in which a statement goes from one signer to the next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from jupyter_aisec.cli.output import Json, confirm, emit, fields, note, safe, say
from jupyter_aisec.client import PersonClient, Unsent
from jupyter_aisec.client.countersign import (
    Alone,
    labels_left,
    left_alone,
    missing,
    read_unsent,
    send,
    signers,
)
from jupyter_aisec.client.countersign import countersign as sign
from jupyter_aisec.errors import UsageError
from jupyter_aisec.grants.statements import Enrolment, Removal

__all__ = ["Out", "countersign", "keep", "only_admin", "others_first", "send_or_keep"]

Out = Annotated[
    Path | None, typer.Option("--out", help="The file for whoever signs next, if somebody must.")
]


def countersign(
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    yes: Annotated[bool, typer.Option("--yes", help="Sign without asking.")] = False,
    json: Json = False,
) -> None:
    """Add your signature to what another began: shows exactly what will be signed."""
    client = PersonClient()
    unsent = _read(file)
    before = signers(client, unsent)
    if not json:
        say(_to_be_signed(unsent, before, labels_left(client, unsent)))
        say("\n".join(map(safe, (unsent.policy or "").splitlines())))
    statement = unsent.statement
    alone = left_alone(client, statement.removes) if isinstance(statement, Removal) else None
    if alone is not None and not json:
        note(only_admin(alone, "would be"))
    confirm("Sign this?", yes or json)
    unsent = sign(client, unsent)
    signed_by = signers(client, unsent)  # whoever removes themselves can ask nothing afterwards
    left = missing(client, unsent)
    if left:
        keep(unsent, file, again=True)
    else:
        send(client, unsent)
    human = f"Signed; {left} more must sign {file}." if left else "Signed and sent: it is in force."
    if alone is not None and not left:
        human += f"\n{only_admin(alone, 'is')}"
    emit(
        {
            "type": unsent.envelope.payload_type,
            "statement": statement,
            "signed_by": signed_by,
            "sent": not left,
            "signatures_missing": left,
            "only_admin": None if alone is None else alone.admin,
        },
        json,
        human,
    )


def send_or_keep(client: PersonClient, unsent: Unsent, file: Path) -> int:
    """Send a statement if enough signed it, else write ``file``; returns how many are missing.

    Raises UsageError where the file is there already or cannot be written.
    """
    left = missing(client, unsent)
    if left:
        keep(unsent, file)
    else:
        send(client, unsent)
    return left


def others_first(what: str, left: int, file: Path, group: str) -> str:
    """That ``what`` is not so before ``left`` others signed ``file``, and how they do it."""
    others = "another admin" if left == 1 else f"{left} more admins"
    return f"{what} yet: {others} must sign {file} with\n\n  aisec {group} countersign {file}"


def only_admin(alone: Alone, is_or_would_be: str) -> str:
    """What follows where a removal leaves one admin."""
    demanded = alone.admins_for_policy
    policy = "" if demanded == 1 else f" Nobody can change the policy, which takes {demanded}."
    return safe(
        f"{alone.admin} {is_or_would_be} the only admin, who adds people and vouches for keys "
        f"alone: until another person is admin, there is no two-party control.{policy} "
        "Another one is added by `aisec person add NAME --role admin`."
    )


def keep(unsent: Unsent, file: Path, *, again: bool = False) -> None:
    """Write the file for whoever signs next; only ``again`` in the place of another.

    Raises UsageError.
    """
    try:
        with file.open("wb" if again else "xb") as out:
            out.write(unsent.to_bytes())
    except OSError as error:
        raise UsageError(
            f"{file} cannot be written: {error.strerror}.",
            next="Copy it to where you may write, and sign the copy."
            if again
            else "Name another, `--out FILE`, or move this one away.",
            code="unsent-unwritable",
        ) from error


def _read(file: Path) -> Unsent:
    try:
        return read_unsent(file.read_bytes())
    except OSError as error:
        raise UsageError(
            f"{file} cannot be read: {error.strerror}.",
            next="Name the file that the first signer gave you.",
            code="unsent-unreadable",
        ) from error


def _to_be_signed(unsent: Unsent, before: tuple[str, ...], left: tuple[str, ...] | None) -> Table:
    """The statement, field by field as it is signed; and the labels that are left after it."""
    said = msgspec.to_builtins(unsent.statement)
    if isinstance(unsent.statement, Enrolment):
        said["key id"] = unsent.statement.key.key_id
    shown = {name: _text(value) for name, value in said.items()}
    return fields(
        (
            ("to be signed", unsent.envelope.payload_type),
            *shown.items(),
            ("labels left", None if left is None else ", ".join(left) or "none"),
            ("signed by", ", ".join(before) or "nobody yet"),
        )
    )


def _text(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
