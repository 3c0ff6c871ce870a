"""A real Jupyter Server with the extension, in a process of its own, and a kernel that marks."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

KEEPER = "jupyter_aisec.kernel.launch"
"""What a server looks for in a kernel's command, see jupyter_aisec/server/kernels.py."""
MARKING_KERNEL = Path(__file__).parent / "server" / "marking_kernel.py"


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


@contextmanager
def running_server(
    base: Path, *options: str, app: str = "jupyter_server", **env: str
) -> Iterator[Server]:
    """A server whose every folder is below ``base``; ``app`` is the module to run."""
    folder = base / "work"
    folder.mkdir()
    _kernel(base, "marking", KEEPER)
    _kernel(base, "plain")
    token = secrets.token_hex(16)
    given = {name: value for name, value in os.environ.items() if "AISEC" not in name}
    environment = {
        **given,
        "AISEC_HOME": str(base / "home"),
        "HOME": str(base),
        "JUPYTER_CONFIG_DIR": str(base / "config"),
        "JUPYTER_DATA_DIR": str(base / "data"),
        "JUPYTER_RUNTIME_DIR": str(base / "runtime"),
        "JUPYTER_TOKEN": token,
        **env,
    }
    command = [
        *(sys.executable, "-m", app, "--no-browser", "--allow-root"),
        *("--ServerApp.ip=127.0.0.1", "--ServerApp.port=0"),
        f"--ServerApp.root_dir={folder}",
        "--ServerApp.allow_unauthenticated_access=False",
        "--ServerApp.jpserver_extensions=jupyter_aisec.server=True",
        *options,
    ]
    log = base / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environment, cwd=base, stdout=out, stderr=out)
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


def _kernel(base: Path, name: str, *arguments: str) -> None:
    spec = base / "data" / "kernels" / name
    spec.mkdir(parents=True)
    kernel = {
        "argv": [sys.executable, str(MARKING_KERNEL), *arguments, "-f", "{connection_file}"],
        "display_name": name.capitalize(),
        "language": "python",
        "metadata": {"supported_encryption": ["curve"]},
    }
    spec.joinpath("kernel.json").write_text(json.dumps(kernel))


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
