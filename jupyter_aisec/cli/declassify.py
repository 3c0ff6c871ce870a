"""``aisec declassify``: labels of a version are dropped, by its owner and others together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jupyter_aisec.cli.countersign import Out, countersign, send_or_keep
from jupyter_aisec.cli.help import Beginning
from jupyter_aisec.cli.output import Json, emit
from jupyter_aisec.client import PersonClient
from jupyter_aisec.client.countersign import may_sign, prepare_declassification
from jupyter_aisec.grants.names import split_reference

__all__ = ["app"]

app = typer.Typer(
    help="Drop labels of a version: `aisec declassify NAME[@VERSION] --drop LABEL --reason TEXT`.",
    cls=Beginning,
    rich_markup_mode=None,
)


@app.command()
def begin(
    name: Annotated[
        str, typer.Argument(metavar="NAME[@VERSION]", help="The newest version, or that one.")
    ],
    drop: Annotated[list[str], typer.Option(help="A label that it carries; may repeat.")],
    reason: Annotated[str, typer.Option(help="Those who sign decide by it.")],
    out: Out = None,
    json: Json = False,
) -> None:
    """Begin it, as owner or admin, and sign first; the word `begin` may be left out.

    It takes as many others as the strictest rule over the version demands approvals, and at
    least one. The manifest stays as it was signed: the ledger says what was dropped, and by whom.
    """
    client = PersonClient()
    artifact, version = split_reference(name)
    unsent, said = prepare_declassification(client, artifact, version, drop, reason)
    file = out or Path(f"{said.artifact.replace('/', '-')}-{said.version}.declassification.json")
    left = send_or_keep(client, unsent, file)
    who = may_sign(client, said)
    shown = f"{said.artifact} version {said.version}"
    emit(
        {
            "artifact": said.artifact,
            "version": said.version,
            "drops": said.drops,
            "signatures_missing": left,
            "may_sign": who,
            "file": str(file),
        },
        json,
        f"{shown} carries its labels yet: {left} of {', '.join(who)} must sign {file} with\n\n"
        f"  aisec declassify countersign {file}",
    )


app.command("countersign")(countersign)
