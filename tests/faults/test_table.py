"""The table is complete, its page is current, and no advice names a command that is not there."""

from __future__ import annotations

import ast
import re
import shlex
from collections import Counter
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import typer.main

from jupyter_aisec.cli import main
from jupyter_aisec.cli.main import app
from tests.faults.codes import advice, codes, constants
from tests.faults.make_docs import DOCS, page
from tests.faults.table import ROWS, rows, without_rows

HERE = Path(__file__).parent


def test_the_page_is_the_table() -> None:
    assert DOCS.read_text() == page(), "run: python -m tests.faults.make_docs"


def test_every_row_has_one_test() -> None:
    tests = Counter(
        node.name.removeprefix("test_").replace("_", "-")
        for file in HERE.glob("test_*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and "row" in {one.arg for one in node.args.args}
    )
    assert tests == Counter(row.id for row in rows())


def test_every_code_of_a_row_is_raised_somewhere() -> None:
    assert {row.code for row in ROWS.values()} <= constants()


def test_every_code_has_a_row_or_a_reason() -> None:
    listed = [code for some in without_rows().values() for code in some]
    assert [code for code, times in Counter(listed).items() if times > 1] == []
    with_row = {row.code for row in ROWS.values()}
    assert codes() - with_row - set(listed) == set(), "these have neither"
    assert set(listed) & with_row == set(), "these have both"
    assert set(listed) - constants() == set(), "these are raised nowhere"


def test_the_entry_point_is_what_the_tests_call() -> None:
    (found,) = entry_points(group="console_scripts", name="aisec")
    assert found.load() is main


COMMANDS = sorted(
    {
        command
        for text in (*advice(), *(row.next for row in rows()))
        for command in re.findall(r"`(aisec [^`]+)`", text)
    }
)


@pytest.mark.parametrize("text", COMMANDS)
def test_advice_names_a_command_with_options_that_exist(text: str) -> None:
    """As far as it is written: some texts name a command without what follows it."""
    command: Any = typer.main.get_command(app)
    words = shlex.split(text.replace("{}", "x").replace("…", "x"))[1:]
    while hasattr(command, "commands") and words and words[0] != "x":
        if words[0] not in command.commands and hasattr(command, "default"):
            break  # what follows is for its first command
        assert words[0] in command.commands, f"no such command: {text}"
        command = command.commands[words.pop(0)]
    command = command.commands[command.default] if hasattr(command, "default") else command
    options = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
    given = {word.partition("=")[0] for word in words if word.startswith("--")} - {"--"}
    assert given <= options | {"--help"}, f"no such option: {text}"
