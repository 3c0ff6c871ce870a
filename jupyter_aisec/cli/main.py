"""The command's root: gathers the nouns, and turns every error into two lines and a code.

Exit code 0: done; 1: refused or failed; 2: the command was not understood.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer
from typer.exceptions import Abort, TyperException

from jupyter_aisec.cli import (
    artifact,
    audit,
    broker,
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
from jupyter_aisec.cli.output import show_error
from jupyter_aisec.errors import AisecError, UsageError

__all__ = ["app", "main"]

_INTERRUPTED = 130

app = typer.Typer(
    name="aisec",
    help="Two-party access to sealed weights and datasets, with a verifiable chain of custody.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
for noun in (broker, person, key, artifact, grant, run, audit, policy):
    app.add_typer(noun.app, name=noun.__name__.rpartition(".")[2])
app.command()(quickstart.quickstart)
app.command()(session.login)
app.command()(session.whoami)
app.command()(doctor.doctor)
app.command()(verify.verify)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code and never raises."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    json = "--json" in given
    try:
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
    except Exception as error:  # a fault of ours: say so in our form, never as a traceback
        show_error(_fault(error), json)
        return 1


def _path(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    return context.command_path if context is not None else "aisec"


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
