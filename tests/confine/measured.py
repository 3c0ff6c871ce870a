"""What coverage sees in confined processes, which can write nothing where it belongs.

They keep it in their memory, when they end (``patch = _exit``); the outside reaches that through
a descriptor, also after the end.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import coverage
import coverage.exceptions

_NAME = "coverage"


def keep_in(memory: str) -> None:
    """Processes forked from now on keep there what they see."""
    current = coverage.Coverage.current()
    if current is not None:
        # There is no public way. A process takes a file of its own when it first sees that it is
        # another one, so this one's stays where it is.
        current.get_data()._basename = f"{memory}/{_NAME}"


def collect(memory: str) -> None:
    """Puts what was kept in that folder beside the other measurements."""
    current = coverage.Coverage.current()
    if current is not None:
        data_file = current.get_option("run:data_file")
        for kept in Path(memory).glob(f"{_NAME}.*"):
            copy = f"{data_file}{kept.name.removeprefix(_NAME)}"
            shutil.copyfile(kept, copy)
            try:
                coverage.CoverageData(copy).read()
            except coverage.exceptions.DataError:  # its process was killed over it
                os.unlink(copy)
