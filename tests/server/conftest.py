from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_server.services.contents.largefilemanager import LargeFileManager

from jupyter_aisec.server.contents import NotebookSaves
from jupyter_aisec.server.guard import Guard
from jupyter_aisec.server.seen import Seen
from tests.jupyter import Server, running_server
from tests.server.world import PROOFS, Table


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests here: each makes its own files and kernels."""
    with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture
def sessions() -> Table:
    return Table()


@pytest.fixture
def seen(sessions: Table) -> Seen:
    return Seen(sessions, PROOFS)


@pytest.fixture
def manager(tmp_path: Path, seen: Seen) -> LargeFileManager:
    manager = LargeFileManager(root_dir=str(tmp_path))
    saves = NotebookSaves(Guard(seen))
    manager.register_pre_save_hook(saves.before_save)
    return manager


@pytest.fixture
def kernel(server: Server) -> Iterator[str]:
    answer = server.request("POST", "api/kernels", json={"name": "marking"})
    answer.raise_for_status()
    id_ = answer.json()["id"]
    yield id_
    server.request("DELETE", f"api/kernels/{id_}")
