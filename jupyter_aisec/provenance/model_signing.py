"""OpenSSF Model Signing v1 over the *sealed* files: checked without any key of ours.

The signature is an in-toto statement that lists the digest of every file of the artifact
version as it lies at its URL, in DSSE, in a Sigstore bundle with a P-256 public key. It
needs no plaintext: the digests are those of the manifest.

Spec: https://github.com/sigstore/model-transparency (signature v1.0). Its verifier skips
the paths listed in the signature itself; we list only our own bundle, which holds this
signature, and the signature's file. The manifest is never skipped.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec

from jupyter_aisec.errors import MalformedError, SignatureError
from jupyter_aisec.people.canonical import canonical
from jupyter_aisec.people.dsse import Envelope, sign, verify
from jupyter_aisec.people.keys import PublicKey, SigningKey
from jupyter_aisec.sealed.manifest import BUNDLE_FILE, MANIFEST_FILE, SIGNATURE_FILE, read_manifest

__all__ = ["ModelSignature", "sign_model"]

_IN_TOTO = "application/vnd.in-toto+json"


class _PublicKeyHint(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    hint: str  # SHA-256 of the public key in PEM, in hex


class _Material(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"
):
    public_key: _PublicKeyHint
    tlog_entries: tuple[()] = ()


class ModelSignature(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="camel"
):
    """The signature: its canonical JSON is what ``model_signing verify key`` reads."""

    media_type: Literal["application/vnd.dev.sigstore.bundle.v0.3+json"] = (
        "application/vnd.dev.sigstore.bundle.v0.3+json"
    )
    verification_material: _Material
    dsse_envelope: Envelope

    def verify(self, manifest: Envelope, key: PublicKey) -> None:
        """Raises SignatureError unless ``key`` signed exactly the files of ``manifest``."""
        verify(self.dsse_envelope, key)
        if self != _wrap(self.dsse_envelope, key) or len(self.dsse_envelope.signatures) != 1:
            raise SignatureError("The model signature names another key than the broker's.")
        if self.dsse_envelope.payload_type != _IN_TOTO:
            raise SignatureError("The model signature is not an in-toto statement.")
        if self.dsse_envelope.payload != canonical(_payload(manifest)):
            raise SignatureError("The model signature is over other files than the manifest's.")


def sign_model(manifest: Envelope, key: SigningKey) -> ModelSignature:
    """The signature over the version that ``manifest`` lists, by a P-256 key."""
    if key.public.kind != "p256":
        raise MalformedError("Model signatures are made with a P-256 key.")
    return _wrap(sign(_payload(manifest), _IN_TOTO, key), key.public)


def _wrap(envelope: Envelope, key: PublicKey) -> ModelSignature:
    hint = hashlib.sha256(key.pem()).hexdigest()
    return ModelSignature(
        verification_material=_Material(public_key=_PublicKeyHint(hint=hint)),
        dsse_envelope=envelope,
    )


def _payload(envelope: Envelope) -> dict[str, Any]:
    manifest = read_manifest(envelope)
    digests = {file.stored_as: bytes.fromhex(file.sha256) for file in manifest.files}
    digests[MANIFEST_FILE] = hashlib.sha256(canonical(envelope)).digest()
    whole = hashlib.sha256(b"".join(digests[name] for name in sorted(digests))).hexdigest()
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": manifest.artifact, "digest": {"sha256": whole}}],
        "predicateType": "https://model_signing/signature/v1.0",
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [BUNDLE_FILE, SIGNATURE_FILE],
            },
            "resources": [
                {"name": name, "algorithm": "sha256", "digest": digests[name].hex()}
                for name in sorted(digests)
            ],
        },
    }
