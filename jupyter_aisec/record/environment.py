"""What the code ran on: the interpreter, the platform and the installed packages."""

from __future__ import annotations

import hashlib
import platform
from importlib import metadata

import msgspec

__all__ = ["Environment", "environment"]


class Environment(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """``packages`` are ``name==version`` lines; their digest is over the lines, sorted."""

    python: str  # "CPython 3.11.7"
    platform: str  # "Linux-6.1.0-amd64-x86_64-with-glibc2.36"
    packages: tuple[str, ...]
    packages_sha256: str


def environment() -> Environment:
    """The facts of this process. Reads the metadata of every installed distribution."""
    names = {
        f"{dist.name.lower()}=={dist.version}"
        for dist in metadata.distributions()
        if dist.name and dist.version  # a broken install has neither
    }
    packages = tuple(sorted(names))
    return Environment(
        python=f"{platform.python_implementation()} {platform.python_version()}",
        platform=platform.platform(),
        packages=packages,
        packages_sha256=hashlib.sha256("\n".join(packages).encode()).hexdigest(),
    )
