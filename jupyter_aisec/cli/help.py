"""How the command tells what there is: whole sentences, and help where only a noun was typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import typer
from typer.core import TyperGroup

from jupyter_aisec.cli.output import note

if TYPE_CHECKING:
    from typer._click import Context, HelpFormatter

__all__ = ["Beginning", "Commands"]


class Commands(TyperGroup):
    """A noun. Its list of commands wraps what they do, where Typer's cuts it off."""

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        rows = [
            (name, _sentence(command.help or ""))
            for name in self.list_commands(ctx)
            if (command := self.get_command(ctx, name)) is not None
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Nothing typed is a question, not a slip: help, and yet exit code 2."""
        if not args:
            note(ctx.get_help())
            raise typer.Exit(2)
        return super().parse_args(ctx, args)


class Beginning(Commands):
    """A noun that is a verb too: what follows it, unless a command, is for its first command."""

    default: ClassVar[str] = "begin"

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = [self.default, *args]
        return super().parse_args(ctx, args)


def _sentence(help: str) -> str:
    """The first paragraph, on one line."""
    return " ".join(help.partition("\n\n")[0].split())
