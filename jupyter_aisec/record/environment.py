"""What the code ran on: the interpreter, the platform and the installed packages."""

from __future__ import annotations

import hashlib
import platform
from importlib import metadata

from jupyter_aisec.provenance.facts import Environment

__all__ = ["environment"]


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
