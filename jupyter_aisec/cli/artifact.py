"""``aisec artifact``: sealing, and what there is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from jupyter_aisec.cli.help import Commands
from jupyter_aisec.cli.output import Json, emit, fields, table
from jupyter_aisec.client import ArtifactView, ListedView, PersonClient
from jupyter_aisec.errors import MalformedError, SealError, UsageError
from jupyter_aisec.sealed.manifest import read_manifest

__all__ = ["app"]

app = typer.Typer(help="Sealed weights, datasets and results.", cls=Commands, rich_markup_mode=None)
Name = Annotated[str, typer.Argument(metavar="NAME", help="Such as dataset/digits.")]


@app.command()
def seal(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A file or a folder.")],
    name: Name,
    to: Annotated[str | None, typer.Option(help="Store it below this URL.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="A label; may repeat.")] = None,
    json: Json = False,
) -> None:
    """Seal a file or a folder as a new version of an artifact. SRC stays as it is."""
    from jupyter_aisec.sealed.contents import files_at

    _check_place(to)
    client = PersonClient()
    sources = files_at(source)
    size = sum(Path(str(path)).stat().st_size for path in sources.values())
    with _progress(json) as progress:
        task = progress.add_task(name, total=size)
        sealed = client.seal(
            name,
            sources,
            labels=label or (),
            store=to,
            progress=lambda done: progress.advance(task, done),
        )
    human = (
        f"{sealed.artifact} version {sealed.version} is sealed. "
        f"{source} is still there in plaintext: remove it if it must not stay."
    )
    emit(sealed, json, human)


@app.command("list")
def list_(json: Json = False) -> None:
    """List artifacts, by their newest version."""
    artifacts = PersonClient().artifacts()
    emit(artifacts, json, _table(artifacts))


@app.command()
def show(
    name: Name,
    version: Annotated[
        int | None, typer.Option(min=1, max=2**31 - 1, help="An older version.")
    ] = None,
    json: Json = False,
) -> None:
    """Show one version: its files, keys and labels. Nothing is opened."""
    view = PersonClient().artifact(name, version)
    manifest = read_manifest(view.manifest)
    files = "; ".join(f"{file.name} ({file.size:,} bytes)" for file in manifest.files)
    human = fields(
        (
            ("artifact", view.artifact),
            ("version", view.version),
            ("seal id", view.seal_id),
            ("sealed", manifest.created),
            ("type", manifest.media_type),
            ("labels", ", ".join(view.labels)),
            ("dropped", "; ".join(map(str, view.dropped))),
            ("parents", ", ".join(manifest.parents)),
            ("url", view.url),
            ("files", files),
        )
    )
    emit({**_data(view), "manifest": manifest}, json, human)


@app.command()
def versions(name: Name, json: Json = False) -> None:
    """List all versions of an artifact."""
    found = PersonClient().versions(name)
    emit(found, json, _table(found))


def _check_place(to: str | None) -> None:
    """Refuses what is no store, or is gone when this command ends, before anything is sealed."""
    from jupyter_aisec.sealed.store import UrlFolder

    if to is None:
        return
    if to.startswith("memory:"):
        raise UsageError(
            f"{to!r} ends with this command, and what was sealed with it.",
            next=_PLACES,
            code="store-fleeting",
        )
    try:
        UrlFolder(to)
    except MalformedError as error:
        raise MalformedError(error.what, next=_PLACES, code=error.code) from error
    except SealError as error:
        ways = f"{error.next.removesuffix('.')}: `--to FOLDER`."
        raise SealError(error.what, next=ways, code=error.code) from error


_PLACES = "Name an absolute path, `--to FOLDER`, or a URL like s3://bucket/folder (s3, gs, abfs)."


def _table(views: tuple[ListedView, ...]) -> Table:
    """With a column of dropped labels where there are any."""
    columns = ["ARTIFACT", "VERSION", "SEAL ID", "LABELS"]
    rows = [[one.artifact, one.version, one.seal_id, ", ".join(one.labels)] for one in views]
    if any(one.dropped for one in views):
        columns.append("DROPPED")
        for row, one in zip(rows, views, strict=True):
            row.append("; ".join(map(str, one.dropped)))
    return table(columns, rows)


def _data(view: ArtifactView) -> dict[str, object]:
    return {name: getattr(view, name) for name in view.__struct_fields__}


def _progress(quiet: bool) -> Progress:
    from rich.console import Console

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=console,
        disable=quiet or not console.is_terminal,
        transient=True,
    )
