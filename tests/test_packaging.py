"""The wheel in a fresh environment without Node: does Jupyter find everything?

The environment is real and gets the real wheel; the dependencies are lent to it by a path
file, since installing them again takes a while. That they are the declared ones is tested in
``test_dependencies.py``, and ``.ci/install`` installs them for real.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BUILT = ROOT / "jupyter_aisec" / "labextension" / "package.json"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert BUILT.exists(), "the lab extension is not built: make build"
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", str(folder)]
    done = subprocess.run([*command, str(ROOT)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (found,) = folder.glob("*.whl")
    return found


class Environment:
    """A virtual environment with the wheel, and a PATH on which there is no Node."""

    def __init__(self, folder: Path, wheel: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        self.bin = folder / "bin"
        site = next(folder.glob("lib/python*/site-packages"))
        install = [sys.executable, "-m", "pip", "--python", str(self.bin / "python"), "install"]
        options = ["-qq", "--no-deps", "--no-index", "--disable-pip-version-check"]
        subprocess.run([*install, *options, str(wheel)], check=True)
        # After its own packages, so that ours comes from the wheel and not from the checkout.
        (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
        self.env = {
            "PATH": f"{self.bin}:/usr/sbin:/sbin",
            "HOME": str(folder / "home"),
            "JUPYTER_PREFER_ENV_PATH": "1",
            "NO_COLOR": "1",
        }

    def run(self, *command: str) -> str:
        done = subprocess.run(
            [str(self.bin / "python"), *command],
            env=self.env,
            cwd=self.bin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, wheel: Path) -> Environment:
    return Environment(tmp_path_factory.mktemp("fresh") / "venv", wheel)


def test_the_wheel_carries_what_it_should_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    shared = "jupyter_aisec-{}.data/data/".format(wheel.name.split("-")[1])
    for name in (
        "jupyter_aisec/py.typed",
        "jupyter_aisec/broker/migrations/env.py",
        "jupyter_aisec/broker/migrations/versions/0001_ledger.py",
        "jupyter_aisec/broker/migrations/versions/0002_keyed_digests.py",
        "jupyter_aisec/notebooks/quickstart.ipynb",
        f"{shared}share/jupyter/labextensions/jupyter-aisec/package.json",
        f"{shared}share/jupyter/labextensions/jupyter-aisec/install.json",
        f"{shared}share/jupyter/kernels/aisec/kernel.json",
        f"{shared}etc/jupyter/jupyter_server_config.d/jupyter_aisec.json",
    ):
        assert name in names
    tops = {name.split("/")[0].removesuffix(".data").removesuffix(".dist-info") for name in names}
    assert tops == {"jupyter_aisec", shared.split(".data")[0]}
    assert not [name for name in names if name.startswith("jupyter_aisec/labextension")]


def test_there_is_no_node_in_the_fresh_environment(environment: Environment) -> None:
    code = "import shutil; print(shutil.which('node'))"
    assert environment.run("-c", code).strip() == "None"


def test_python_finds_the_wheel_and_not_the_checkout(environment: Environment) -> None:
    found = environment.run("-c", "import jupyter_aisec; print(jupyter_aisec.__file__)")
    assert Path(found.strip()).is_relative_to(environment.bin.parent)


def test_jupyter_finds_the_lab_extension(environment: Environment) -> None:
    listed = environment.run("-m", "jupyterlab.labextensions", "list")
    (line,) = [line for line in listed.splitlines() if "jupyter-aisec" in line]
    assert "enabled" in line
    assert "OK" in line


def test_jupyter_finds_the_server_extension(environment: Environment) -> None:
    listed = environment.run("-m", "jupyter_server.extension.serverextension", "list")
    after = listed.split("jupyter_aisec.server", 1)[1].splitlines()
    assert "enabled" in after[0]
    assert "OK" in listed.split("Validating jupyter_aisec.server...", 1)[1].splitlines()[1]


def test_jupyter_finds_the_secure_kernel(environment: Environment) -> None:
    listed = environment.run("-m", "jupyter_client.kernelspecapp", "list", "--json")
    spec = json.loads(listed[listed.index("{") :])["kernelspecs"]["aisec"]["spec"]
    assert spec["display_name"] == "Python 3 (secure)"
    assert spec["interrupt_mode"] == "message"


def test_ipython_finds_the_magics(environment: Environment) -> None:
    code = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "shell.run_line_magic('load_ext', 'jupyter_aisec')\n"
        "print(*shell.magics_manager.magics['line'])\n"
    )
    found = environment.run("-c", code).split()
    assert {"grant", "load_secure", "save_secure", "provenance"} <= set(found)


@pytest.mark.parametrize("name", ["aisec", "jupyter-aisec"])
def test_the_command_is_there(environment: Environment, name: str) -> None:
    assert os.access(environment.bin / name, os.X_OK)
    assert "Usage" in environment.run(str(environment.bin / name), "--help")


def test_the_entry_points_lead_somewhere(environment: Environment) -> None:
    code = (
        "from importlib.metadata import distribution\n"
        "for point in distribution('jupyter-aisec').entry_points:\n"
        "    print(point.group, point.load())\n"
    )
    found = environment.run("-c", code)
    for group in (
        "console_scripts",
        "fsspec.specs",
        "lightning.pytorch.callbacks_factory",
        "pytorch_lightning.callbacks_factory",
    ):
        assert f"\n{group} " in f"\n{found}"


def test_the_quickstart_finds_its_notebook_in_the_package(environment: Environment) -> None:
    found = environment.run(
        "-c", "from jupyter_aisec.cli import quickstart; print(quickstart._notebook())"
    )
    assert Path(found.strip()).is_relative_to(environment.bin.parent)


def test_a_broker_starts_its_tables_from_the_wheel(
    environment: Environment, tmp_path: Path
) -> None:
    key = tmp_path / "key.pem"
    environment.run(
        "-c",
        "import pathlib, sys; from jupyter_aisec.people import SigningKey\n"
        "pathlib.Path(sys.argv[1]).write_bytes(SigningKey.generate().public.pem())",
        str(key),
    )
    home = str(tmp_path / "broker")
    command = ("-m", "jupyter_aisec.cli", "broker", "init", "--home", home)
    environment.run(*command, "--admin", f"researcher={key}")
    assert "genesis_sha256" in environment.run(
        "-m", "jupyter_aisec.cli", "broker", "trust", "--home", home
    )


def test_gpu_facts_need_no_extra() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert any(line.startswith("nvidia-ml-py") for line in project["dependencies"])


@pytest.mark.parametrize(
    "lock", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda p: p.name
)
def test_a_lock_holds_hashes_and_names_no_registry(lock: Path) -> None:
    lines = lock.read_text().splitlines()
    assert not [line for line in lines if "://" in line or line.startswith(("-i ", "--"))]
    pinned = [line for line in lines if line[:1].isalnum()]
    assert pinned
    assert all("==" in line and line.endswith("\\") for line in pinned)
