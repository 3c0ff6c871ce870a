"""The walls of the house (docs/architecture.md): imports, purity, faces, sizes."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jupyter_aisec"
PURE = frozenset({"people", "ledger", "grants"})
WORLDLY = frozenset({"ids", "files", "secrets"})  # clock, disk, keyring: not for the pure rooms
BASE = frozenset({"errors", "lazy", "texts", "times", "urls"}) | WORLDLY
#: What each room may import besides itself and the base modules: always something below it.
WALLS: dict[str, frozenset[str]] = {
    "people": frozenset(),
    "ledger": frozenset({"people"}),
    "grants": frozenset({"people", "ledger"}),
    "sealed": frozenset({"people"}),
    "provenance": PURE | {"sealed"},
    "record": PURE | {"provenance"},
    "confine": frozenset(),
    "client": PURE | {"sealed"},
    "broker": PURE | {"sealed", "provenance"},
    "kernel": PURE | {"client", "sealed", "record", "confine", "provenance"},
    "server": PURE | {"client", "sealed"},
    "cli": PURE
    | {"client", "sealed", "record", "confine", "provenance", "broker", "kernel", "server"},
}
ROOMS = sorted(WALLS)
# Clock, chance, files, processes, network: by the module that brings them.
WORLD = frozenset(
    {
        "asyncio",
        "concurrent",
        "fsspec",
        "glob",
        "http",
        "httpx",
        "io",
        "multiprocessing",
        "os",
        "pathlib",
        "random",
        "requests",
        "secrets",
        "shutil",
        "signal",
        "socket",
        "sqlite3",
        "ssl",
        "subprocess",
        "sys",
        "tempfile",
        "threading",
        "time",
        "tornado",
        "urllib",
        "urllib3",
        "uuid",
    }
)
CLOCK_CALLS = frozenset({"now", "today", "utcnow"})


# One table that has to be one program: each row runs inside the confinement, on its own.
LONG_TABLES = frozenset({"tests/confine/ways_out.py"})


def sources(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """The full names of everything a file imports, wherever in the file."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module) if part)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def rooms_imported(path: Path) -> set[str]:
    """The rooms and base modules that a file imports."""
    names = (name.split(".") for name in imported(path))
    return {name[1] for name in names if name[0] == "jupyter_aisec" and len(name) > 1}


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def test_every_room_has_walls() -> None:
    found = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert found == set(ROOMS)
    assert {path.stem for path in PACKAGE.glob("*.py")} == BASE | {"__init__"}


def test_the_walls_leave_no_circle() -> None:
    order = list(TopologicalSorter(WALLS).static_order())
    assert sorted(order) == ROOMS


@pytest.mark.parametrize("room", ROOMS)
def test_imports_point_down(room: str) -> None:
    allowed = WALLS[room] | BASE | {room}
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(room)
        for name in rooms_imported(path) & (set(ROOMS) | BASE)
        if name not in allowed
    }
    assert not wrong


@pytest.mark.parametrize("room", sorted(PURE))
def test_pure_rooms_know_no_clock_no_chance_and_no_world(room: str) -> None:
    wrong = []
    for path in sources(room):
        where = path.relative_to(ROOT)
        wrong += [f"{where} imports {n}" for n in imported(path) if n.split(".")[0] in WORLD]
        wrong += [f"{where} imports {name}" for name in rooms_imported(path) & WORLDLY]
        for node in ast.walk(ast.parse(path.read_bytes())):
            if not isinstance(node, ast.Call):
                continue
            if isinstance(node.func, ast.Name) and node.func.id in ("open", "print", "input"):
                wrong.append(f"{where}:{node.lineno} calls {node.func.id}")
            if isinstance(node.func, ast.Attribute) and node.func.attr in CLOCK_CALLS:
                wrong.append(f"{where}:{node.lineno} calls {node.func.attr}")
    assert not wrong


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, jupyter_aisec; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    heavy = {"torch", "pandas", "pyarrow", "requests", "ipywidgets", "fastapi", "cryptography"}
    assert not heavy & set(done.stdout.split())


@pytest.mark.parametrize("package", ["jupyter_aisec", *(f"jupyter_aisec.{r}" for r in ROOMS)])
def test_the_face_of_every_package_is_pinned(package: str) -> None:
    """A name that users and other rooms may rely on comes and goes by an edit of this list."""
    pinned = tomllib.loads((ROOT / "tests" / "public_names.toml").read_text())[package]
    module = importlib.import_module(package)
    assert sorted(getattr(module, "__all__", [])) == sorted(pinned)
    missing = [name for name in pinned if not hasattr(module, name)]
    assert not missing
    if hasattr(module, "__getattr__") and package != "jupyter_aisec.kernel":
        # What loads a name when it is used is not asked where a module already has the name.
        modules = {path.stem for path in (ROOT / package.replace(".", "/")).glob("*")}
        assert not modules & set(pinned)


def test_a_file_is_one_noun_and_under_500_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in tracked()
        if path.suffix in (".py", ".ts", ".tsx")
        and str(path.relative_to(ROOT)) not in LONG_TABLES
        and (lines := len(path.read_text().splitlines())) >= 500
    }
    assert not long


def test_no_registry_host_and_no_path_of_one_machine_is_tracked() -> None:
    # In two halves, so that this file passes its own test.
    hosts = (
        "pypi" + r"\.org",
        "python" + "hosted",
        "registry" + r"\.npmjs",
        "registry" + r"\.yarn",
    )
    paths = ("/wo" + "rk/", "/opt/" + "pypi", "/root/" + r"\.")
    pattern = re.compile("|".join((*hosts, *paths)))
    wrong = []
    for path in tracked():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        wrong += [
            f"{path.relative_to(ROOT)}:{number}"
            for number, line in enumerate(text.splitlines(), 1)
            if pattern.search(line)
        ]
    assert not wrong
