"""Artifacts: sealing them at rest, opening them in memory.

``seal_artifact`` and ``open_artifact`` are the way in; ``load_weights`` and ``load_table``
make what a researcher works with. The rest are the parts that other rooms name: manifests,
stores, data keys, key release, sealed outputs. Modules load when a name is first used, so
that importing this package costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_aisec.lazy import lazily

if TYPE_CHECKING:
    from jupyter_aisec.sealed.artifact import (
        Deposit,
        KeysFor,
        OpenArtifact,
        SealResult,
        open_artifact,
        open_folder,
        seal_artifact,
    )
    from jupyter_aisec.sealed.contents import files_at
    from jupyter_aisec.sealed.datakey import DataKey
    from jupyter_aisec.sealed.manifest import Manifest, SealedFile, read_manifest
    from jupyter_aisec.sealed.memory import Memory
    from jupyter_aisec.sealed.outputs import (
        OutputKey,
        OutputSealer,
        open_output,
        read_output,
        seal_output,
        unwrap_content_key,
    )
    from jupyter_aisec.sealed.provider import set_provider
    from jupyter_aisec.sealed.release import ReleaseKey, deposit_info, release_info, seal_key
    from jupyter_aisec.sealed.store import UrlFolder, version_url
    from jupyter_aisec.sealed.tables import load_table
    from jupyter_aisec.sealed.weights import LazyWeights, StateDictContent, load_weights

__all__ = [
    "DataKey",
    "Deposit",
    "KeysFor",
    "LazyWeights",
    "Manifest",
    "Memory",
    "OpenArtifact",
    "OutputKey",
    "OutputSealer",
    "ReleaseKey",
    "SealResult",
    "SealedFile",
    "StateDictContent",
    "UrlFolder",
    "deposit_info",
    "files_at",
    "load_table",
    "load_weights",
    "open_artifact",
    "open_folder",
    "open_output",
    "read_manifest",
    "read_output",
    "release_info",
    "seal_artifact",
    "seal_key",
    "seal_output",
    "set_provider",
    "unwrap_content_key",
    "version_url",
]

__getattr__ = lazily(
    __name__,
    {
        "artifact": (
            "Deposit",
            "KeysFor",
            "OpenArtifact",
            "SealResult",
            "open_artifact",
            "open_folder",
            "seal_artifact",
        ),
        "contents": ("files_at",),
        "datakey": ("DataKey",),
        "manifest": ("Manifest", "SealedFile", "read_manifest"),
        "memory": ("Memory",),
        "outputs": (
            "OutputKey",
            "OutputSealer",
            "open_output",
            "read_output",
            "seal_output",
            "unwrap_content_key",
        ),
        "provider": ("set_provider",),
        "release": ("ReleaseKey", "deposit_info", "release_info", "seal_key"),
        "store": ("UrlFolder", "version_url"),
        "tables": ("load_table",),
        "weights": ("LazyWeights", "StateDictContent", "load_weights"),
    },
)
