"""The public names of the room, and that its import is light."""

from __future__ import annotations

import subprocess
import sys

import pytest

import jupyter_aisec.sealed as face

NAMES = """
DataKey Deposit KeysFor LazyWeights Manifest Memory OpenArtifact OutputKey OutputSealer ReleaseKey
SealResult SealedFile StateDictContent UrlFolder deposit_info files_at load_table load_weights
open_artifact open_folder open_output read_manifest read_output release_info seal_artifact seal_key
seal_output set_provider unwrap_content_key verify_sealed_files version_url
"""


def test_the_public_names():
    assert sorted(face.__all__) == sorted(NAMES.split()) == sorted(face._HOME_OF)
    for name in face.__all__:
        assert getattr(face, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nonsense"):
        _ = face.nonsense


def test_opening_an_artifact_imports_nothing_heavy():
    heavy = ("torch", "pyarrow", "pandas", "numpy", "polars")
    code = (
        "import sys, jupyter_aisec.sealed as s; "
        "s.open_artifact, s.ReleaseKey, s.Memory, s.load_weights, s.load_table; "
        f"sys.exit(', '.join(m for m in {heavy} if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip() == ""
