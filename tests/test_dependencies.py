"""What the code imports is declared, and what is declared is enough.

The environment of the tests has every package there is, so that nothing missing would show
in it. So each declaration is tried with all other packages out of reach, in a process that
finds only what an installation of it brings (``.ci/install`` installs it for real).
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "jupyter_aisec"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
#: The extra without which a room is not used (README, "Install"); the others need none.
NEEDS = {"broker": "broker", "server": "lab"}
# Only inside of functions that say so when it is missing, each with why it is not declared.
OPTIONAL = {
    ("cli", "sklearn"): "the quickstart's dataset: the extra `demo`",
    ("cli", "pyarrow"): "the quickstart's dataset: the extra `demo`",
    ("kernel", "pyarrow"): "tables: the extra `tables`",
    ("sealed", "pyarrow"): "tables: the extra `tables`",
    ("sealed", "torch"): "only if whoever loads weights has it",
    ("provenance", "torch"): "only if whoever trains has it",
}
# A file that is imported only where somebody else's package is there.
THEIRS = {("server/ystore.py", "pycrdt"): "with jupyter-collaboration, whose history it replaces"}
# Another name for a part of a declared package, which pins it to the byte.
PARTS = {"pydantic-core": "pydantic"}


def declared(extra: str | None) -> list[str]:
    return [*PROJECT["dependencies"], *(EXTRAS[extra] if extra else ())]


def direct(extra: str | None) -> set[str]:
    return {canonicalize_name(Requirement(one).name) for one in declared(extra)}


def closure(requirements: list[str]) -> set[str]:
    """The distributions that an installation of these brings here, by canonical name."""
    found: set[str] = set()
    seen: set[tuple[str, str]] = set()
    todo = [(Requirement(one), "") for one in requirements]
    while todo:
        one, extra = todo.pop()
        if one.marker is not None and not one.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(one.name)
        for wanted in ("", *one.extras):
            if (name, wanted) in seen:
                continue
            seen.add((name, wanted))
            try:
                more = requires(name) or []
            except PackageNotFoundError:
                pytest.fail(f"{name} is not installed here: make setup-dev")
            found.add(name)
            todo += [(Requirement(line), wanted) for line in more]
    return found


def third_party(path: Path) -> Iterator[tuple[str, bool]]:
    """Top-level names of others that a file imports, and whether inside of a function."""

    def walk(node: ast.AST, inside: bool) -> Iterator[tuple[str, bool]]:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names = [node.module]
        for top in {name.split(".")[0] for name in names}:
            if top not in sys.stdlib_module_names and top != "jupyter_aisec":
                yield top, inside
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, inside)

    yield from walk(ast.parse(path.read_bytes()), False)


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted({room_of(path) for path in FILES})
BASE_ROOMS = [room for room in ROOMS if room not in NEEDS]


@pytest.mark.parametrize("room", ROOMS)
def test_what_a_room_imports_is_declared(room: str) -> None:
    distributions = packages_distributions()
    allowed = direct(NEEDS.get(room))
    wrong = set()
    for path in (one for one in FILES if room_of(one) == room):
        where = path.relative_to(PACKAGE).as_posix()
        for top, inside in third_party(path):
            names = {canonicalize_name(name) for name in distributions.get(top, ())}
            names |= {PARTS[name] for name in names if name in PARTS}
            optional = (inside and (room, top) in OPTIONAL) or (where, top) in THEIRS
            if not names & allowed and not optional:
                wrong.add(f"{where} imports {top}")
    assert not wrong


BLOCKED = """
import sys
ours, allowed = {"jupyter_aisec"}, set(json.loads(sys.argv[1]))
class Reached:
    def __init__(self, finders):
        self.finders = finders
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        known = top in allowed or top in ours or top in sys.stdlib_module_names
        if known or top.startswith("_sysconfigdata"):  # of the standard library, and unlisted
            found = (one.find_spec(name, path, target) for one in self.finders)
            return next((spec for spec in found if spec is not None), None)
    def find_distributions(self, *context):
        for one in self.finders:
            yield from getattr(one, "find_distributions", lambda *_: ())(*context)
for name in [name for name in sys.modules if name.partition(".")[0] not in allowed]:
    top = name.partition(".")[0]
    if top not in sys.stdlib_module_names and top not in {"__main__", "__mp_main__"}:
        del sys.modules[name]  # what a path file of the environment loaded
sys.meta_path[:] = [Reached(list(sys.meta_path))]
"""


def run(extra: str | None, code: str) -> str:
    """``code`` where only the base dependencies, and those of ``extra``, can be imported."""
    reached = closure(declared(extra))
    allowed = [
        top
        for top, names in packages_distributions().items()
        if any(canonicalize_name(name) in reached for name in names)
    ]
    done = subprocess.run(
        [sys.executable, "-c", f"import json{BLOCKED}{code}", json.dumps(allowed)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def modules(rooms: list[str]) -> list[str]:
    """Every module of these rooms but those for somebody else's package, and what runs."""
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in FILES
        if room_of(path) in rooms
        and path.stem != "__main__"
        and "migrations" not in path.parts
        and not any(path.relative_to(PACKAGE).as_posix() == where for where, _ in THEIRS)
    ]


def test_what_is_not_declared_is_out_of_reach() -> None:
    """The other tests below could not fail otherwise."""
    for hidden in ("fastapi", "jupyter_server", "pyarrow", "pandas", "torch", "pytest"):
        code = f"try:\n import {hidden}\nexcept ModuleNotFoundError:\n print('refused')"
        assert run(None, code) == "refused\n", hidden


def test_the_base_installation_imports_all_that_needs_no_extra() -> None:
    names = modules(BASE_ROOMS)
    assert {"jupyter_aisec.client.kernel", "jupyter_aisec.kernel.magics"} <= set(names)
    run(None, f"import importlib\nfor name in {names!r}: importlib.import_module(name)")


def test_the_base_installation_has_the_command() -> None:
    said = run(None, "from jupyter_aisec.cli import main\nsys.exit(main(['--help']))")
    commands = re.findall(r"^\W{1,4}([a-z-]+) ", said.partition("Commands")[2], re.MULTILINE)
    assert {"grant", "broker", "quickstart"} <= set(commands)
    code = "".join(f"assert main([{one!r}, '--help']) == 0\n" for one in commands)
    run(None, f"from jupyter_aisec.cli import main\n{code}")


def test_the_base_installation_has_the_magics() -> None:
    code = (
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\n"
        "shell.run_line_magic('load_ext', 'jupyter_aisec')\n"
        "print(*shell.magics_manager.magics['line'])\n"
    )
    assert {"grant", "load_secure", "save_secure", "provenance"} <= set(run(None, code).split())


@pytest.mark.parametrize(("room", "extra"), NEEDS.items())
def test_a_room_needs_its_extra_and_nothing_else(room: str, extra: str) -> None:
    names = modules([room])
    code = f"import importlib\nfor name in {names!r}: importlib.import_module(name)"
    run(extra, code)
    with pytest.raises(AssertionError, match="ModuleNotFoundError"):
        run(None, code)


def test_a_broker_is_made_with_its_extra_alone(tmp_path: Path) -> None:
    """Its migrations are loaded by Alembic, and by no import."""
    code = (
        "from pathlib import Path\n"
        "from jupyter_aisec.broker import Config, genesis, open_broker\n"
        "from jupyter_aisec.ledger.bodies import Founder\n"
        "from jupyter_aisec.people import SigningKey\n"
        f"home = Path({str(tmp_path / 'home')!r})\n"
        "key = SigningKey.generate().public\n"
        "genesis.create(home, [Founder(name='a', roles=('admin',), key=key)])\n"
        "open_broker(home, Config()).close()\n"
    )
    run("broker", code)


def test_tables_need_their_extra_and_say_so() -> None:
    code = (
        "from jupyter_aisec.errors import UsageError\n"
        "from jupyter_aisec.sealed.tables import need_package\n"
        "try:\n need_package('pyarrow')\n print('there')\n"
        "except UsageError as error:\n print(error.code)\n"
    )
    assert run("tables", code) == "there\n"
    assert run(None, code) == "package-missing\n"


def test_every_extra_names_an_installable_part() -> None:
    """Those with no code behind them yet are known, so that none is forgotten here."""
    tried = {*NEEDS.values(), "tables"}
    ahead = {"openbao", "aws", "hsm"}  # key stores to come (DESIGN.md, "Parts we stand on")
    sums = {"demo", "dev"}  # of the others, with what the walk and the tests use
    assert set(EXTRAS) == tried | ahead | sums
