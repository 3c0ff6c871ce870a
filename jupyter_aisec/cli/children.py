"""Processes that end when this one does, however it ends."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import msgspec

__all__ = ["child", "read_json", "stop_on_signals"]

_PR_SET_PDEATHSIG = 1
_END_SECONDS = 10.0


@contextmanager
def child(
    arguments: Sequence[str], environment: Mapping[str, str], **options: Any
) -> Iterator[subprocess.Popen[str]]:
    """A child process with more environment; terminated when the context ends.

    On Linux the kernel also ends it if this process is killed.
    """
    process = subprocess.Popen(
        list(arguments),
        env={**os.environ, **environment},
        text=True,
        preexec_fn=_dies_with(os.getpid()) if sys.platform == "linux" else None,
        **options,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def read_json(stream: Iterable[str]) -> Any:
    """The first JSON value that a child prints with --json, on however many lines; or None."""
    text = ""
    for line in stream:
        text += line
        with suppress(msgspec.DecodeError):
            return msgspec.json.decode(text)
    return None


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """SIGTERM becomes KeyboardInterrupt, so that contexts end as they do on Ctrl-C."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _dies_with(parent: int) -> Any:
    libc = ctypes.CDLL(None)

    def in_child() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)

    return in_child
