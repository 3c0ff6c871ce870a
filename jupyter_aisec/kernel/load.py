"""``%load_secure``: from an artifact's name to a value in memory.

Nothing is written anywhere. Tensors live in memory that is wiped at the grant's end; a data
frame is copied by its library, so there its variable is removed and its memory left to
Python (the threat model says so).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from jupyter_aisec.errors import MalformedError, UsageError
from jupyter_aisec.grants.names import split_reference
from jupyter_aisec.kernel.commands import FORMATS
from jupyter_aisec.kernel.progress import Bar
from jupyter_aisec.kernel.session import Opened, Released
from jupyter_aisec.sealed.artifact import OpenArtifact
from jupyter_aisec.sealed.datakey import DataKey
from jupyter_aisec.sealed.manifest import Manifest, read_manifest
from jupyter_aisec.sealed.memory import Memory

if TYPE_CHECKING:
    from jupyter_aisec.client.kernel import Release
    from jupyter_aisec.kernel.commands import LoadCommand
    from jupyter_aisec.kernel.face import Face
    from jupyter_aisec.kernel.session import KernelSession
    from jupyter_aisec.sealed.store import Folder

__all__ = ["folder_of", "load", "load_as", "open_artifact", "open_file"]


def load_as(face: Face, command: LoadCommand) -> None:
    """One ``%load_secure`` line: binds the variable it names."""
    into = None
    if command.into is not None:
        if command.into not in face.shell.user_ns:
            raise UsageError(
                f"There is no variable {command.into!r}.",
                next=f"Make the model first, then load --into it; {_alone(command.artifact)}",
                code="variable-unknown",
            )
        into = face.shell.user_ns[command.into]
    value, opened = load(
        face,
        command.artifact,
        format=command.format,
        into=into,
        device=command.device,
        columns=command.columns,
        version=command.version,
        wait=command.wait,
    )
    face.shell.user_ns[command.variable] = value
    opened.variables[command.variable] = id(value)


def load(
    face: Face,
    artifact: str,
    *,
    format: str | None = None,
    into: Any = None,
    device: str | None = None,
    columns: Sequence[str] | None = None,
    version: int | None = None,
    wait: bool = True,
) -> tuple[Any, Opened]:
    """Opens an artifact as its media type asks, or as ``format`` says."""
    if format is not None and format not in FORMATS:
        raise UsageError(
            f"There is no format {format!r}.",
            next=f"Use one of: {', '.join(FORMATS)}.",
            code="format-unknown",
        )
    if device is not None:
        _check_device(device)
    content, opened = _open(face, artifact, version=version, wait=wait)
    try:
        value = _materialise(face, content, format, into, device, columns)
    finally:
        content.close()  # the keys; what was read stays until the grant's end
    return value, opened


def open_file(face: Face, path: str, *, wait: bool = True) -> BinaryIO:
    """One file of an artifact (``dataset/corpus/part-0.jsonl``), read as it is asked for."""
    parts = path.split("/", 2)
    if len(parts) != 3:
        raise UsageError(
            f"{path[:120]!r} does not name a file of an artifact.",
            next="Write it like dataset/corpus/part-0.jsonl.",
            code="file-path-invalid",
        )
    return open_artifact(face, "/".join(parts[:2]), wait=wait).open(parts[2])


def open_artifact(face: Face, artifact: str, *, wait: bool = True) -> OpenArtifact:
    """The newest version, to be read lazily; asked for again it is the same until its end.

    So that ``aisec://`` paths do not release keys for every file that is read. Raises
    RefusedError (``lease-lost``) while its grant opens nothing more.
    """
    for opened in face.session.opened:
        if opened.artifact == artifact and opened.content is not None:
            face.session.check_open(opened.grant)
            return opened.content
    content, opened = _open(face, artifact, version=None, wait=wait)
    opened.content = content
    return content


def folder_of(session: KernelSession, artifact: str, seal_id: str, url: str) -> Folder:
    """The folder of a version: over the relay where there is one."""
    relay = os.environ.get("AISEC_RELAY")
    if relay:
        from jupyter_aisec.kernel.folder import RelayFolder

        return RelayFolder(relay, artifact, seal_id, url)
    from jupyter_aisec.sealed.store import UrlFolder

    return UrlFolder(url)


def _open(
    face: Face, artifact: str, *, version: int | None, wait: bool
) -> tuple[OpenArtifact, Opened]:
    session = face.session
    artifact, named = split_reference(artifact)
    released = session.release(
        artifact,
        version=named if version is None else version,
        wait=wait,
        waiting=face.say_waiting,
    )
    manifest = _checked_manifest(released, artifact)
    memory = Memory()
    folder = folder_of(session, artifact, manifest.seal_id, released.view.url)
    content = OpenArtifact(manifest, _KeysOnce(session, released, memory), folder, memory)
    opened = Opened(released, memory)
    session.keep(opened)
    face.watch()
    return content, opened


def _checked_manifest(released: Released, artifact: str) -> Manifest:
    """The manifest, if it is of the version whose keys the broker signed for."""
    manifest = read_manifest(released.view.manifest)
    if (manifest.artifact, manifest.seal_id) != (artifact, released.release.seal_id):
        raise MalformedError(
            f"The manifest is of {manifest.artifact} {manifest.seal_id}, and the keys are of "
            f"{artifact} {released.release.seal_id}.",
            next="Tell an admin, who runs `aisec audit verify`.",
            code="manifest-differs",
        )
    return manifest


class _KeysOnce:
    """Hands out the keys that came once; asked again, it asks the broker again (logged)."""

    def __init__(self, session: KernelSession, released: Released, memory: Memory) -> None:
        self._session = session
        self._first: Release | None = released.release
        self._grant, self._version = released.grant, released.view.version
        memory.on_wipe(released.release.wipe)

    def __call__(self, manifest: Manifest) -> Mapping[str, DataKey]:
        release, self._first = self._first, None
        if release is None:
            self._session.check_open(self._grant)
            release = self._session.client.keys(
                self._grant, manifest.artifact, version=self._version
            )
        return release.keys  # the caller's to wipe


# -- values


def _materialise(
    face: Face,
    content: OpenArtifact,
    format: str | None,
    into: Any,
    device: str | None,
    columns: Sequence[str] | None,
) -> Any:
    media = content.manifest.media_type
    name = content.manifest.artifact
    if media == "weights" and (columns is not None or format not in (None, "torch", "bytes")):
        raise _unfit(f"{name} is weights, not a table.", "--format or --columns")
    if media != "weights" and into is not None:
        raise _unfit(f"{name} is not weights.", "--into")
    if format == "bytes" or (format is None and media == "files"):
        files = {name: content.read(name) for name in content.names}
        return next(iter(files.values())) if len(files) == 1 else files
    if media == "weights":
        return _weights(face, content, into, device)
    return _table(content, format or "pandas", device, columns)


def _unfit(what: str, options: str) -> UsageError:
    return UsageError(what, next=f"Load it without {options}.", code="option-unfit")


def _check_device(device: str) -> None:
    """Raises UsageError unless a tensor can be there: before any key is asked for."""
    from jupyter_aisec.sealed.tables import need_package

    torch = need_package("torch")
    try:
        torch.empty(0, device=device)
    except Exception as error:  # each backend has its own
        raise UsageError(
            f"There is no device {device!r} here: {str(error).splitlines()[0].rstrip('.')}.",
            next="Leave --device out, and it is loaded for the CPU.",
            code="device-unknown",
        ) from error


def _fill(model: Any, state: Mapping[str, Any], artifact: str) -> None:
    """Loads a state_dict into a model; raises UsageError where the two do not fit."""
    if not hasattr(model, "load_state_dict"):
        raise UsageError(
            f"Weights do not go into a value of the type {type(model).__name__}.",
            next=f"Make the model first, then load --into it; {_alone(artifact)}",
            code="model-unfit",
        )
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:4]]
        raise UsageError(
            f"{artifact} does not fit this {type(model).__name__}: "
            + " ".join(line if len(line) < 160 else f"{line[:160]}…" for line in lines),
            next=f"Make the model that was saved, and load --into that; {_alone(artifact)}",
            code="model-unfit",
        ) from error


def _alone(artifact: str) -> str:
    return f"its tensors alone: `%load_secure {artifact} as VAR`."


def _weights(face: Face, content: OpenArtifact, into: Any, device: str | None) -> Any:
    from jupyter_aisec.sealed.weights import load_weights

    size = sum(file.size for file in content.manifest.files)
    bar = Bar(face.shell, content.manifest.artifact, size)
    try:
        state = load_weights(content, device or "cpu", bar)
    finally:
        bar.close()
    if into is None:
        return state
    _fill(into, state, content.manifest.artifact)
    for tensor in into.state_dict(keep_vars=True).values():
        content.memory.track(tensor)
    return into


def _table(
    content: OpenArtifact, format: str, device: str | None, columns: Sequence[str] | None
) -> Any:
    from jupyter_aisec.sealed.tables import load_table, need_package

    match format:
        case "pandas" | "polars" | "arrow":
            return load_table(content, format, columns=columns)
        case "dataset":
            datasets = need_package("datasets")
            return datasets.Dataset(load_table(content, "arrow", columns=columns))
        case _:
            torch = need_package("torch")
            table = load_table(content, "arrow", columns=columns)
            return {
                name: torch.from_numpy(table.column(name).to_numpy().copy()).to(device or "cpu")
                for name in table.column_names
            }
