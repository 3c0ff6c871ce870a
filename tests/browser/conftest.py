"""JupyterLab in a real Chromium, beside a real broker."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.conftest import RunningBroker
from tests.jupyter import Server, running_server

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
# Quiet: no profile of anybody, no updates, no sync, nothing fetched in the background.
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def lab(broker: RunningBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """JupyterLab as the researcher of the module's broker."""
    options = (
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.news_url=",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    )
    base = tmp_path_factory.mktemp("lab")
    # The question whether to fetch news covers the status bar.
    settings = base / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    settings.joinpath("notification.jupyterlab-settings").write_text('{"fetchNews": "false"}')
    with running_server(
        base,
        *options,
        app="jupyterlab",
        JUPYTERLAB_SETTINGS_DIR=str(base / "settings"),
        AISEC_BROKER=broker.url,
        AISEC_HOME=str(broker.homes["researcher"].folder),
    ) as server:
        yield server


FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Notes which tests failed, for the page to know."""
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Page]:
    """A page in a browser of its own; where a test fails, what it showed stays beside."""
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    assert path, "no Chromium on PATH: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(OPTIONS))
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.set_default_timeout(60_000)
        yield page
        if request.node.stash.get(FAILED, False):
            picture = tmp_path / "failed.png"
            page.screenshot(path=picture)
            print(f"What the page showed: {picture}")
        browser.close()
