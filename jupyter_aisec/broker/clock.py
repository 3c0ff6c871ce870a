"""The broker's clock, as precise as entries can say, which never goes back."""

from __future__ import annotations

import contextlib
import shlex
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from jupyter_aisec.errors import AisecError, TamperedError
from jupyter_aisec.files import read_if_there, write_private
from jupyter_aisec.times import format_time, parse_time

__all__ = ["SteadyClock", "wall_clock"]

_EVER = datetime.min.replace(tzinfo=UTC)
_WRITE_EVERY = timedelta(seconds=1)


def wall_clock() -> datetime:
    """Now in UTC, in whole milliseconds."""
    return _milliseconds(datetime.now(UTC))


class SteadyClock:
    """A clock that goes on where it was when the machine's is set back, restarts included.

    An ending that somebody was told of must stay one, though no entry says so: expiry is
    computed when read. So the highest time that was answered is kept in a file, written when
    the one in it is a second old, and on :meth:`close`. While the process runs, time also
    passes by the monotonic clock. What is left open: an expiry that nothing asked about before
    the process was killed; whoever can set the clock and delete the file can do more than this
    anyway.
    """

    def __init__(
        self,
        path: Path,
        clock: Callable[[], datetime] = wall_clock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Reads the mark; raises TamperedError where the file does not say a time."""
        self._path = path
        self._clock = clock
        self._monotonic = monotonic
        self._written = self._mark = _read(path) or _EVER
        self._marked = monotonic()

    def __call__(self) -> datetime:
        passed = timedelta(seconds=self._monotonic() - self._marked)
        now = max(self._clock(), _milliseconds(self._mark + passed))
        if now > self._mark:
            self._mark, self._marked = now, self._monotonic()
        if self._mark - self._written >= _WRITE_EVERY:
            self._write()
        return self._mark

    def close(self) -> None:
        """Writes the current time to the file."""
        self()
        self._write()

    def _write(self) -> None:
        # On a full disk nothing is appended, and what was kept before is at worst too low.
        with contextlib.suppress(OSError):
            write_private(self._path, format_time(self._mark).encode() + b"\n")
            self._written = self._mark


def _read(path: Path) -> datetime | None:
    content = read_if_there(path)
    try:
        return None if content is None else parse_time(content.decode().strip())
    except (AisecError, ValueError) as error:
        raise TamperedError(
            f"{path} does not say until when the broker ran.",
            next="If this machine's clock is right, an admin removes it: "
            f"`rm {shlex.quote(str(path))}`.",
        ) from error


def _milliseconds(moment: datetime) -> datetime:
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)
