"""The command's root: gathers the nouns, and turns every error into two lines and a code.

Exit code 0: done; 1: refused or failed; 2: the command was not understood.
"""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

from jupyter_aisec.cli import (
    artifact,
    audit,
    broker,
    declassify,
    doctor,
    grant,
    key,
    person,
    policy,
    quickstart,
    run,
    session,
    verify,
)
from jupyter_aisec.cli.help import Commands
from jupyter_aisec.cli.output import say, show_error
from jupyter_aisec.errors import AisecError, UsageError

__all__ = ["app", "main"]

_INTERRUPTED = 130

app = typer.Typer(
    name="aisec",
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    rich_markup_mode=None,
)
for noun in (broker, person, key, artifact, grant, run, audit, policy, declassify):
    app.add_typer(noun.app, name=noun.__name__.rpartition(".")[2])
app.command()(quickstart.quickstart)
app.command()(session.login)
app.command()(session.whoami)
app.command()(doctor.doctor)
app.command()(verify.verify)


def _show_version(wanted: bool) -> None:
    if wanted:
        from jupyter_aisec import __version__

        say(f"aisec {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Its version.")
    ] = False,
) -> None:
    """Two-party access to sealed weights and datasets, with a verifiable chain of custody."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code and never raises."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    json = "--json" in given
    if sys.stdout is None:  # closed by the caller (``>&-``), who wants none of it
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - as long as the process
    try:
        _check(given)
        code = app(args=given, prog_name="aisec", standalone_mode=False)
        sys.stdout.flush()
        if code == _INTERRUPTED:  # typer caught the Ctrl-C before us
            raise KeyboardInterrupt
        return code if isinstance(code, int) else 0
    except TyperException as error:
        usage = UsageError(error.format_message(), next=f"See `{_path(error)} --help`.")
        show_error(usage, json)
        return usage.exit_code
    except AisecError as error:
        show_error(error, json)
        return error.exit_code
    except (Abort, KeyboardInterrupt):
        show_error(AisecError("Interrupted.", code="interrupted"), json)
        return 1
    except BrokenPipeError:  # the reader of a pipe had enough
        sys.stdout = None  # nothing is left to flush at exit
        return 1
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            show_error(_TOO_LONG, json)
            return _TOO_LONG.exit_code
        if error.errno not in _NO_OUTPUT or error.filename is not None:
            show_error(_fault(error), json)
        else:
            show_error(_unwritten(error), json)
        return 1
    except Exception as error:  # a fault of ours: say so in our form, never as a traceback
        show_error(_fault(error), json)
        return 1


def _check(given: Sequence[str]) -> None:
    """Refuses what nobody types on purpose: in a script it is a variable that was not set.

    An empty ``--for`` would approve the whole time that was asked for, and an empty folder be
    the one that the script runs in.
    """
    own = given[: given.index("--")] if "--" in given else given  # what follows is not ours
    for before, text in zip(("", *own), own, strict=False):
        if not text or _EMPTY_OPTION.fullmatch(text):
            option = text.rstrip("=") or (before if before.startswith("-") else "")
            raise UsageError(
                f"Nothing follows {option}." if option else "An argument is empty.",
                next="Is a variable not set? Say what you mean, or leave it out.",
                code="argument-empty",
            )
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise UsageError(
                "An argument is not UTF-8.",
                next="Type it again; in a script, convert it with `iconv -t UTF-8`.",
                code="argument-not-utf8",
            )


_EMPTY_OPTION = re.compile(r"--[a-z-]+=")


def _path(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    return context.command_path if context is not None else "aisec"


_NO_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF)


_TOO_LONG = UsageError(
    "The name of a file or folder is too long.",
    next="Is the content of a file in the place of its name? Name the file.",
    code="path-too-long",
)


def _unwritten(error: OSError) -> AisecError:
    return AisecError(
        f"What this command says cannot be written: {error.strerror}.",
        next="Make room where its output goes, and run it again where it only shows something.",
        code="output-unwritable",
    )


def _fault(error: Exception) -> AisecError:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})" if trace else ""
    return AisecError(
        f"{type(error).__name__}: {error}{where}.",
        next="This is a fault in jupyter-aisec: please report it with this line.",
        code="internal",
    )
