"""A sealed version on its way into the catalog, with the record of the run that made it.

Once the sealed files lie in the store, what is left can be interrupted anywhere (the broker is
away, the user stops the cell) and done again: the broker tells the same manifest and the same
record from other ones. So a version is registered once, its run recorded once, and nothing of
either is lost while this kernel lives.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from jupyter_aisec.errors import RefusedError, SealError
from jupyter_aisec.ids import new_id
from jupyter_aisec.people import dsse
from jupyter_aisec.people.canonical import canonical
from jupyter_aisec.provenance.facts import Input, Output, Record
from jupyter_aisec.sealed.artifact import open_artifact
from jupyter_aisec.sealed.contents import Sources, as_content
from jupyter_aisec.sealed.datakey import DataKey
from jupyter_aisec.sealed.manifest import BUNDLE_FILE, SIGNATURE_FILE

if TYPE_CHECKING:
    from cryptography.utils import Buffer

    from jupyter_aisec.kernel.session import KernelSession
    from jupyter_aisec.sealed.artifact import SealResult
    from jupyter_aisec.sealed.store import Folder

__all__ = ["Sealing", "make_record"]

_PIECE = 8 << 20


class Sealing:
    """One version that is sealed in the store at ``url``, and not finished yet.

    Its run is recorded as it was when this is made. Whoever made it keeps it until ``forget()``
    is called: once it is finished, or refused.
    """

    def __init__(
        self,
        session: KernelSession,
        result: SealResult,
        folder: Folder,
        url: str,
        *,
        forget: Callable[[], object],
    ) -> None:
        self._session = session
        self._result = result
        self._folder = folder
        self._url = url
        self._forget = forget
        self._steps = session.recorder.steps.total
        record = make_record(session, result)
        self.run = record.run
        self._record = dsse.sign(record, Record.payload_type, session.key)
        # Now: what the keeper sees from here on is of no cell of this record.
        self._seen = session.desk.observe(self._record)

    @property
    def seal_id(self) -> str:
        return self._result.manifest.seal_id

    def finish(self) -> None:
        """Registers, records, and stores the bundle beside the manifest; once more is the same.

        Raises what the broker and the store say. What was refused for good is given up.
        """
        client = self._session.client
        try:
            client.sealed(self._result, self._url)
            answer = client.record_run(self._record, self.seal_id, self._seen)
        except RefusedError:
            self.give_up()
            raise
        bundle = answer["bundle"]
        for name, document in ((BUNDLE_FILE, bundle), (SIGNATURE_FILE, bundle["model_signature"])):
            try:
                with self._folder.create(name) as file:
                    file.write(canonical(document))
            except SealError as error:
                if error.code != "store-exists":  # from a try before this one
                    raise
        if self._session.recorder.steps.total == self._steps:
            self._session.recorder.close_run()  # else training went on: the next record has all
        self.give_up()

    def is_of(self, sources: Sources, labels: tuple[str, ...]) -> bool:
        """Whether this is ``sources`` sealed, with these labels, and nothing was opened since.

        Compares what is stored, byte by byte, with what there is now.
        """
        manifest = self._result.manifest
        if (
            tuple(sorted(set(labels))) != manifest.labels
            or self._session.parents != manifest.parents
            or sorted(sources) != [file.name for file in manifest.files]
        ):
            return False
        keys = {name: DataKey(bytes(key.secret)) for name, key in self._result.keys.items()}
        with open_artifact(self._result.envelope, lambda _: keys, self._folder) as stored:
            for file in manifest.files:
                left = file.size
                with stored.open(file.name) as content:
                    for chunk in as_content(sources[file.name]).chunks(file.name):
                        for piece in _pieces(chunk):
                            left -= len(piece)
                            if content.read(len(piece)) != piece:
                                return False
                if left:
                    return False
        return True

    def give_up(self) -> None:
        """Nothing is tried any more: its keys are wiped here."""
        for key in self._result.keys.values():
            key.wipe()
        self._forget()


def _pieces(chunk: Buffer) -> list[memoryview]:
    view = memoryview(chunk).cast("B")
    edges = [*range(0, len(view), _PIECE), len(view)]
    return [view[start:stop] for start, stop in itertools.pairwise(edges)]


def make_record(session: KernelSession, result: SealResult) -> Record:
    """What the kernel says about the run that made ``result``."""
    opened = sorted(session.ever_opened.values(), key=lambda one: one.entry)
    return Record(
        **msgspec.structs.asdict(session.recorder.facts()),
        origin=session.about.trust.origin,
        run=new_id("run"),
        kernel=session.key.public.key_id,
        grants=tuple(sorted({one.grant for one in opened})),
        inputs=tuple(
            Input(
                artifact=one.artifact,
                version=one.version,
                seal_id=one.seal_id,
                grant=one.grant,
                entry=one.entry,
            )
            for one in opened
        ),
        output=Output(
            artifact=result.manifest.artifact,
            seal_id=result.manifest.seal_id,
            manifest_sha256=hashlib.sha256(result.envelope.payload).hexdigest(),
        ),
    )
