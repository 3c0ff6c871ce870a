"""A real Jupyter Server with the extension, in a process of its own."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

MARKING_KERNEL = Path(__file__).with_name("marking_kernel.py")


@dataclass(frozen=True)
class Server:
    url: str
    token: str
    folder: Path
    log: Path

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        headers = {"Authorization": f"token {self.token}"}
        return requests.request(method, self.url + path, headers=headers, timeout=60, **options)

    def save(self, path: str, **model: Any) -> requests.Response:
        return self.request("PUT", f"api/contents/{path}", json=model)


def wait_for(condition: Any, process: subprocess.Popen[bytes], log: Path) -> Any:
    """The first true value of ``condition()``; fails with the log when the process has ended."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    pytest.fail(log.read_text())


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    base = tmp_path_factory.mktemp("server")
    folder = base / "work"
    spec = base / "data" / "kernels" / "marking"
    spec.mkdir(parents=True)
    folder.mkdir()
    argv = [sys.executable, str(MARKING_KERNEL), "-f", "{connection_file}"]
    spec.joinpath("kernel.json").write_text(
        json.dumps(
            {
                "argv": argv,
                "display_name": "Marking",
                "language": "python",
                "metadata": {"supported_encryption": ["curve"]},
            }
        )
    )
    token = secrets.token_hex(16)
    env = {
        **os.environ,
        "AISEC_HOME": str(base / "home"),
        "HOME": str(base),
        "JUPYTER_CONFIG_DIR": str(base / "config"),
        "JUPYTER_DATA_DIR": str(base / "data"),
        "JUPYTER_RUNTIME_DIR": str(base / "runtime"),
        "JUPYTER_TOKEN": token,
        "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
    }
    env.pop("AISEC_BROKER", None)
    command = [
        *(sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root"),
        *("--ServerApp.ip=127.0.0.1", "--ServerApp.port=0"),
        f"--ServerApp.root_dir={folder}",
        "--ServerApp.allow_unauthenticated_access=False",
        "--ServerApp.jpserver_extensions=jupyter_aisec.server=True",
    ]
    log = base / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=env, cwd=base, stdout=out, stderr=out)
    try:
        found = wait_for(lambda: list((base / "runtime").glob("jpserver-*.json")), process, log)
        url = wait_for(lambda: _url(found[0]), process, log)
        wait_for(lambda: _answers(url), process, log)
        yield Server(url=url, token=token, folder=folder, log=log)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _url(info: Path) -> str | None:
    try:
        url: str = json.loads(info.read_text())["url"]
    except (OSError, ValueError):
        return None
    return url


def _answers(url: str) -> bool:
    try:
        return requests.get(url + "api", timeout=5).status_code < 500
    except requests.RequestException:
        return False
