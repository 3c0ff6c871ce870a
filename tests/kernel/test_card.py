"""The card: what it says, and that nothing in it can be markup."""

from __future__ import annotations

import sys
from datetime import datetime, timedelta
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_aisec.client import ApprovalView, GrantView
from jupyter_aisec.kernel.card import Card, headline, render_html, render_text, visible
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.times import format_time
from tests.effort import examples

NOW = datetime.fromisoformat("2026-11-22T20:00:00+00:00")
ENVELOPE = Envelope(payload=b"", payload_type="", signatures=())


def view(**changes):
    fields = {
        "id": "grant_01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "state": "pending",
        "ended_why": None,
        "ended_at": None,
        "ended_by": None,
        "ended_reason": "",
        "person": "researcher",
        "artifacts": ("dataset/rows",),
        "reason": "why",
        "seat": "session:01ARZ3NDEKTSV4RRFFQ69G5FAV",
        "extends": None,
        "seconds": 3600,
        "requested_at": format_time(NOW),
        "pending_until": format_time(NOW + timedelta(hours=24)),
        "begin_until": None,
        "approvals_needed": 1,
        "approvers": ("approver",),
        "waiting_for": ("approver",),
        "approvals": (),
        "starts_at": None,
        "ends_at": None,
        "warn": (),
        "policy_version": 1,
        "isolation": "none",
        "kernels": (),
        "ending": (),
        "labels": (),
        "now": format_time(NOW),
        "request": ENVELOPE,
        "terms": {},
        "break_glass": False,
        "reviews_needed": 0,
        "reviews": (),
        "review_by": (),
        "asked_labels": (),
    }
    return GrantView(**{**fields, **changes})


def approval(person):
    return ApprovalView(
        person=person, at=format_time(NOW), seconds=60, artifacts=("dataset/rows",), comment=""
    )


APPROVAL, OTHER = approval("approver"), approval("other")


def in_(**more):
    return format_time(NOW + timedelta(**more))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "waiting for approver, lapses in 1d"),
        (
            {"waiting_for": ()},
            "waiting for approval, but nobody may give it: ask an admin, lapses in 1d",
        ),
        ({"pending_until": in_()}, "waiting for approver"),
        ({"pending_until": in_(), "waiting_for": ("a", "b")}, "waiting for 1 of a, b"),
        (
            {"pending_until": in_(), "waiting_for": ("a", "b"), "approvals_needed": 2},
            "waiting for a and b",
        ),
        (
            {"state": "scheduled", "approvals": (APPROVAL,)},
            "approved by approver, starts when you open something",
        ),
        (
            {"state": "scheduled", "begin_until": in_(hours=12)},
            "approved by policy, starts when you open something (within 12h)",
        ),
        (
            {"state": "scheduled", "approvals": (APPROVAL, OTHER), "starts_at": in_(hours=2)},
            "approved by approver and other, starts in 2h",
        ),
        ({"state": "active", "ends_at": in_(minutes=59, seconds=7)}, "active, 59m left"),
        ({"state": "active", "ends_at": in_(seconds=97)}, "active, 1m37s left"),
        ({"state": "active", "ends_at": in_()}, "active, ending now"),
        ({"state": "ended", "ended_why": "revoked"}, "ended: revoked"),
        ({"state": "ended", "ended_why": "returned"}, "ended: returned"),
        ({"state": "ended", "ended_why": "expired"}, "ended: its time is up"),
        ({"state": "ended", "ended_why": "lapsed"}, "ended: nobody approved it in time"),
        ({"state": "ended"}, "ended: over"),
        (
            {
                "state": "active",
                "ends_at": in_(minutes=5),
                "break_glass": True,
                "review_by": ("b\u202e",),
            },
            "active, 5m left; break-glass, review owed by b\\u202e",
        ),
        (
            {"state": "active", "ends_at": in_(minutes=5), "break_glass": True},
            "active, 5m left; break-glass, reviewed",
        ),
    ],
)
def test_headline(changes, text):
    assert headline(view(**changes), NOW) == text


class _Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(name for name, _ in attrs)))


def tags(text):
    parser = _Tags()
    parser.feed(text)
    return parser.tags


@settings(max_examples=examples(60), deadline=None)
@given(st.text(max_size=60), st.text(max_size=60), st.sampled_from(["pending", "active", "<b>"]))
def test_hostile_text_is_text(reason, name, state):
    plain = render_html(view(state="ended"), NOW, "warning")
    hostile = render_html(
        view(state=state, reason=reason, artifacts=(name,), waiting_for=(name,), ended_why=name),
        NOW,
        reason or "x",
    )
    assert tags(hostile) == tags(plain)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\u202eb", "a\\u202eb"),
        ("a\nb\x1b[31m", "a\\nb\\x1b[31m"),
        ("x" * 301, "x" * 300 + "…"),
    ],
)
def test_what_no_screen_shows_is_spelled_out(text, shown):
    assert visible(text) == shown


def test_the_text_card_carries_the_warning():
    text = render_text(view(), NOW, "2m left")
    assert text.endswith("! 2m left")
    assert "dataset/rows" in text


def test_in_a_terminal_a_line_when_something_changes(capsys):
    card = Card(SimpleNamespace())
    card.display()
    for _ in range(3):
        card.show(view(), NOW)
    card.show(view(state="active", ends_at=format_time(NOW + timedelta(hours=1))), NOW)
    assert [line.count("grant_") for line in capsys.readouterr().out.splitlines()] == [1, 1]


def test_in_a_kernel_a_widget(capsys):
    card = Card(SimpleNamespace(kernel=object()))
    card.display()
    card.show(view(), NOW)
    card.show(view(), NOW)
    assert "dataset/rows" in card._widget.value
    assert "HTML" in capsys.readouterr().out


def test_a_kernel_without_ipywidgets_prints(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    card = Card(SimpleNamespace(kernel=object()))
    card.show(view(), NOW)
    assert "waiting for approver" in capsys.readouterr().out
