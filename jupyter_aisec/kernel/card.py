"""The live card of a grant: who is asked, what its state is, how long it lasts.

In a notebook it is a widget that a background thread keeps up to date; in a terminal it is a
line whenever something changes. Names and reasons come from other people: they are escaped.
"""

from __future__ import annotations

import html
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from jupyter_aisec.texts import printable
from jupyter_aisec.times import format_duration, parse_time

if TYPE_CHECKING:
    from jupyter_aisec.client.views import GrantView

__all__ = ["Card", "headline", "render_html", "render_text", "visible"]

_COLOURS = {"pending": "#b26a00", "scheduled": "#1f6feb", "active": "#1a7f37", "ended": "#6e7781"}
_ENDED = {"lapsed": "nobody approved it in time", "expired": "its time is up"}  # else as it is


def visible(text: str, most: int = 300) -> str:
    """What others wrote, as far as a card has room for it; see :func:`printable`."""
    return printable(text, most)


def headline(view: GrantView, now: datetime) -> str:
    """What there is to know in one line, at the instant ``now`` of the broker's clock."""
    return _standing(view, now) + _glass(view)


def _glass(view: GrantView) -> str:
    """Whether the glass was broken, and whose review is owed for it."""
    if not view.break_glass:
        return ""
    names = ", ".join(visible(name, 60) for name in view.review_by)
    return f"; break-glass, {f'review owed by {names}' if names else 'reviewed'}"


def _standing(view: GrantView, now: datetime) -> str:
    match view.state:
        case "pending":
            return f"waiting for {_asked(view)}{_within(', lapses in', view.pending_until, now)}"
        case "scheduled":
            return f"approved by {_approvers(view)}, {_start(view, now)}"
        case "active":
            left = _left(view.ends_at, now)
            return f"active, {left} left" if left else "active, ending now"
        case _:
            why = view.ended_why or "over"
            return f"ended: {_ENDED.get(why, why)}"


def _asked(view: GrantView) -> str:
    """Who may approve, and how many of them it takes."""
    names = [visible(name, 60) for name in view.waiting_for]
    missing = view.approvals_needed - len(view.approvals)
    if not names:
        return "approval, but nobody may give it: ask an admin"
    if missing == len(names):
        return " and ".join(names)
    return f"{missing} of {', '.join(names)}"


def _approvers(view: GrantView) -> str:
    nobody = "nobody" if view.break_glass else "policy"
    return " and ".join(visible(one.person, 60) for one in view.approvals) or nobody


def _start(view: GrantView, now: datetime) -> str:
    if starts := _left(view.starts_at, now):
        return f"starts in {starts}"
    return "starts when you open something" + _within(" (within", view.begin_until, now, ")")


def _within(words: str, until: str | None, now: datetime, after: str = "") -> str:
    """``words`` and the time until then; "" when there is no such time."""
    left = _left(until, now)
    return f"{words} {left}{after}" if left else ""


def render_text(view: GrantView, now: datetime, warning: str = "") -> str:
    """The card for a terminal."""
    text = f"{view.id}  {', '.join(map(visible, view.artifacts))}  {headline(view, now)}"
    return f"{text}  ! {visible(warning)}" if warning else text


def render_html(view: GrantView, now: datetime, warning: str = "") -> str:
    """The card for a notebook: no text in it can be markup."""
    colour = _COLOURS.get(view.state, _COLOURS["ended"])
    rows = [
        ("artifacts", ", ".join(visible(name) for name in view.artifacts)),
        ("reason", visible(view.reason)),
        ("time", format_duration(timedelta(seconds=view.seconds))),
    ]
    table = "".join(
        f'<tr><td style="padding-right:1em;opacity:.7">{html.escape(label)}</td>'
        f"<td>{html.escape(text)}</td></tr>"
        for label, text in rows
    )
    warn = (
        f'<div role="alert" style="color:#b35900;font-weight:600">{html.escape(visible(warning))}'
        "</div>"
        if warning
        else ""
    )
    return (
        f'<div style="border-left:4px solid {colour};padding:.4em .8em;max-width:46em">'
        f'<div role="status" style="color:{colour};font-weight:600">'
        f"{html.escape(headline(view, now))}</div>{warn}<table>{table}</table>"
        f'<div style="opacity:.6;font-size:85%">{html.escape(view.id)}</div></div>'
    )


def _left(until: str | None, now: datetime) -> str:
    """The time until then, in steps that do not flicker; "" when there is no such time."""
    if until is None:
        return ""
    left = parse_time(until) - now
    if left > timedelta(minutes=10):
        left = timedelta(minutes=left // timedelta(minutes=1))
    return "" if left <= timedelta(0) else format_duration(max(left, timedelta(seconds=1)))


class Card:
    """One grant on the screen. ``show`` may be called from any thread."""

    def __init__(self, shell: Any) -> None:
        self._widget = _widget(shell)
        self._last = ""

    def display(self) -> None:
        if self._widget is not None:
            from IPython.display import display

            display(self._widget)  # type: ignore[no-untyped-call]

    def show(self, view: GrantView, now: datetime, warning: str = "") -> None:
        if self._widget is not None:
            text = render_html(view, now, warning)
            if text != self._last:
                self._widget.value = text
                self._last = text
        else:
            # Without a countdown, which in a terminal would be a line a second.
            if (key := f"{view.state} {warning}") != self._last:
                print(render_text(view, now, warning))  # noqa: T201 - the terminal's card
                self._last = key


def _widget(shell: Any) -> Any:
    """An empty HTML widget where widgets can live: in a kernel, with ipywidgets."""
    if getattr(shell, "kernel", None) is None:
        return None
    try:
        import ipywidgets
    except ImportError:
        return None
    return ipywidgets.HTML()
