"""A real IPython shell, in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell


@contextmanager
def ipython_shell(folder: Path) -> Iterator[InteractiveShell]:
    """The process's one shell, new, and gone afterwards; its own files lie in ``folder``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(folder))
        InteractiveShell.clear_instance()
        shell = InteractiveShell.instance()
        history = shell.history_manager
        assert history is not None
        history.enabled = False
        yield shell
        history.end_session()
        InteractiveShell.clear_instance()
