"""``aisec audit``: is what is stored what was logged, and what was logged."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from jupyter_aisec.cli.help import Commands
from jupyter_aisec.cli.output import Json, as_json, emit, safe, table
from jupyter_aisec.cli.trust import read_trust
from jupyter_aisec.client import EntryView, PersonClient
from jupyter_aisec.errors import TamperedError, UsageError

__all__ = ["app"]

_LAST = 2**53 - 1  # a larger number is none in JSON
app = typer.Typer(help="The ledger, for auditors.", cls=Commands, rich_markup_mode=None)
_PAGE = 500
_UNCHECKED = (
    "the column `digests` of the table `entries`",
    "the copy of the checkpoint in the key store",
)


@app.command()
def verify(
    home: Annotated[
        Path | None,
        typer.Option(help="Check this broker's folder directly, running or not."),
    ] = None,
    trust: Annotated[
        Path | None,
        typer.Option(help="With --home, for a copy without the broker's keys: its trust file."),
    ] = None,
    json: Json = False,
) -> None:
    """Check every column of every row of the broker's database against the signed ledger."""
    if trust is not None and home is None:
        raise UsageError(
            "A trust file is for a folder: a broker that runs checks with its own keys.",
            next="Name the folder too: `--home FOLDER`.",
        )
    size, found = _audit_broker() if home is None else (None, _audit_home(home, trust))
    unchecked = () if trust is None else _UNCHECKED
    lines = [f"{one.table} row {one.row} column {one.column}: {one.what}" for one in found]
    if not found:
        entries = "" if size is None else f"{size} ledger entries, and "
        lines = [f"{entries}every row of every table is what was logged."]
    lines += (
        [f"Not checked without the broker's keys: {', '.join(unchecked)}."] if unchecked else []
    )
    emit(
        {"ok": not found, "size": size, "findings": found, "unchecked": unchecked},
        json,
        "\n".join(map(safe, lines)),
    )
    if found:
        more = f" (and {len(found) - 1} more places)" if len(found) > 1 else ""
        raise TamperedError(
            f"The broker's database is not what was logged: table {found[0].table}, "
            f"row {found[0].row}, column {found[0].column}{more}.",
            next="An admin restores the database from a backup; then check: `aisec audit verify`.",
        )


@app.command()
def export(
    start: Annotated[int, typer.Option("--from", min=0, max=_LAST, help="The first entry.")] = 0,
    end: Annotated[
        int | None, typer.Option("--to", min=0, max=_LAST, help="The entry to stop before.")
    ] = None,
    proof: Annotated[
        int | None,
        typer.Option(
            metavar="INDEX",
            min=0,
            max=_LAST,
            help="Instead, print the proof that the ledger has this entry (C2SP tlog-proof); "
            "with --json, the leaf that it proves too.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Print ledger entries with their bodies, one JSON object a line (with --json, one list)."""
    if proof is not None:
        leaf, proved = PersonClient().prove(proof)
        data = {"entry": proof, "leaf": leaf.decode(), "proof": str(proved)}
        emit(data, json, str(proved).removesuffix("\n"))
        return
    found = (_readable(entry) for entry in _entries(PersonClient(), start, end))
    if json:
        emit(list(found), True)
        return
    for entry in found:
        sys.stdout.write(as_json(entry) + "\n")


@app.command()
def search(
    words: Annotated[list[str], typer.Argument(metavar="WORD...", help="All must occur.")],
    json: Json = False,
) -> None:
    """Find entries in whose type, time or body all words occur: a name, a grant, an artifact."""
    wanted = [word.lower() for word in words]
    found = [
        entry
        for entry in map(_readable, _entries(PersonClient(), 0, None))
        if all(word in msgspec.json.encode(entry).decode().lower() for word in wanted)
    ]
    rows = ((one["index"], one["at"], one["type"], _brief(one["body"])) for one in found)
    emit(found, json, table(("ENTRY", "AT", "TYPE", "SAYS"), rows))


def _audit_home(home: Path, trust: Path | None) -> Sequence[Any]:
    from jupyter_aisec.broker import audit_home

    return audit_home(home, None if trust is None else read_trust(trust))


def _audit_broker() -> tuple[int | None, Sequence[Any]]:
    client = PersonClient()
    client.checkpoint()  # a log that went back is noticed here, whatever the broker says
    view = client.audit()
    return view.size, view.findings


def _entries(client: PersonClient, start: int, end: int | None) -> Iterator[EntryView]:
    stop = client.checkpoint().size if end is None else end
    while start < stop:
        yield from client.entries(start, min(start + _PAGE, stop))
        start += _PAGE


def _readable(entry: EntryView) -> dict[str, Any]:
    """The entry with its body, and what people signed in it, as JSON instead of base64."""
    body = msgspec.json.decode(entry.body)
    for name, value in body.items():
        if isinstance(value, dict) and "payload" in value and "payloadType" in value:
            payload = msgspec.json.decode(msgspec.convert(value["payload"], bytes, strict=False))
            body[name] = {**value, "payload": payload}
    return {"index": entry.index, "at": entry.at, "type": entry.type, "body": body}


def _brief(body: dict[str, Any]) -> str:
    """The values of an entry that say something in one line."""
    said: list[str] = []
    for name, value in body.items():
        if isinstance(value, dict) and "payload" in value:
            payload = value["payload"]
            said += [
                f"{payload[key]}" for key in ("person", "reason", "action") if payload.get(key)
            ]
        elif name == "sources":  # what an output was made from
            said += [f"{one['artifact']} {one['version']} {one['grant']}" for one in value]
        elif isinstance(value, str | int) and name not in ("request_sha256", "token_sha256"):
            said.append(str(value))
    return " ".join(said)
