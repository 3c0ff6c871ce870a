"""What was printed to a person in one test, and what was then done: word for word, or not.

A row of the table advises commands; its test must run each of them as the product printed it
(words in capitals filled in), and each must have ended well. An option (``--for 45m``) is
followed by the command that failed with this option in the place of its own.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.faults.person import Met

COMMAND = re.compile(r"`([^`]+)`")
_TO_FILL = re.compile(r"\b(?:BROKER|FILE|FOLDER|NAME|ROLE|SRC|TEXT|TOKEN|URL|VAR)\b")


def commands(advice: str) -> list[str]:
    """What stands in backticks: commands, cells and options, in their order."""
    return COMMAND.findall(advice)


def fill(command: str, filled: dict[str, str]) -> str:
    """The command with the reader's words; one that is missing fails."""
    return _TO_FILL.sub(lambda word: shlex.quote(filled[word[0]]), command)


def words(line: str) -> tuple[str, ...]:
    """A line of a shell or a cell, so that only its words are compared."""
    return tuple(shlex.split(line))


class Journal:
    """One test's: faults as they were met, and all that ended well."""

    def __init__(self) -> None:
        self.met: list[Met] = []
        self._done: set[tuple[str, ...]] = set()

    def begin(self) -> None:
        """Another test begins."""
        self.met.clear()
        self._done.clear()

    def done(self, *given: str) -> None:
        """These words were given, as a command or a cell, and it ended well."""
        self._done.add(given)

    def not_followed(self) -> set[str]:
        """The commands that were printed and never run; one that was run once is followed.

        A test may meet its fault several times and follow what is printed once.
        """
        printed: dict[int, str] = {}
        followed = set()
        for met in self.met:
            for number, command in enumerate(commands(met.advice)):
                printed.setdefault(number, command)
                if any(self._is_done(met, command, filled) for filled in met.filled):
                    followed.add(number)
        return {command for number, command in printed.items() if number not in followed}

    def _is_done(self, met: Met, command: str, filled: dict[str, str]) -> bool:
        try:
            line = fill(command, filled)
        except KeyError:  # this time another command was meant
            return False
        if line.startswith("--"):
            return ("aisec", *met.instead(line)) in self._done
        return words(line) in self._done
