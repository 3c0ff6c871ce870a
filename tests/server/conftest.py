from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.jupyter import Server, running_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests here: each makes its own files and kernels."""
    with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running
