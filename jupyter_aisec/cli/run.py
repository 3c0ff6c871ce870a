"""``aisec run``: the training runs that were recorded."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from jupyter_aisec.cli.help import Commands
from jupyter_aisec.cli.output import Json, emit, fields, table
from jupyter_aisec.client import PersonClient
from jupyter_aisec.errors import NotFoundError
from jupyter_aisec.ids import is_id

__all__ = ["app"]

app = typer.Typer(help="Recorded runs.", cls=Commands, rich_markup_mode=None)


@app.command("list")
def list_(json: Json = False) -> None:
    """List recorded runs."""
    runs = PersonClient().runs()
    rows = ((one.run, one.at, one.grant, one.differences, " ".join(one.seal_ids)) for one in runs)
    emit(runs, json, table(("RUN", "AT", "GRANT", "DIFFERENCES", "SEALED"), rows))


@app.command()
def show(run: Annotated[str, typer.Argument(metavar="RUN")], json: Json = False) -> None:
    """Show what a run's ledger entry says; `aisec verify` checks its whole chain of custody."""
    if not is_id(run, "run"):
        raise NotFoundError(
            f"{run[:80]!r} is not the id of a run.",
            next="See them: `aisec run list`.",
            code="run-unknown",
        )
    found = PersonClient().run(run)
    emit(found, json, fields(msgspec.structs.asdict(found).items()))
