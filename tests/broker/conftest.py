"""Brokers for tests; no test touches a real keyring."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backends import fail

from tests.broker.world import Api, Kernel, Sealed, Site, seal, serve


@pytest.fixture(autouse=True)
def _no_real_keyring(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")
    monkeypatch.setattr(keyring, "get_keyring", fail.Keyring)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "home")


@pytest.fixture
def api(site: Site) -> Iterator[Api]:
    with serve(site) as (api, _):
        yield api


@pytest.fixture
def sealed(api: Api) -> Sealed:
    """``dataset/digits``, in the catalog."""
    sealed = seal("dataset/digits", api.site.keys["researcher"])
    api.seal(sealed, person="researcher")
    return sealed


@pytest.fixture
def granted(api: Api, sealed: Sealed) -> tuple[str, Kernel]:
    """An active grant on ``dataset/digits``, and the kernel that holds its seat."""
    view, kernel = api.granted()
    return view["id"], kernel
