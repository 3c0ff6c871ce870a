"""Where a person's secrets lie, and what the Python environment needs to see.

Pure but for looking which folders exist.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Final

__all__ = ["needed", "secrets"]

_IN_HOME: Final = (
    ".ssh",
    ".gnupg",
    ".password-store",
    ".local/share/keyrings",
    ".local/share/python_keyring",
    ".local/share/kwalletd",
    ".local/share/jupyter-aisec",
    ".local/share/jupyter/runtime",
    ".aws",
    ".azure",
    ".config/gcloud",
    ".config/gh",
    ".config/containers/auth.json",
    ".config/pip/pip.conf",
    ".docker",
    ".kube",
    ".vault-token",
    ".bao-token",
    ".netrc",
    ".git-credentials",
    ".pgpass",
    ".pypirc",
    ".kaggle",
    ".cache/huggingface/token",
    ".cache/huggingface/stored_tokens",
    ".huggingface/token",
)


def secrets(environment: Mapping[str, str], extra: tuple[str, ...] = ()) -> tuple[str, ...]:
    """The paths to hide: AISEC_HOME, keyrings, keys and tokens of the usual tools, ``extra``."""
    home = environment.get("HOME", "")
    paths = [os.path.join(home, name) for name in _IN_HOME] if home else []
    paths += [
        environment[name] for name in ("AISEC_HOME", "JUPYTER_RUNTIME_DIR") if environment.get(name)
    ]
    return tuple(dict.fromkeys((*paths, *extra)))


def needed() -> tuple[str, ...]:
    """What must stay visible wherever it lies: the Python environment and the working folder."""
    paths = [sys.prefix, sys.base_prefix, sys.exec_prefix, *sys.path, os.getcwd()]
    paths += [os.path.dirname(os.path.realpath(sys.executable))]
    return tuple(
        dict.fromkeys(os.path.realpath(path) for path in paths if path and os.path.exists(path))
    )
