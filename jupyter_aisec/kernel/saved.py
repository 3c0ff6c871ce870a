"""Outputs that were saved sealed, opened again in this kernel.

The broker unwraps the content key of that one output, if this kernel may open everything that
the output was made from, and logs it; the ciphertext never leaves the kernel. Anybody can seal
to a public key, so what comes out is shown and never run: here only types that no front end
acts on, in the lab's page without trust.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from IPython.display import display

from jupyter_aisec.errors import AisecError, ConflictError, NotFoundError, UsageError
from jupyter_aisec.kernel.session import Shown
from jupyter_aisec.sealed.outputs import MIME_TYPE, check_ciphertext, open_output, read_output

if TYPE_CHECKING:
    from jupyter_aisec.client.views import GrantView, ListedView
    from jupyter_aisec.kernel.commands import OpenCommand
    from jupyter_aisec.kernel.face import Face
    from jupyter_aisec.kernel.session import KernelSession
    from jupyter_aisec.sealed.outputs import OutputHeader, SealedOutput

__all__ = ["open_notebook", "open_saved"]

# What a cell shows is trusted by front ends; of these types none is markup or code.
_SHOWN = (
    "text/plain",
    "text/latex",
    "application/json",
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/bmp",
)


def open_saved(face: Face, bundle: object) -> dict[str, Any]:
    """The output in ``bundle`` (the content of :data:`MIME_TYPE`) as it was, nbformat 4.

    One at a time: a page asks for several at once, in threads of their own.
    Raises MalformedError, SealBrokenError or WrongKeyError for one that was changed,
    NotFoundError (``no-grant``) or ConflictError (``grant-pending``) where this notebook may not
    open all it was made from, and the broker's refusals.
    """
    sealed = read_output(bundle)
    check_ciphertext(sealed)  # before the broker logs a release of it
    with face.opening_output:
        return _open(face, sealed)


def _open(face: Face, sealed: SealedOutput) -> dict[str, Any]:
    session = face.session
    versions = _versions(session, sealed.header)
    grants = _grants(session, versions)
    for view in grants.values():
        session.bind(view)
        session.check_open(view.id)
    release = session.client.output(
        sealed.header, {seal_id: view.id for seal_id, view in grants.items()}
    )
    try:
        for source in release.sources:
            session.show(
                Shown(
                    artifact=source.artifact,
                    version=source.version,
                    seal_id=source.seal_id,
                    labels=versions[source.seal_id].labels,
                    grant=source.grant,
                    entry=release.entry,
                )
            )
        face.watch()
        return open_output(sealed, release.key.secret)
    finally:
        release.key.wipe()


def _versions(session: KernelSession, header: OutputHeader) -> dict[str, ListedView]:
    """What the broker's catalog says of each artifact version, by seal id."""
    found = {}
    for key in header.keys:
        for one in session.client.versions(key.artifact):
            if one.seal_id == key.seal_id:
                found[key.seal_id] = one
                break
        else:
            raise NotFoundError(
                f"This output was made from {key.artifact}, {key.seal_id}, which this broker "
                "does not have.",
                next="Use the broker that it was made with: `export AISEC_BROKER=URL`.",
                code="output-source-unknown",
            )
    return found


def _grants(session: KernelSession, versions: dict[str, ListedView]) -> dict[str, GrantView]:
    """A grant for each of them, by seal id; raises where one is missing, or still pending."""
    chosen = {
        seal_id: session.choose(one.artifact, one.version) for seal_id, one in versions.items()
    }
    lacking = sorted({versions[one].artifact for one, view in chosen.items() if view is None})
    if lacking:
        raise NotFoundError(
            f"No grant of this notebook lets it open {', '.join(lacking)}.",
            next=f'Ask for it: `%grant request {" ".join(lacking)} --for 1h --reason "…"`',
            code="no-grant",
        )
    found = {seal_id: view for seal_id, view in chosen.items() if view is not None}
    for view in found.values():
        if view.state == "pending":
            raise ConflictError(
                f"The grant for {', '.join(view.artifacts)} is still pending.",
                next=f"Let an approver decide, `aisec grant approve {view.id}`; then show it.",
                code="grant-pending",
            )
    return found


def open_notebook(face: Face, command: OpenCommand) -> None:
    """One ``%open_outputs`` line: shows the sealed outputs of a saved notebook, cell by cell."""
    closed: dict[tuple[str, str], list[int]] = {}
    found = 0
    for number, bundle in _sealed(command):
        found += 1
        try:
            output = open_saved(face, bundle)
        except AisecError as error:
            closed.setdefault((str(error), error.code), []).append(number)
        else:
            _say(f"cell {number} · {_names(bundle)}")
            _display(output)
    if not found:
        where = "" if command.cell is None else f" in cell {command.cell}"
        _say(f"There is no sealed output{where}.")
    for (why, code), cells in closed.items():
        numbers = ", ".join(map(str, dict.fromkeys(cells)))
        _say(f"Not opened, cell {numbers}: {why} ({code})")


def _sealed(command: OpenCommand) -> Iterator[tuple[int, Any]]:
    """The sealed outputs of a notebook, with the number of their cell."""
    cells = _read(command.notebook)
    if command.cell is not None and not 1 <= command.cell <= len(cells):
        raise UsageError(
            f"{command.notebook} has {len(cells)} cells, and no cell {command.cell}.",
            next="The first cell is 1.",
            code="cell-unknown",
        )
    for number, cell in enumerate(cells, 1):
        outputs = cell.get("outputs") if isinstance(cell, dict) else None
        for output in outputs if isinstance(outputs, list) else ():
            data = output.get("data") if isinstance(output, dict) else None
            wanted = command.cell in (None, number)
            if wanted and isinstance(data, dict) and MIME_TYPE in data:
                yield number, data[MIME_TYPE]


def _read(path: str) -> list[Any]:
    try:
        notebook = msgspec.json.decode(Path(path).expanduser().read_bytes())
        cells = notebook["cells"]
    except OSError as error:
        raise NotFoundError(
            f"{path[:140]} cannot be read: {error.strerror}.",
            next="Name the notebook as it is seen from this kernel's folder (`%pwd`).",
            code="notebook-unreadable",
        ) from None
    except (ValueError, RecursionError, KeyError, TypeError):
        cells = None
    if not isinstance(cells, list):
        raise UsageError(
            f"{path[:140]} is not a notebook (nbformat 4).",
            next="Name a file that ends in .ipynb.",
            code="notebook-malformed",
        )
    return cells


def _names(bundle: object) -> str:
    return ", ".join(sorted({key.artifact for key in read_output(bundle).header.keys}))


def _display(output: dict[str, Any]) -> None:
    """As the cell showed it, less what a front end would act on."""
    match output["output_type"]:
        case "stream":
            text = output["text"]
            stream = sys.stdout if output["name"] == "stdout" else sys.stderr
            stream.write(text if isinstance(text, str) else "".join(text))
        case "error":
            display({"text/plain": "\n".join(output["traceback"])}, raw=True)  # type: ignore[no-untyped-call]
        case _:
            data = {name: value for name, value in output["data"].items() if name in _SHOWN}
            if not data:
                only = ", ".join(sorted(output["data"])) or "nothing"
                _say(f"It has {only[:140]}, which is shown in JupyterLab only: open it there.")
                return
            display(data, raw=True)  # type: ignore[no-untyped-call]


def _say(text: str) -> None:
    print(text)  # noqa: T201 - the magic's answer
