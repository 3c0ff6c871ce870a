"""Processes whose clock is wrong: libfaketime, between them and the system."""

from __future__ import annotations

import shlex
from pathlib import Path

import libfaketime


def clock_off(by: str) -> dict[str, str]:
    """The environment in which it is so much earlier or later, like ``-1d``.

    The monotonic clock stays right, as it does where somebody sets a machine's clock.
    """
    folder = Path(libfaketime.__file__).parent / "vendor" / "libfaketime" / "src"
    return {
        "LD_PRELOAD": str(folder / "libfaketime.so.1"),
        "DONT_FAKE_MONOTONIC": "1",
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME": by,
    }


def exported(by: str) -> str:
    """The same as a command of a shell."""
    return shlex.join(["export", *(f"{name}={value}" for name, value in clock_off(by).items())])
