"""The shell that is recorded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell

from tests.shell import ipython_shell


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[InteractiveShell]:
    """A real IPython shell of its own."""
    with ipython_shell(tmp_path / "ipython") as shell:
        yield shell
