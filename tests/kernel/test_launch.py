"""What the keeper serves, put together in this process; the whole of it runs in the walk."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from jupyter_aisec.confine import Level
from jupyter_aisec.confine.environment import is_secret
from jupyter_aisec.confine.wire import Message
from jupyter_aisec.kernel import launch, secure
from jupyter_aisec.kernel.progress import Bar
from jupyter_aisec.sealed.messages import GUARD_VARIABLE, guard_token


@pytest.fixture
def service(world, monkeypatch):
    for name, value in world.environment().items():
        monkeypatch.setenv(name, value)
    outside = SimpleNamespace(
        level=Level("full"),
        environment={"AISEC_TOKEN": "a-token"},
        kill=lambda: None,
        alone=lambda: True,
    )
    return secure.serve(outside, Path("/run/kernel.json"))


def test_it_observes_and_ends(service):
    broken = Message("in", "shell", (), b"{", b"{}", b"{}", b"{}")
    assert service.observer(broken) is None
    fine = Message("out", "iopub", (), b'{"msg_type": "status"}', b"{}", b"{}", b"{}")
    assert service.observer(fine) is None
    service.on_refused("GET", "/etc/passwd")
    assert len(service.routes) == 3
    asyncio.run(service.finish(0))


def test_a_missing_connection_file_is_said(tmp_path):
    command = [sys.executable, "-m", "jupyter_aisec.kernel.launch", "-f", str(tmp_path / "none")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "Start the kernel from a Jupyter front end." in done.stderr


def test_the_kernelspec_starts_it_with_the_environments_python():
    spec = Path(launch.__file__).with_name("kernelspec") / "kernel.json"
    found = json.loads(spec.read_text())
    # Jupyter puts its own interpreter in place of a bare "python".
    assert found["argv"][:3] == ["python", "-m", "jupyter_aisec.kernel.launch"]
    assert found["interrupt_mode"] == "message"
    assert found["display_name"] == "Python 3 (secure)"


def test_a_bar_for_what_is_large_and_none_for_what_is_quick(monkeypatch, capsys):
    kernel = SimpleNamespace(kernel=object())
    assert Bar(kernel, "weights/small", 1000)._widget is None
    assert Bar(SimpleNamespace(), "weights/large", 1 << 30)._widget is None
    bar = Bar(kernel, "weights/large", 100 << 20)
    for _ in range(50):
        bar(1 << 20)
    assert bar._widget.value == 50
    bar.close()
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    without = Bar(kernel, "weights/large", 1 << 30)
    without(1 << 20)
    without.close()


def test_a_proof_of_the_guard_holds_for_one_kernel(tmp_path):
    ports = {f"{name}_port": 1 for name in ("shell", "iopub", "stdin", "control", "hb")}
    path = tmp_path / "kernel.json"

    def connect(key):
        path.write_text(json.dumps({"transport": "tcp", "ip": "127.0.0.1", "key": key, **ports}))

    connect("this kernel's")
    assert secure._is_guarded(path, guard_token(b"this kernel's"))
    assert not secure._is_guarded(path, guard_token(b"the parent's, inherited"))
    assert not secure._is_guarded(path, "1")
    assert not secure._is_guarded(path, "")
    connect("")
    assert not secure._is_guarded(path, guard_token(b"")), "a key that everybody knows"


def test_the_proof_of_the_guard_stays_with_the_keeper():
    assert is_secret(GUARD_VARIABLE, guard_token(b"key"))
