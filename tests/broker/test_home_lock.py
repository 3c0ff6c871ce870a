"""One broker per home, with real processes."""

from __future__ import annotations

import copy
import errno
import fcntl
import os
from pathlib import Path

import pytest

from jupyter_aisec.broker.home import accept_rollback
from jupyter_aisec.broker.server import run_broker
from jupyter_aisec.errors import LedgerError
from tests.broker.world import BrokerProcess, Site


@pytest.mark.parametrize("name", ["the home", "a link to it"])
def test_one_broker_per_home_whatever_is_deleted(site: Site, tmp_path: Path, name: str) -> None:
    """Also under another name, and also where every file that is not needed is gone."""
    other = copy.copy(site)
    if name != "the home":
        other.home = tmp_path / "link"
        other.home.symlink_to(site.home)
    needed = {"broker.sqlite", "broker.sqlite-wal", "broker.sqlite-shm"}
    with BrokerProcess(site) as first:
        api = first.wait_ready()
        assert api is not None
        for file in site.home.iterdir():
            if file.is_file() and file.name not in needed:
                file.unlink()
        with BrokerProcess(other) as second:
            assert second.wait_ready() is None
            assert "Another broker is running on" in second.stop()[1]
        assert api.get("/v1/trust")["origin"] == site.trust.origin


def test_the_home_of_a_killed_broker_is_free(site: Site) -> None:
    for _ in range(2):
        with BrokerProcess(site) as process:
            assert process.wait_ready() is not None
            process.process.kill()


def test_a_home_that_cannot_be_locked(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on NFS, which locks only what is open for writing."""

    def flock(*_: object) -> None:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(LedgerError) as caught:
        run_broker(site.home, "127.0.0.1:0")
    assert caught.value.code == "home-unlockable"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(LedgerError) as caught:
        accept_rollback(tmp_path / "none")
    assert caught.value.code == "genesis-missing"
