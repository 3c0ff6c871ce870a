"""``aisec verify``: the chain of custody of what a run made, as numbered checks."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jupyter_aisec.cli.output import Json, emit, safe
from jupyter_aisec.client import PersonClient
from jupyter_aisec.errors import AisecError, NotFoundError, UsageError
from jupyter_aisec.ids import is_id
from jupyter_aisec.ledger.trust import Trust, parse_trust
from jupyter_aisec.sealed.store import BUNDLE, MANIFEST, Folder, UrlFolder

if TYPE_CHECKING:
    from jupyter_aisec.provenance import Report, SealedBytes

__all__ = ["verify"]

_PIECE = 16 * 1024 * 1024


def verify(
    what: Annotated[
        str, typer.Argument(metavar="NAME|RUN|PATH", help="An artifact, a run, or a folder.")
    ],
    trust: Annotated[Path, typer.Option(help="The trust file: `aisec broker trust`.")],
    model_key_out: Annotated[
        Path | None,
        typer.Option(
            help="Write the broker's model key (PEM) there: for `model_signing verify key`."
        ),
    ] = None,
    version: Annotated[int | None, typer.Option(help="An older version.")] = None,
    json: Json = False,
) -> None:
    """Check a chain of custody back to every dataset, cell and person; a folder needs no broker."""
    from jupyter_aisec.provenance.model_signing import SIGNATURE_FILE
    from jupyter_aisec.provenance.verify import examine

    pinned = _read_trust(trust)
    folder = _folder(what, version)
    bundle = _content(folder, BUNDLE, what)
    try:
        signature = _content(folder, SIGNATURE_FILE, what)
    except NotFoundError:
        signature = None
    manifest = _content(folder, MANIFEST, what)
    report, evidence = examine(bundle, pinned, manifest, _sealed(folder), signature)
    custody = _custody(bundle)
    data = {"ok": report.ok, "checks": report.checks, "custody": custody.splitlines()}
    emit(data, json, _drawn(report, custody))
    report.require()
    if model_key_out is not None:  # of a genesis that the trust file pins, by now
        _write(model_key_out, evidence.genesis.model_key.pem())


def _read_trust(file: Path) -> Trust:
    try:
        return parse_trust(file.read_bytes())
    except OSError as error:
        raise UsageError(
            f"The trust file {file} cannot be read: {error.strerror}.",
            next="Get one from an admin, who writes it with `aisec broker trust > FILE`.",
            code="trust-unreadable",
        ) from error


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        raise UsageError(
            f"{file} cannot be written: {error.strerror}.",
            next="Name another file: `--model-key-out FILE`.",
            code="file-unwritable",
        ) from error


def _folder(what: str, version: int | None) -> UrlFolder:
    """Where the sealed files lie: a path as it is, a name or run as the broker knows it."""
    path = Path(what)
    if path.exists():
        return UrlFolder(str((path if path.is_dir() else path.parent).resolve()))
    client = PersonClient()
    if not is_id(what, "run"):
        return UrlFolder(client.artifact(what, version).url)
    sealed = set(client.run(what).seal_ids)
    for newest in client.artifacts():
        for one in client.versions(newest.artifact):
            if one.seal_id in sealed:
                return UrlFolder(one.url)
    raise NotFoundError(
        f"What {what} sealed is not in the catalog.",
        next=f"`aisec run show {what}` shows its seal ids.",
        code="run-output-missing",
    )


def _content(folder: Folder, name: str, what: str) -> bytes:
    try:
        source = folder.source(name)
    except NotFoundError as error:
        if name != BUNDLE:
            raise
        raise NotFoundError(
            f"{what} has no bundle: no recorded run made it.",
            next="Verify what was trained: `aisec run list` shows the runs.",
            code="bundle-missing",
        ) from error
    return bytes(source.fetch(0, source.size, memoryview(bytearray(source.size))))


def _sealed(folder: Folder) -> dict[str, SealedBytes]:
    """Size and digest of each sealed file that lies there, whatever the manifest says."""
    from jupyter_aisec.provenance import SealedBytes

    found: dict[str, SealedBytes] = {}
    scratch = memoryview(bytearray(_PIECE))
    while True:
        name = f"{len(found):04d}.sealed"
        try:
            source = folder.source(name)
        except NotFoundError:
            return found
        digest = hashlib.sha256()
        for start in range(0, source.size, _PIECE):
            digest.update(source.fetch(start, min(start + _PIECE, source.size), scratch))
        found[name] = SealedBytes(source.size, digest.hexdigest())


def _custody(bundle: bytes) -> str:
    """The chain of custody as a tree, or why it cannot be drawn."""
    from jupyter_aisec.provenance import chain_of_custody, parse_bundle

    try:
        return str(chain_of_custody(parse_bundle(bundle)))
    except AisecError as error:
        return f"The chain of custody cannot be drawn: {error.what}"


def _drawn(report: Report, custody: str) -> Any:
    lines = [
        f"{one.number:2d} {'ok  ' if one.ok else 'FAIL'} {one.name}: {safe(one.detail)}"
        for one in report.checks
    ]
    return "\n".join((*lines, "", *map(safe, custody.splitlines())))
