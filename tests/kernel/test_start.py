"""What a kernel does not import before it is needed, each seen in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOADED = """
import sys
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
before = set(sys.modules)
shell.extension_manager.load_extension("jupyter_aisec")
imported = sorted(set(sys.modules) - before)
from jupyter_aisec.kernel import extension
assert {"grant", "load_secure", "save_secure"} <= set(shell.magics_manager.magics["line"])
assert extension.face().recorder.cells.on_start in shell.events.callbacks["pre_run_cell"]
assert shell.custom_exceptions, "nothing would be explained"
"""
LAUNCHED = """
import sys
before = set(sys.modules)
import jupyter_aisec.kernel.launch
imported = sorted(set(sys.modules) - before)
"""
OF_OTHERS = {"cryptography", "fsspec", "http_message_signatures", "ipywidgets", "numpy", "pyarrow"}
OF_OTHERS |= {"pydantic", "pynvml", "requests", "rich", "safetensors", "torch", "ulid", "urllib3"}
ROOMS = {"broker", "cli", "client", "grants", "ledger", "people", "server"}


def imported(code: str) -> set[str]:
    """The modules that ``code`` names, and the packages they lie in."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nprint(*imported)"],
        capture_output=True,
        text=True,
        check=True,
    )
    parts = [name.split(".") for name in done.stdout.split()]
    return {".".join(one[:length]) for one in parts for length in range(1, len(one) + 1)}


def test_loading_the_extension_imports_what_the_first_cell_needs():
    found = imported(LOADED)
    assert "jupyter_aisec.kernel.extension" in found
    assert not found & OF_OTHERS
    assert not found & {f"jupyter_aisec.{room}" for room in ROOMS}
    # Of the rooms below only what records, and where opened artifacts would be found.
    assert {name for name in found if name.startswith("jupyter_aisec.provenance.")} == {
        "jupyter_aisec.provenance.facts"
    }
    assert {name for name in found if name.startswith("jupyter_aisec.sealed.")} == {
        "jupyter_aisec.sealed.provider"
    }


@pytest.mark.parametrize("module", ["asyncio", "argparse", "importlib.metadata", "logging", "zmq"])
def test_a_keeper_imports_nothing_before_it_starts_itself_anew(module):
    """It would import it a second time."""
    assert module not in imported(LAUNCHED)
