"""The model signature, as the tool of the OpenSSF verifies it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from jupyter_aisec.errors import MalformedError, SignatureError
from jupyter_aisec.people import Envelope, SigningKey, canonical, parse_canonical, sign, sign_again
from jupyter_aisec.provenance import ModelSignature, parse_bundle, sign_model
from jupyter_aisec.sealed.manifest import BUNDLE_FILE, MANIFEST_FILE, SIGNATURE_FILE
from tests.provenance.world import Walked


def _lay_out(walked: Walked, folder: Path) -> Path:
    """The artifact version as it lies at its URL, with the signature's file beside it."""
    at = folder / "digits-net"
    at.mkdir()
    for name, content in walked.world.files[walked.seal_id].items():
        (at / name).write_bytes(content)
    (at / MANIFEST_FILE).write_bytes(walked.world.manifest_file(walked.seal_id))
    (at / BUNDLE_FILE).write_bytes(walked.bundle)
    signature = parse_bundle(walked.bundle).model_signature
    (at / SIGNATURE_FILE).write_bytes(canonical(signature))
    (folder / "key.pem").write_bytes(walked.world.keys["model"].public.pem())
    return at


def _verify(at: Path, key: str = "key.pem") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "model_signing", "verify", "key", str(at)),
            *("--signature", str(at / SIGNATURE_FILE), "--public_key", str(at.parent / key)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_tool_accepts_it(walked: Walked, tmp_path: Path) -> None:
    done = _verify(_lay_out(walked, tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("fault", ["file", "manifest", "missing", "added", "signature", "key"])
def test_the_tool_rejects_it_after_tampering(walked: Walked, tmp_path: Path, fault: str) -> None:
    at = _lay_out(walked, tmp_path)
    key = "key.pem"
    if fault == "missing":
        (at / "0001.sealed").unlink()
    elif fault == "added":
        (at / "0002.sealed").write_bytes(b"more")
    elif fault == "key":
        key = "other.pem"
        (tmp_path / key).write_bytes(SigningKey.generate("p256").public.pem())
    else:
        names = {"file": "0000.sealed", "manifest": MANIFEST_FILE, "signature": SIGNATURE_FILE}
        path = at / names[fault]
        content = bytearray(path.read_bytes())
        content[-40] ^= 1
        path.write_bytes(content)
    assert _verify(at, key).returncode != 0


def _signature(walked: Walked) -> ModelSignature:
    return parse_bundle(walked.bundle).model_signature


def _manifest(walked: Walked) -> Envelope:
    sealed = walked.world.state.catalog.sealed(walked.seal_id)
    assert sealed is not None
    return sealed.manifest


def test_ours_survives_its_file(walked: Walked) -> None:
    signature = _signature(walked)
    again = parse_canonical(canonical(signature), ModelSignature, "The model signature")
    again.verify(_manifest(walked), walked.world.keys["model"].public)


def test_another_key_is_refused(walked: Walked) -> None:
    with pytest.raises(SignatureError):
        _signature(walked).verify(_manifest(walked), SigningKey.generate("p256").public)


def test_another_manifest_is_refused(walked: Walked) -> None:
    other = walked.world.state.catalog.find("dataset/digits").manifest
    with pytest.raises(SignatureError, match="other files"):
        _signature(walked).verify(other, walked.world.keys["model"].public)


def test_nothing_unchecked_rides_along(walked: Walked) -> None:
    signature, key = _signature(walked), walked.world.keys["model"]
    material = signature.verification_material
    renamed = msgspec.structs.replace(
        signature,
        verification_material=msgspec.structs.replace(
            material, public_key=msgspec.structs.replace(material.public_key, hint="00")
        ),
    )
    twice = msgspec.structs.replace(
        signature, dsse_envelope=sign_again(signature.dsse_envelope, key)
    )
    for changed in (renamed, twice):
        with pytest.raises(SignatureError, match="another key"):
            changed.verify(_manifest(walked), key.public)


def test_another_payload_type_is_refused(walked: Walked) -> None:
    key = walked.world.keys["model"]
    signature = _signature(walked)
    retyped = msgspec.structs.replace(
        signature, dsse_envelope=sign(signature.dsse_envelope.payload, "text/plain", key)
    )
    with pytest.raises(SignatureError, match="in-toto"):
        retyped.verify(_manifest(walked), key.public)


def test_only_a_p256_key_signs_models(walked: Walked) -> None:
    with pytest.raises(MalformedError):
        sign_model(_manifest(walked), SigningKey.generate())
