"""What an auditor finds in the ledger about saved outputs."""

from __future__ import annotations

from jupyter_aisec.client import KernelClient, PersonClient
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.sealed.manifest import read_manifest
from jupyter_aisec.sealed.outputs import MIME_TYPE, OutputKey, open_output, read_output, seal_output
from jupyter_aisec.sealed.release import ReleaseKey
from tests.conftest import RunningBroker

SHOWN = {"output_type": "stream", "name": "stdout", "text": "accuracy 0.4711"}


def test_an_opened_output_is_found_by_what_it_was_made_from(
    broker: RunningBroker, researcher: PersonClient, approver: PersonClient
) -> None:
    researcher.seal("dataset/digits", {"a.txt": b"a"})
    view = researcher.artifact("dataset/digits")
    key = OutputKey(artifact=view.artifact, seal_id=view.seal_id)
    output = seal_output(SHOWN, {key: read_manifest(view.manifest).output_key})
    saved = read_output(output["data"][MIME_TYPE])
    grant = researcher.request(["dataset/digits"], 600, "A look")
    approver.approve(grant.id)
    signing, opening = SigningKey.generate(), ReleaseKey.generate()
    researcher.bind(
        grant.id,
        seat=researcher.read_request(grant).seat,
        kernel_key=signing.public,
        release_key=opening.public,
        isolation="none",
    )
    kernel = KernelClient(broker.url, signing, opening, researcher.trust, bearer=researcher.bearer)
    release = kernel.output(saved.header, {view.seal_id: grant.id})
    assert open_output(saved, release.key.secret) == SHOWN
    found = broker.run("audit", "search", "output.released", "dataset/digits", person="approver")
    found.check_returncode()
    assert f"dataset/digits 1 {grant.id}" in found.stdout
