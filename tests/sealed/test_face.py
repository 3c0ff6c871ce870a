"""That the room's import is light; its names are pinned in ``tests/public_names.toml``."""

from __future__ import annotations

import subprocess
import sys

import pytest

import jupyter_aisec.sealed as face


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
