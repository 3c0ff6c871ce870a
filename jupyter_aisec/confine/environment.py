"""The environment variables of the inside: no secret, and every cache in memory.

Pure. What a program would write to the person's home by default goes to memory; what it only
reads there (models and packages already downloaded) keeps its place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final

__all__ = ["SCRATCH", "inside", "is_secret", "split"]

SCRATCH: Final = "AISEC_SCRATCH"

_SECRET_NAME: Final = re.compile(
    r"TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIAL|(API|ACCESS|PRIVATE|SESSION|AUTH)_?KEY"
    r"|_AUTH$|_AUTH_SOCK$|_PAT$|^JPY_|^JUPYTERHUB_|^DBUS_|^GPG_|^SSH_|^KRB5|^DOCKER_|^XAUTHORITY$"
    r"|^AWS_|^VAULT_|^BAO_|^KUBECONFIG$|^PGPASS",
    re.IGNORECASE,
)
_CREDENTIAL_IN_URL: Final = re.compile(r"://[^/\s@]+@")

#: variable: folder beneath the memory folder.
_IN_MEMORY: Final = {
    "IPYTHONDIR": "ipython",
    "JUPYTER_RUNTIME_DIR": "runtime",
    "MPLCONFIGDIR": "matplotlib",
    "TORCHINDUCTOR_CACHE_DIR": "torchinductor",
    "TORCH_EXTENSIONS_DIR": "torch_extensions",
    "TRITON_CACHE_DIR": "triton",
    "CUDA_CACHE_PATH": "cuda",
    "CUPY_CACHE_DIR": "cupy",
    "NUMBA_CACHE_DIR": "numba",
    "JAX_COMPILATION_CACHE_DIR": "jax",
    "HF_DATASETS_CACHE": "datasets",
    "JOBLIB_TEMP_FOLDER": "joblib",
    "DASK_TEMPORARY_DIRECTORY": "dask",
    "RAY_TMPDIR": "ray",
    "POLARS_TEMP_DIR": "polars",
    "SPARK_LOCAL_DIRS": "spark",
    "WANDB_DIR": "wandb",
    "XDG_CACHE_HOME": "cache",
    "XDG_STATE_HOME": "state",
}

#: variable: where it is by default, beneath the person's own cache folder.
_READABLE: Final = {
    "HF_HOME": "huggingface",
    "TORCH_HOME": "torch",
    "PIP_CACHE_DIR": "pip",
}


def is_secret(name: str, value: str) -> bool:
    """Whether a variable may hold, or lead to, a credential."""
    return bool(_SECRET_NAME.search(name) or _CREDENTIAL_IN_URL.search(value))


def split(outer: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """``outer`` as (what the inside may see, what only the keeper may)."""
    clean = {name: value for name, value in outer.items() if not is_secret(name, value)}
    return clean, {name: value for name, value in outer.items() if name not in clean}


def inside(
    outer: Mapping[str, str], *, memory: str, scratch: str, temporary: str
) -> dict[str, str]:
    """The inside's environment.

    ``memory`` is the private folder for caches, ``scratch`` the one whose content is sealed at
    the end, ``temporary`` the place for temporary files; all of them in memory.
    """
    clean = split(outer)[0]
    home = clean.get("HOME", "/")
    cache = clean.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    for name, folder in _READABLE.items():
        clean.setdefault(name, os.path.join(cache, folder))
    clean |= {name: os.path.join(memory, folder) for name, folder in _IN_MEMORY.items()}
    clean |= dict.fromkeys(("TMPDIR", "TEMP", "TMP", "SQLITE_TMPDIR"), temporary)
    clean["HISTFILE"] = "/dev/null"
    clean["PYTHONDONTWRITEBYTECODE"] = "1"
    clean[SCRATCH] = scratch
    return clean
