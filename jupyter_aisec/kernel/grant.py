"""What ``%grant`` does. The rules are the broker's; this asks and shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jupyter_aisec.errors import RefusedError, UsageError
from jupyter_aisec.grants.names import split_reference
from jupyter_aisec.ids import is_id
from jupyter_aisec.kernel.card import render_text

if TYPE_CHECKING:
    from jupyter_aisec.client.views import GrantView
    from jupyter_aisec.kernel.commands import GrantCommand
    from jupyter_aisec.kernel.face import Face

__all__ = ["request", "run_grant"]


_OF_ONE = ("show", "extend", "withdraw", "return")  # verbs about one grant


def request(
    face: Face,
    artifacts: tuple[str, ...],
    seconds: int,
    reason: str,
    *,
    break_glass: bool = False,
) -> GrantView:
    """Asks, and shows the card."""
    view = face.session.request(artifacts, seconds, reason, break_glass=break_glass)
    face.card(view)
    return view


def run_grant(face: Face, command: GrantCommand) -> None:
    """One ``%grant`` line."""
    name = command.names[0] if command.names else None
    if command.verb in _OF_ONE and name is not None and not is_id(name, "grant"):
        raise UsageError(
            f"{name[:60]!r} is not the id of a grant.",
            next="`%grant list` shows them.",
            code="grant-id-malformed",
        )
    match command.verb:
        case "request":
            view = request(
                face,
                command.names,
                command.seconds,
                command.reason,
                break_glass=command.break_glass,
            )
            if command.wait:
                face.session.await_grant(
                    *split_reference(view.artifacts[0]), wait=True, waiting=face.say_waiting
                )
        case "list":
            _list(face, pending=command.pending)
        case "show":
            face.card(face.one_grant(name))
        case "extend":
            view = face.one_grant(name)
            face.card(
                face.session.extend(
                    view.id, command.seconds, command.reason, break_glass=command.break_glass
                )
            )
        case "withdraw":
            view = face.one_grant(name)
            face.session.saw(face.session.desk.withdraw(view.id, command.reason))
            _say(face, view.id)
        case "return":
            view = face.one_grant(name)
            face.give_back(view.id, command.reason)
            _say(face, view.id)
        case verb:
            raise RefusedError(
                f"Nobody can {verb} a grant from inside a kernel: what a notebook shows is not "
                "what you would be signing.",
                next=f"Use `aisec grant {verb} {name or 'GRANT'}` in a terminal of your own.",
                code="not-in-a-kernel",
            )


def _list(face: Face, *, pending: bool) -> None:
    views = [view for view in face.session.grants() if not pending or view.state == "pending"]
    for view in views:
        elsewhere = "" if face.session.is_ours(view) else "  (in another notebook)"
        print(render_text(view, face.session.now()) + elsewhere)  # noqa: T201 - the answer
    if not views:
        print('No grants. Ask for one: %grant request NAME --for 1h --reason "…"')  # noqa: T201


def _say(face: Face, grant: str) -> None:
    print(render_text(face.session.views[grant], face.session.now()))  # noqa: T201
