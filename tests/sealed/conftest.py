"""What the tests of this room share: a key, a way to seal bytes, a sealed artifact."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import tink
from tink import secret_key_access, streaming_aead
from tink.proto import aes_gcm_hkdf_streaming_pb2, common_pb2, tink_pb2

from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.sealed.artifact import OpenArtifact, SealResult, open_artifact, seal_artifact
from jupyter_aisec.sealed.datakey import DataKey
from jupyter_aisec.sealed.reader import SealReader
from jupyter_aisec.sealed.source import RangeSource
from jupyter_aisec.sealed.store import UrlFolder
from jupyter_aisec.sealed.stream import SealWriter

KEY = bytes(range(32))
AAD = b"seal_00000000000000000000000000\0\0\0\0"


@pytest.fixture(scope="session")
def seal() -> Callable[..., bytes]:
    def seal(plain: bytes, aad: bytes = AAD, key: bytes = KEY) -> bytes:
        sink = io.BytesIO()
        writer = SealWriter(sink, DataKey(key), aad)
        writer.write(plain)
        writer.finish()
        return sink.getvalue()

    return seal


@pytest.fixture(scope="session")
def unseal() -> Callable[..., SealReader]:
    def unseal(sealed: bytes, aad: bytes = AAD, key: bytes = KEY, **options: Any) -> SealReader:
        source = RangeSource(len(sealed), lambda start, stop: sealed[start:stop])
        return SealReader(source, DataKey(key), aad, **options)

    return unseal


def tinks(data_key: bytes) -> streaming_aead.StreamingAead:
    """Tink with a data key of ours, built from the wire format of its own keysets."""
    streaming_aead.register()
    key = aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingKey(
        key_value=data_key,
        params=aes_gcm_hkdf_streaming_pb2.AesGcmHkdfStreamingParams(
            ciphertext_segment_size=1 << 20,
            derived_key_size=32,
            hkdf_hash_type=common_pb2.SHA256,
        ),
    )
    keyset = tink_pb2.Keyset(primary_key_id=1)
    entry = keyset.key.add(key_id=1, status=tink_pb2.ENABLED, output_prefix_type=tink_pb2.RAW)
    entry.key_data.type_url = "type.googleapis.com/google.crypto.tink.AesGcmHkdfStreamingKey"
    entry.key_data.value = key.SerializeToString()
    entry.key_data.key_material_type = tink_pb2.KeyData.SYMMETRIC
    handle = tink.proto_keyset_format.parse(keyset.SerializeToString(), secret_key_access.TOKEN)
    return handle.primitive(streaming_aead.StreamingAead)


class Sealed:
    """An artifact in a folder, and whoever may open it."""

    def __init__(self, folder: UrlFolder, sources: Mapping[str, Any], name: str) -> None:
        self.folder = folder
        self.result: SealResult = seal_artifact(name, sources, folder, SigningKey.generate())

    def keys_for(self, _: object) -> dict[str, DataKey]:
        return {name: DataKey(key.secret) for name, key in self.result.keys.items()}

    def open(self) -> OpenArtifact:
        return open_artifact(self.result.envelope, self.keys_for, self.folder)


@pytest.fixture
def sealed(tmp_path) -> Callable[..., Sealed]:
    def sealed(sources: Mapping[str, Any], name: str = "dataset/corpus") -> Sealed:
        return Sealed(UrlFolder(str(tmp_path / "store")), sources, name)

    return sealed
