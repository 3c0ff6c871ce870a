"""``aisec verify``: the chain of custody of what a run made, as numbered checks.

A name or a run is what the broker's catalog says; the bundle that lies there must say the
same. A folder is named by a path that looks like one, so that no folder stands in for a name.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from jupyter_aisec.cli.output import Json, emit, safe
from jupyter_aisec.cli.trust import read_trust
from jupyter_aisec.client import ListedView, PersonClient
from jupyter_aisec.errors import AisecError, NotFoundError, UsageError
from jupyter_aisec.ids import is_id
from jupyter_aisec.people.canonical import canonical, parse_canonical
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.sealed.manifest import BUNDLE_FILE, MANIFEST_FILE, SIGNATURE_FILE, read_manifest
from jupyter_aisec.sealed.store import Folder, UrlFolder

if TYPE_CHECKING:
    from jupyter_aisec.provenance import Report, SealedBytes
    from jupyter_aisec.provenance.evidence import Run

__all__ = ["verify"]

_PIECE = 16 * 1024 * 1024


def verify(
    what: Annotated[
        str,
        typer.Argument(metavar="NAME|RUN|PATH", help="An artifact, a run, or a folder (./…, /…)."),
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
    from jupyter_aisec.provenance.evidence import Given
    from jupyter_aisec.provenance.verify import examine

    pinned = read_trust(trust)
    place, named = _find(what, version)
    folder = UrlFolder(place)
    bundle = _bundle(folder, what, named)
    try:
        signature = _content(folder, SIGNATURE_FILE)
    except NotFoundError:
        signature = None
    manifest = _content(folder, MANIFEST_FILE)
    sealed, strangers = _sealed(folder), _strangers(place, manifest)
    examined = examine(
        Given(
            bundle=bundle,
            trust=pinned,
            manifest=manifest,
            sealed=sealed,
            model_signature=signature,
            strangers=strangers,
        )
    )
    report, run = examined.report, examined.run
    if named is not None:
        report = _in_the_catalog(report, run, named, what if is_id(what, "run") else None)
    custody = _custody(bundle)
    data = {
        "verified": None if run is None else _verified(run),
        "ok": report.ok,
        "checks": report.checks,
        "custody": custody.splitlines(),
    }
    emit(data, json, _drawn(report, run, custody))
    report.require()
    if model_key_out is not None and run is not None:  # its genesis is the pinned one, by now
        _write(model_key_out, run.genesis.model_key.pem())


class _Named(msgspec.Struct, frozen=True):
    """An artifact version: what was asked for, as the catalog says, and what was verified."""

    artifact: str
    version: int
    seal_id: str


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        raise UsageError(
            f"{file} cannot be written: {error.strerror}.",
            next="Name another file: `--model-key-out FILE`.",
            code="file-unwritable",
        ) from error


def _find(what: str, version: int | None) -> tuple[str, ListedView | None]:
    """Where the sealed files lie: a path as it is, a name or run as the broker knows it."""
    path = Path(what)
    if path.is_absolute() or what.split("/")[0] in (".", ".."):
        if not path.exists():
            raise NotFoundError(
                f"There is no folder {what}.",
                next="Name what was sealed instead: `aisec artifact list`.",
                code="folder-missing",
            )
        return str((path if path.is_dir() else path.parent).absolute()), None
    if path.exists():
        raise UsageError(
            f"{what} is a path here, and may be a name at the broker too.",
            next=f"For the folder write ./{what}; for the name, go to another folder.",
            code="path-ambiguous",
        )
    client = PersonClient()
    if not is_id(what, "run"):
        found = client.artifact(what, version)
        return found.url, found
    sealed = set(client.run(what).seal_ids)
    for newest in client.artifacts():
        for one in client.versions(newest.artifact):
            if one.seal_id in sealed:
                return one.url, one
    raise NotFoundError(
        f"What {what} sealed is not in the catalog.",
        next=f"`aisec run show {what}` shows its seal ids.",
        code="run-output-missing",
    )


def _in_the_catalog(
    report: Report, run: Run | None, listed: ListedView, asked: str | None
) -> Report:
    """One more check: what was verified is what was asked for, by its name or by its run.

    The catalog also says which labels it lost: a bundle that was made before cannot.
    """
    from jupyter_aisec.provenance.evidence import Check, Report

    named = _Named(listed.artifact, listed.version, listed.seal_id)
    if run is None:
        ok, detail = False, "not checked because the bundle does not say what it is of"
    elif _verified(run) != named:
        ok, detail = False, f"what lies there is {_title(_verified(run))}, not {_title(named)}"
    elif asked not in (None, run.record.run):
        ok, detail = False, f"what lies there is of {run.record.run}"
    else:
        dropped = "".join(f"; labels dropped: {one}" for one in listed.dropped)
        ok, detail = True, f"it is what the catalog names{dropped}"
    last = Check(number=len(report.checks) + 1, name="catalog", ok=ok, detail=detail)
    return Report(checks=(*report.checks, last))


def _verified(run: Run) -> _Named:
    """What the bundle is of, as its ledger entry says."""
    return _Named(run.output.artifact, run.output.version, run.output.seal_id)


def _title(found: _Named) -> str:
    return f"{found.artifact} version {found.version} ({found.seal_id})"


def _strangers(place: str, manifest: bytes) -> tuple[str, ...]:
    """What lies in a folder on this machine and is no file of the version: links are none."""
    folder = Path(place.removeprefix("file://"))
    if not folder.is_absolute():
        return ()
    try:
        files = read_manifest(parse_canonical(manifest, Envelope, MANIFEST_FILE)).files
    except AisecError:  # a check of its own says so
        files = ()
    known = {MANIFEST_FILE, BUNDLE_FILE, SIGNATURE_FILE, *(one.stored_as for one in files)}
    return tuple(
        sorted(
            entry.name
            for entry in os.scandir(folder)
            if entry.name not in known or not entry.is_file(follow_symlinks=False)
        )
    )


def _bundle(folder: Folder, what: str, named: ListedView | None) -> bytes:
    """The one that lies there; else the broker's, of a kernel that ended before it stored it."""
    try:
        return _content(folder, BUNDLE_FILE)
    except NotFoundError as error:
        try:
            if named is not None:
                return canonical(PersonClient().bundle(named.seal_id))
        except NotFoundError:
            pass
        raise NotFoundError(
            f"{what} has no bundle: no recorded run made it.",
            next="Verify what was trained: `aisec run list` shows the runs.",
            code="bundle-missing",
        ) from error


def _content(folder: Folder, name: str) -> bytes:
    source = folder.source(name)
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


def _drawn(report: Report, run: Run | None, custody: str) -> str:
    title = "What lies there cannot be told." if run is None else f"{_title(_verified(run))}:"
    lines = [
        f"{one.number:2d} {'ok  ' if one.ok else 'FAIL'} {one.name}: {safe(one.detail)}"
        for one in report.checks
    ]
    return "\n".join((safe(title), *lines, "", *map(safe, custody.splitlines())))
