"""What an auditor finds in the ledger, and takes away from it."""

from __future__ import annotations

import base64
import hashlib
import json

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from jupyter_aisec.client import KernelClient, PersonClient
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.sealed.manifest import read_manifest
from jupyter_aisec.sealed.outputs import MIME_TYPE, OutputKey, open_output, read_output, seal_output
from jupyter_aisec.sealed.release import ReleaseKey
from tests.conftest import RunningBroker
from tests.ledger.model import read_proof, root_from

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


def test_the_proof_of_an_entry_is_one_that_others_verify(
    broker: RunningBroker, researcher: PersonClient, approver: PersonClient
) -> None:
    """By the specs alone: the note's signature, the leaf's hash, and the way to the root."""
    index = approver.checkpoint().size - 1
    researcher.seal("dataset/proved", {"a.txt": b"so that the entry is not the last"})
    shown = broker.run("audit", "export", "--proof", str(index), person="approver")
    shown.check_returncode()
    proved, hashes, note = read_proof(shown.stdout)
    text, _, signature = note.partition("\n\n")
    _, size, root = text.split("\n")
    signed = base64.b64decode(signature.split(" ")[2])[4:]
    log_key = base64.b64decode(researcher.trust.log_key.split("+", 2)[2])[1:]
    Ed25519PublicKey.from_public_bytes(log_key).verify(signed, f"{text}\n".encode())

    asked = broker.run("audit", "export", "--proof", str(index), "--json", person="approver")
    leaf = json.loads(asked.stdout)["leaf"].encode()
    leaf_hash = hashlib.sha256(b"\x00" + leaf).digest()
    assert proved == index
    assert base64.b64encode(root_from(leaf_hash, index, int(size), hashes)).decode() == root


def test_an_entry_that_there_is_not_has_no_proof(broker: RunningBroker) -> None:
    asked = broker.run("audit", "export", "--proof", "99999", person="approver")
    assert asked.returncode == 1
    assert "There is no ledger entry 99999" in asked.stderr
