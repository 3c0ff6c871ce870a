"""Installing from inside: said where to do it instead, in a secure kernel only."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from jupyter_aisec.kernel.installers import refuse_installing


def test_a_secure_kernel_says_where_to_install(idle: Any) -> None:
    ran = idle.run("%pip install leftpad")
    assert ran.reply["status"] == "error"
    assert "Nothing is installed from inside" in ran.text
    assert f"{sys.executable} -m pip install" in ran.text
    assert "installing-inside" in ran.text


@pytest.mark.parametrize("relay", [None, "http://127.0.0.1:1"], ids=["ordinary", "secure"])
def test_only_installers_that_there_are_and_only_there(
    shell: Any, monkeypatch: pytest.MonkeyPatch, relay: str | None
) -> None:
    monkeypatch.delenv("AISEC_RELAY", raising=False)
    if relay:
        monkeypatch.setenv("AISEC_RELAY", relay)
    magics = shell.magics_manager.magics["line"]
    before = dict(magics)
    del magics["conda"]
    refuse_installing(shell)
    changed = {name for name in magics if magics[name] is not before[name]}
    assert "conda" not in magics
    assert ("pip" in changed) is bool(relay)
    assert "grant" not in changed
