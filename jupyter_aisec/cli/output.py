"""What the command line prints: for people, or JSON for programs; errors in two lines.

Text that others wrote (a reason, a name) is shown with every character that does not print
escaped, so that it cannot move the cursor, recolour the screen or reverse a line.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jupyter_aisec.errors import AisecError, UsageError
from jupyter_aisec.texts import printable

__all__ = [
    "Json",
    "as_json",
    "confirm",
    "emit",
    "fields",
    "note",
    "safe",
    "say",
    "show_error",
    "table",
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
_CELL = 40  # columns of a cell on a screen that is too narrow for all of it
_WIDEST = 10_000
_LONGEST = 1_000  # characters of what happened
_WIDE = 200  # columns where the output is not a terminal: nothing is cut for a narrow screen


def safe(text: object) -> str:
    """``text`` on one line, with what does not print (escapes, bidi controls) spelled out."""
    return printable(str(text))


def as_json(data: Any, *, indent: int | None = None) -> str:
    """``data`` as JSON in which what does not print is escaped; the same data when read."""
    encoded = msgspec.json.encode(data)
    if indent is not None:
        encoded = msgspec.json.format(encoded, indent=indent)
    # Outside of strings JSON has nothing that does not print but the line ends of its layout.
    return "".join(
        char if char.isprintable() or char == "\n" else _escape(char) for char in encoded.decode()
    )


def _escape(char: str) -> str:
    """A character as RFC 8259, section 7, spells it: in UTF-16 code units."""
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def say(human: str | Table) -> None:
    """Lines or a table for people, on standard output; the caller made others' text ``safe``."""
    console = _console(sys.stdout)
    if isinstance(human, str):
        console.print(Text(human), soft_wrap=True)
    else:
        _fit(human, console)
        console.print(human)


def note(text: str) -> None:
    """A line for people on standard error, where it does not disturb a program's input."""
    _console(sys.stderr).print(Text(text), soft_wrap=True)


def emit(data: Any, json: bool, human: str | Table = "") -> None:
    """``data`` as JSON if ``json``, else ``human``: see :func:`say`."""
    if json:
        sys.stdout.write(as_json(data, indent=2) + "\n")
        sys.stdout.flush()
    else:
        say(human)


def _fit(drawn: Table, console: Console) -> None:
    """Lets a narrow screen wrap lines: Rich would leave out what it has no room for."""
    caps = [column.max_width for column in drawn.columns]
    for column in drawn.columns[1:]:
        column.max_width = _CELL
    needed = console.measure(drawn, options=console.options.update(max_width=_WIDEST)).maximum
    if needed > console.width:
        console.width = needed
        return
    for column, cap in zip(drawn.columns, caps, strict=True):
        column.max_width = cap


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A plain table; every cell is shown ``safe``, and wrapped where the screen is narrow.

    The first column is what the next command is given: it stays on one line.
    """
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for number, column in enumerate(columns):
        drawn.add_column(column, overflow="fold", no_wrap=number == 0)
    for row in rows:
        drawn.add_row(*(Text(safe("" if cell is None else cell)) for cell in row))
    return drawn


def fields(pairs: Iterable[tuple[str, object]]) -> Table:
    """Names and values, one pair a line; pairs without a value are left out."""
    drawn = Table(box=None, pad_edge=False, show_header=False)
    for name, value in pairs:
        if value not in (None, "", ()):
            drawn.add_row(Text(name, style="bold"), Text(safe(value)))
    return drawn


def confirm(question: str, yes: bool) -> None:
    """Ask on standard error; raises typer.Exit(1) unless the answer, or ``yes``, is yes.

    Raises UsageError where nobody can answer: no terminal, and nothing piped in.
    """
    if yes:
        return
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort:
        if sys.stdin.isatty():
            raise  # Ctrl-C, or Ctrl-D
        note("")  # ends the line of the question
        raise UsageError(
            "Nobody answered: nothing was signed.",
            next="Run it in a terminal, or add --yes once you have read what it shows.",
            code="not-confirmed",
        ) from None
    if not agreed:
        note("Nothing was signed.")
        raise typer.Exit(1)


def show_error(error: AisecError, json: bool) -> None:
    """What happened and what to do next, on standard error; with ``json`` an RFC 9457 problem."""
    if json:
        sys.stderr.write(as_json(error.problem()) + "\n")
        return
    what = error.what
    if len(what) > _LONGEST:  # a whole file was given for a name, say
        what = f"{what[: _LONGEST // 2]} … {what[-_LONGEST // 4 :]}"
    sys.stderr.write(f"aisec: {safe(what)}\n")
    if error.next:
        sys.stderr.write(f"  next: {safe(error.next)}\n")


def _console(file: Any) -> Console:
    width = None if file.isatty() else _WIDE
    return Console(file=file, width=width, markup=False, highlight=False, emoji=False)
