"""What people type after the magics, as values. Pure: reads text, does nothing.

The options are those of the ``aisec`` command line, so that what works there works here.
"""

from __future__ import annotations

import argparse
import keyword
import shlex
from typing import Any, NoReturn

import msgspec

from jupyter_aisec.errors import UsageError
from jupyter_aisec.times import parse_duration

__all__ = [
    "FORMATS",
    "GrantCommand",
    "HelpShown",
    "LoadCommand",
    "OpenCommand",
    "SaveCommand",
    "parse_grant",
    "parse_load",
    "parse_open",
    "parse_save",
]

FORMATS = ("pandas", "polars", "arrow", "torch", "dataset", "bytes")
_ELSEWHERE = ("approve", "review", "deny", "revoke")  # never from inside a kernel
VERBS = ("list", "show", "request", "withdraw", "return", "extend", *_ELSEWHERE)


class GrantCommand(msgspec.Struct, frozen=True, kw_only=True):
    """``%grant VERB …``. Times are whole seconds."""

    verb: str
    names: tuple[str, ...] = ()  # artifacts to request, else the grant
    seconds: int = 0
    reason: str = ""
    pending: bool = False
    wait: bool = False
    break_glass: bool = False


class LoadCommand(msgspec.Struct, frozen=True, kw_only=True):
    """``%load_secure NAME as VAR …``."""

    artifact: str
    variable: str
    format: str | None = None
    into: str | None = None
    device: str | None = None
    columns: tuple[str, ...] | None = None
    version: int | None = None
    wait: bool = True


class SaveCommand(msgspec.Struct, frozen=True, kw_only=True):
    """``%save_secure EXPRESSION as NAME …``."""

    expression: str
    artifact: str
    labels: tuple[str, ...] = ()


class OpenCommand(msgspec.Struct, frozen=True, kw_only=True):
    """``%open_outputs NOTEBOOK …``. The first cell is 1."""

    notebook: str
    cell: int | None = None


class HelpShown(Exception):
    """``--help`` was typed, and printed: there is nothing else to do."""


class _Parser(argparse.ArgumentParser):
    """argparse that raises our error instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        usage = self.format_usage().removeprefix("usage: ").removeprefix("%").strip()
        quote = "Quote what has spaces. " if message.startswith("unrecognized arguments") else ""
        raise UsageError(
            f"%{self.prog}: {message}.",
            next=f"{quote}It is written %{usage}: `%{self.prog} --help` explains it.",
            code="magic-usage",
        )

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise HelpShown


def _split(line: str, magic: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageError(
            f"%{magic}: {error}.",
            next=f"Close the quotation mark; `%{magic} --help` explains the rest.",
            code="magic-usage",
        ) from None


def parse_grant(line: str) -> GrantCommand:
    """The line after ``%grant``; with nothing there it lists. Raises UsageError."""
    parser = _Parser(prog="grant", description="Ask for artifacts, and see what you may open.")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=_Parser)
    listing = verbs.add_parser("list", prog="grant list")
    listing.add_argument("--pending", action="store_true")
    request = verbs.add_parser("request", prog="grant request")
    request.add_argument("names", nargs="+", metavar="NAME")
    _add_asking(request)
    request.add_argument("--wait", action="store_true")
    extend = verbs.add_parser("extend", prog="grant extend")
    extend.add_argument("names", nargs="?", metavar="GRANT")
    _add_asking(extend)
    for verb in ("show", "withdraw", "return"):
        other = verbs.add_parser(verb, prog=f"grant {verb}")
        other.add_argument("names", nargs="?", metavar="GRANT")
        other.add_argument("--reason", default="")
    for verb in _ELSEWHERE:  # says where instead
        other = verbs.add_parser(verb, prog=f"grant {verb}")
        other.add_argument("names", nargs="?", metavar="GRANT")
        other.add_argument("rest", nargs=argparse.REMAINDER)
    options = vars(parser.parse_args(_split(line, "grant")))
    names = options.get("names") or ()
    return GrantCommand(
        verb=options["verb"] or "list",
        names=(names,) if isinstance(names, str) else tuple(names),
        seconds=int(parse_duration(options["time"]).total_seconds()) if "time" in options else 0,
        reason=options.get("reason", ""),
        pending=options.get("pending", False),
        wait=options.get("wait", False),
        break_glass=options.get("break_glass", False),
    )


def _add_asking(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--for", dest="time", required=True, metavar="TIME", help="such as 2h")
    parser.add_argument("--reason", required=True)
    parser.add_argument("--break-glass", action="store_true")


def parse_load(line: str) -> LoadCommand:
    """The line after ``%load_secure``. Raises UsageError."""
    parser = _Parser(prog="load_secure", usage="%%load_secure NAME as VAR [options]")
    parser.add_argument("artifact")
    parser.add_argument("as_", metavar="as", choices=["as"])
    parser.add_argument("variable")
    parser.add_argument("--format", choices=FORMATS)
    parser.add_argument("--into")
    parser.add_argument("--device")
    parser.add_argument("--columns")
    parser.add_argument("--version", type=int)
    parser.add_argument("--no-wait", dest="wait", action="store_false")
    options: dict[str, Any] = vars(parser.parse_args(_split(line, "load_secure")))
    del options["as_"]
    columns = options.pop("columns")
    if not options["variable"].isidentifier() or keyword.iskeyword(options["variable"]):
        parser.error(f"{options['variable'][:40]!r} is not a variable's name")
    named = None if columns is None else tuple(name.strip() for name in columns.split(","))
    if named is not None and "" in named:
        parser.error("--columns names no column, or an empty one")
    return LoadCommand(columns=named, **options)


def parse_open(line: str) -> OpenCommand:
    """The line after ``%open_outputs``. Raises UsageError."""
    parser = _Parser(prog="open_outputs", usage="%%open_outputs NOTEBOOK.ipynb [--cell N]")
    parser.add_argument("notebook")
    parser.add_argument("--cell", type=int)
    return OpenCommand(**vars(parser.parse_args(_split(line, "open_outputs"))))


def parse_save(line: str) -> SaveCommand:
    """The line after ``%save_secure``: an expression, ``as``, a name. Raises UsageError."""
    parser = _Parser(prog="save_secure", usage="%%save_secure EXPRESSION as NAME [--label L]")
    if line.split() in (["-h"], ["--help"]):
        parser.print_help()
        parser.exit()
    # The expression is Python and stays as it is typed; what follows the last " as " is ours.
    expression, separator, rest = line.rpartition(" as ")
    if not separator or not expression.strip():
        parser.error("say what to save as what")
    parser.add_argument("artifact")
    parser.add_argument("--label", action="append", default=[])
    options = parser.parse_args(_split(rest, "save_secure"))
    return SaveCommand(
        expression=expression.strip(), artifact=options.artifact, labels=tuple(options.label)
    )
