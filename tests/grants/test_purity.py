"""The room is pure, and every refusal has a code."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import jupyter_aisec.grants as grants
from jupyter_aisec.grants import (
    approvals,
    artifacts,
    bindings,
    decisions,
    enrolments,
    persons,
    policies,
    requests,
)

FOLDER = Path(inspect.getfile(grants)).parent
ALLOWED = {
    "__future__",
    "base64",
    "binascii",
    "collections",
    "collections.abc",
    "datetime",
    "fnmatch",
    "hashlib",
    "msgspec",
    "re",
    "tomllib",
    "typing",
}
OURS = ("errors", "times", "urls", "people", "ledger", "grants")
CLOCKS = {"now", "utcnow", "today", "time_ns", "urandom", "open"}


def test_the_room_imports_nothing_above_it_and_reads_no_clock_file_or_chance() -> None:
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert {name.name for name in node.names} <= ALLOWED, path.name
            elif isinstance(node, ast.ImportFrom):
                module = node.module or ""
                room = module.split(".")[1] if module.startswith("jupyter_aisec.") else ""
                assert module in ALLOWED or room in OURS, (path.name, module)
            elif isinstance(node, ast.Attribute | ast.Name):
                called = node.attr if isinstance(node, ast.Attribute) else node.id
                if isinstance(node, ast.Attribute) or called == "open":
                    assert called not in CLOCKS, (path.name, called)


def test_every_fault_has_a_code_of_its_own_name() -> None:
    for module in (
        approvals, artifacts, bindings, decisions, enrolments, persons, policies, requests,
    ):  # fmt: skip
        for node in ast.walk(ast.parse(inspect.getsource(module))):
            if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
                named = {word.arg for word in node.exc.keywords}
                assert not node.exc.keywords or "code" in named, ast.unparse(node)
