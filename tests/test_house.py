"""The walls of the house (docs/architecture.md): imports, purity, circles, faces, sizes."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
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
# Of these modules, what only names things.
HARMLESS = frozenset({"http.HTTPStatus"})
CLOCK_CALLS = frozenset({"now", "today", "utcnow"})


# One table that has to be one program: each row runs inside the confinement, on its own.
LONG_TABLES = frozenset({"tests/confine/ways_out.py"})


# The package's own face loads these when they are used: see its `__getattr__` and the extension.
LAZY_FACE = frozenset({"kernel"})
BASE_WALLS = {
    **{base: BASE if base in WORLDLY else BASE - WORLDLY for base in BASE},
    "__init__": LAZY_FACE,
}


def sources(place: str) -> list[Path]:
    """The files of a room, or the one of a base module."""
    single = PACKAGE / f"{place}.py"
    return [single] if single.is_file() else sorted((PACKAGE / place).rglob("*.py"))


FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}
PACKAGES = sorted({".".join(path.relative_to(ROOT).parts[:-1]) for path in FILES.values()})


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


@pytest.mark.parametrize("place", [*ROOMS, *sorted(BASE_WALLS)])
def test_imports_point_down(place: str) -> None:
    allowed = WALLS[place] | BASE | {place} if place in WALLS else BASE_WALLS[place]
    wrong = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(place)
        for name in rooms_imported(path) & (set(ROOMS) | BASE)
        if name not in allowed
    }
    assert not wrong


def test_the_files_leave_no_circle() -> None:
    """Whatever the import is for: types only and inside functions count too."""
    graph = {
        name: {target for one in imported(path) if (target := file_of(one)) not in (None, name)}
        for name, path in FILES.items()
    }
    assert any(graph.values())
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def file_of(imported_name: str) -> str | None:
    """The file that an imported name is, or is in; None if it is not one of ours."""
    parent = imported_name.rpartition(".")[0]
    return next((name for name in (imported_name, parent) if name in FILES), None)


@pytest.mark.parametrize("place", sorted(PURE | BASE - WORLDLY))
def test_pure_code_knows_no_clock_no_chance_and_no_world(place: str) -> None:
    wrong = []
    for path in sources(place):
        where = path.relative_to(ROOT)
        wrong += [
            f"{where} imports {name}"
            for name in imported(path)
            if name.split(".")[0] in WORLD and name not in HARMLESS
        ]
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


PINNED = tomllib.loads((ROOT / "tests" / "public_names.toml").read_text())


def test_every_package_is_pinned() -> None:
    assert sorted(PINNED) == PACKAGES


@pytest.mark.parametrize("package", PACKAGES)
def test_the_face_of_every_package_is_pinned(package: str) -> None:
    """A name that users and other rooms may rely on comes and goes by an edit of this list."""
    pinned = PINNED[package]
    module = importlib.import_module(package)
    assert sorted(getattr(module, "__all__", [])) == sorted(pinned)
    missing = [name for name in pinned if not hasattr(module, name)]
    assert not missing
    # What a package defines itself is public whether or not it says so.
    own = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == package
    }
    assert own <= set(pinned)
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
