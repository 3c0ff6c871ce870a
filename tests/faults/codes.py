"""The codes of all errors that the package raises, read from its source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import jupyter_aisec
from jupyter_aisec import errors
from jupyter_aisec.errors import AisecError
from jupyter_aisec.ledger.bodies import EndedWhy

PACKAGE = Path(jupyter_aisec.__file__).parent


def _calls() -> Iterator[ast.Call]:
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call):
                yield node


def _texts(node: ast.AST) -> Iterator[str]:
    for one in ast.walk(node):
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value


def _argument(call: ast.Call, name: str) -> ast.expr | None:
    return next((one.value for one in call.keywords if one.arg == name), None)


def codes() -> set[str]:
    """Every code that is written out: ``code="…"``, and the class's own where there is none."""
    kinds = {name: getattr(errors, name) for name in errors.__all__}
    found = set()
    for call in _calls():
        code = _argument(call, "code")
        if isinstance(code, ast.Constant | ast.IfExp | ast.BoolOp):
            found |= {text for text in _texts(code) if " " not in text}
        if isinstance(code, ast.JoinedStr):  # grant-denied and its like: by why a grant ended
            assert next(_texts(code)) == "grant-", ast.unparse(call)
            found |= {f"grant-{why}" for why in get_args(EndedWhy)}
        kind = kinds.get(getattr(call.func, "id", ""))
        if kind is not None and (code is None or isinstance(code, ast.IfExp)):
            assert issubclass(kind, AisecError)
            found.add(kind.default_code)
        if getattr(call.func, "attr", "") == "_broken":  # the code goes through a helper
            found |= set(_texts(call.args[-1]))
    return found


def advice() -> set[str]:
    """Every ``next=``, with ``{}`` for what is put in when it is printed."""
    found = set()
    for call in _calls():
        text = _argument(call, "next")
        if text is not None:
            found.add("".join(_pieces(text)))
    return found


def _pieces(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant):
        yield str(node.value)
    elif isinstance(node, ast.JoinedStr):
        for part in node.values:
            yield from _pieces(part) if isinstance(part, ast.Constant) else ("{}",)
    elif isinstance(node, ast.BinOp):
        yield from _pieces(node.left)
        yield from _pieces(node.right)
    elif isinstance(node, ast.IfExp):
        yield from _pieces(node.body)
        yield " "
        yield from _pieces(node.orelse)


def constants() -> set[str]:
    """Every text of the package that has the form of a code."""
    return {
        text
        for file in sorted(PACKAGE.rglob("*.py"))
        for text in _texts(ast.parse(file.read_text()))
        if re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", text)
    }
