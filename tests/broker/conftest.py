"""Brokers for tests; no test touches a real keyring."""

from __future__ import annotations

import copy
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path

import keyring
import pytest
from keyring.backends import fail

from tests.broker.world import Api, Kernel, Recorded, Sealed, Site, record_run, seal, serve


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


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A home where every table has a row: made once, copied by :func:`recorded`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyring, "get_keyring", fail.Keyring)
        site = Site(tmp_path_factory.mktemp("template") / "home")
        with serve(site) as (api, _):
            given = seal("dataset/digits", site.keys["researcher"])
            api.seal(given, person="researcher")
            view, kernel = api.granted(seconds=4 * 3600)  # copied for as long as tests run
            output, answer = record_run(api, view["id"], kernel, given)
            api.token("approver")
            return Recorded(site, view["id"], kernel, given, output, answer, api.tokens)


@pytest.fixture
def recorded(template: Recorded, tmp_path: Path) -> Recorded:
    """A home of its own after a recorded run, with no broker on it."""
    site = copy.copy(template.site)
    site.home = tmp_path / "home"
    shutil.copytree(template.site.home, site.home)
    return dataclasses.replace(template, site=site)
