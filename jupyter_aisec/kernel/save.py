"""``%save_secure``: from a value in memory to a sealed version, with the record of its run.

What a kernel seals carries the labels of everything it has opened, and names all of it as
parents. Sealing needs no grant that is still active. What was sealed and could not be registered
or recorded is finished by the next try, and the same value is not sealed twice.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_aisec.errors import AisecError, NotFoundError, SealBrokenError, UsageError
from jupyter_aisec.ids import new_id
from jupyter_aisec.kernel.load import folder_of
from jupyter_aisec.kernel.sealing import Sealing
from jupyter_aisec.kernel.values import sources_of
from jupyter_aisec.sealed.artifact import seal_artifact
from jupyter_aisec.sealed.contents import Sources, files_at
from jupyter_aisec.sealed.store import version_url

if TYPE_CHECKING:
    from jupyter_aisec.kernel.commands import SaveCommand
    from jupyter_aisec.kernel.face import Face
    from jupyter_aisec.sealed.manifest import MediaType

__all__ = ["finish_all", "save", "save_as", "save_scratch"]


def save_as(face: Face, command: SaveCommand) -> None:
    """One ``%save_secure`` line: the expression is the notebook's own Python.

    Or it is ``$AISEC_SCRATCH``, or a file or folder in there, spelled as in a shell.
    """
    value = _in_scratch(command.expression)
    if value is None:
        value = eval(command.expression, face.shell.user_global_ns, face.shell.user_ns)  # noqa: S307
    seal_id = save(face, value, command.artifact, labels=command.labels)
    print(f"Sealed {command.artifact} as {seal_id}; %provenance shows its run.")  # noqa: T201


def save(face: Face, value: Any, artifact: str, *, labels: Sequence[str] = ()) -> str:
    """Seals ``value`` and records the run that made it; returns the seal id."""
    sources, media = sources_of(value)
    return _seal(face, artifact, sources, media, labels)


def _in_scratch(expression: str) -> Path | None:
    """The place in the scratch folder that an expression spells; None for one of Python."""
    place = Path(expression)
    if place.parts[:1] != ("$AISEC_SCRATCH",):
        return None
    scratch = os.environ.get("AISEC_SCRATCH")
    if not scratch:
        raise UsageError(
            "There is no $AISEC_SCRATCH here: the secure kernel has one.",
            next='Use the "Python 3 (secure)" kernel; or save what a Path of yours names.',
            code="scratch-missing",
        )
    return Path(scratch, *place.parts[1:])


def finish_all(face: Face) -> None:
    """What an interrupted ``%save_secure`` left, as far as it can be done now."""
    for sealing in list(face.unfinished.values()):
        with suppress(AisecError):
            _finish(face, sealing)


def save_scratch(face: Face) -> str | None:
    """Seals what lies in ``$AISEC_SCRATCH`` as a result of its own, and empties it."""
    scratch = os.environ.get("AISEC_SCRATCH")
    if not scratch or not any(path.is_file() for path in Path(scratch).rglob("*")):
        return None
    name = f"results/scratch-{new_id('run').partition('_')[2].lower()}"
    seal_id = _seal(face, name, files_at(scratch), "files", ())
    for entry in os.scandir(scratch):
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path)
        else:
            os.unlink(entry.path)
    return seal_id


def _seal(
    face: Face, artifact: str, sources: Sources, media: MediaType, labels: Sequence[str]
) -> str:
    session = face.session
    labels = (*session.labels, *labels)
    left = face.unfinished.get(artifact)
    if left is not None:  # the last try was interrupted
        try:
            same = left.is_of(sources, labels)
        except (NotFoundError, SealBrokenError):  # the store has lost it: it is no version
            left.give_up()
        else:
            _finish(face, left)
            if same:
                return left.seal_id
    seal_id = new_id("seal")
    url = version_url(session.client.store(), artifact, seal_id)
    folder = folder_of(session, artifact, seal_id, url)
    result = seal_artifact(
        artifact,
        sources,
        folder,
        session.key,
        seal_id=seal_id,
        labels=labels,
        parents=session.parents,
        media_type=media,
    )
    sealing = Sealing(
        session, result, folder, url, forget=lambda: face.unfinished.pop(artifact, None)
    )
    face.unfinished[artifact] = sealing
    _finish(face, sealing)
    return seal_id


def _finish(face: Face, sealing: Sealing) -> None:
    sealing.finish()
    face.last_run = sealing.run
