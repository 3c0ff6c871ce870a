"""The comm by which the lab's page has saved outputs opened.

The page opens one to :data:`TARGET` with ``{"sealed": <content of the MIME type>}``; the kernel
answers with ``{"output": …}`` (nbformat 4) or ``{"error": {"what", "next", "code"}}`` and
closes it. Page and kernel may do this in a subshell, while a cell runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from jupyter_aisec.errors import AisecError

__all__ = ["TARGET", "register", "unregister"]

TARGET = "jupyter_aisec.outputs"

#: The content of a sealed output's MIME type, as a page sent it, to the output as it was.
Opener = Callable[[object], dict[str, Any]]


def register(shell: Any, opener: Opener) -> None:
    """Answers from now on; a shell without a front end (a terminal's) has no comms."""
    manager = _manager(shell)
    if manager is not None:
        manager.register_target(TARGET, lambda comm, message: _answer(opener, comm, message))


def unregister(shell: Any) -> None:
    manager = _manager(shell)
    if manager is not None:
        manager.targets.pop(TARGET, None)


def _manager(shell: Any) -> Any:
    return getattr(getattr(shell, "kernel", None), "comm_manager", None)


def _answer(opener: Opener, comm: Any, message: dict[str, Any]) -> None:
    try:
        answer: dict[str, Any] = {"output": opener(message["content"]["data"]["sealed"])}
    except AisecError as error:
        answer = _problem(error.what, error.next, error.code)
    except Exception as error:  # the page waits for an answer, whatever it is
        what = f"The kernel could not open it: {type(error).__name__}."
        answer = _problem(what, "Restart the kernel, and try again.", "output-not-opened")
    comm.send(answer)
    comm.close()


def _problem(what: str, next: str, code: str) -> dict[str, Any]:
    return {"error": {"what": what, "next": next, "code": code}}
