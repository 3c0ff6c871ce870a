"""The broker's settings that are not policy: an optional TOML file.

::

    store = "s3://bucket/sealed"     # where new versions go; default: a folder of the home
    lease = "60s"                    # how long a kernel may open before it asks again
    session = "12h"                  # how long a log-in lasts
"""

from __future__ import annotations

import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from jupyter_aisec.errors import AisecError, UsageError
from jupyter_aisec.times import parse_duration
from jupyter_aisec.urls import check_store_url

__all__ = ["Config", "load_config"]

_LONGEST_LEASE = timedelta(hours=1)


class Config(msgspec.Struct, frozen=True, kw_only=True):
    store: str | None = None
    lease: timedelta = timedelta(seconds=60)
    session: timedelta = timedelta(hours=12)


def load_config(path: Path) -> Config:
    """The settings in the file ``path``; raises UsageError that names the mistake."""
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        unknown = sorted(set(table) - set(Config.__struct_fields__))
        if unknown:
            raise UsageError(f"there is no setting {unknown[0]!r}")
        for name in ("lease", "session"):
            if name in table:
                table[name] = parse_duration(str(table[name]))
        config = msgspec.convert(table, Config)
        if config.store is not None:
            check_store_url(config.store.rstrip("/") + "/x")
        if config.lease > _LONGEST_LEASE:
            raise UsageError("a lease longer than 1h would let a revoked kernel go on")
    except (OSError, ValueError, AisecError) as error:
        what = error.what if isinstance(error, AisecError) else str(error)
        raise UsageError(
            f"The settings in {path} cannot be used: {what}.",
            next="The settings are store, lease and session.",
            code="config-invalid",
        ) from error
    return config
