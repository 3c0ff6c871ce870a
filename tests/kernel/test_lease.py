"""When a kernel may go on: the rules, and the thread that applies them."""

from __future__ import annotations

import itertools
import threading
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest

from jupyter_aisec.client.views import Lease
from jupyter_aisec.errors import BrokerUnreachableError, ConflictError, NotFoundError
from jupyter_aisec.kernel.lease import GRACE, LeaseThread, assess
from jupyter_aisec.times import format_time

NOW = datetime.fromisoformat("2026-11-22T20:00:00+00:00")


def lease(left=1800, until=60, state="active", why=None):
    return Lease(
        state=state,
        until=None if until is None else moment(until),
        ends_at=None if left is None else moment(left),
        ended_why=why,
        warn=() if left is None else (moment(left - 360), moment(left - 120)),
        now=format_time(NOW),
    )


def moment(ahead):
    return format_time(NOW + timedelta(seconds=ahead))


@pytest.mark.parametrize(
    ("given", "verdict", "why", "warn"),
    [
        (None, "open", "", ""),
        (lease(), "open", "", ""),
        (lease(left=361), "open", "", ""),
        (lease(left=360), "open", "", moment(0)),
        (lease(left=121), "open", "", moment(-239)),
        (lease(left=120), "open", "", moment(0)),
        (lease(left=0), "over", "expired", ""),
        (lease(left=None, until=None), "open", "", ""),
        (lease(state="ended", why="revoked"), "over", "revoked", ""),
        (lease(state="ended"), "over", "expired", ""),
        (lease(until=0), "closed", "the broker has not renewed the lease", ""),
        (
            lease(until=-GRACE.total_seconds() + 1),
            "closed",
            "the broker has not renewed the lease",
            "",
        ),
        (lease(until=-GRACE.total_seconds()), "over", "lease-lost", ""),
    ],
    ids=[
        "before the first lease",
        "fine",
        "just before the first moment to warn",
        "the first moment to warn",
        "just before the second",
        "the second",
        "expired",
        "no end known",
        "revoked",
        "ended, not said why",
        "lease run out",
        "in the grace",
        "grace over",
    ],
)
def test_assess(given, verdict, why, warn):
    found = assess(given, now=NOW)
    assert (found.verdict, found.why, found.warn) == (verdict, why, warn)


class Session:
    """Stands in for a KernelSession: leases and views come from a script."""

    def __init__(self, *leases):
        self.script = list(leases)
        self.views = {"g": SimpleNamespace(state="active")}
        self.bound = {"g": None}
        self.closed = {}
        self.time = NOW
        self.desk = SimpleNamespace(events=lambda: iter(()))

    def now(self):
        return self.time

    def leases(self, grant):
        found = self.script.pop(0)
        if isinstance(found, Exception):
            raise found
        self.bound[grant] = found
        return found

    def refresh(self, grant):
        found = self.script.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


def thread(session, **options):
    heard = []
    made = LeaseThread(
        session,
        warn=lambda *what: heard.append(("warn", *what)),
        end=lambda *what: heard.append(("end", *what)),
        tick=lambda: None,
        **options,
    )
    return made, heard


def test_each_warning_comes_once():
    looks = (3239, 3300, 3310, 3500, 3590)
    session = Session(*[lease(left=3600, until=3600) for _ in looks])
    made, heard = thread(session)
    near = []
    for seconds in looks:
        session.time = NOW + timedelta(seconds=seconds)
        near.append(made.look("g"))
    assert near == [False, False, False, False, True]
    assert [(kind, text.split(" left")[0]) for kind, _, text in heard] == [
        ("warn", "5m"),
        ("warn", "1m40s"),
    ]


def test_a_revocation_ends_it_once_and_without_warning():
    session = Session(lease(state="ended", why="revoked"), lease(state="ended", why="revoked"))
    made, heard = thread(session)
    made.look("g")
    made.look("g")
    assert heard == [("end", "g", "revoked")]
    assert session.closed == {"g": "it ended (revoked)"}


def test_away_it_closes_then_ends_after_the_grace():
    away = BrokerUnreachableError("away")
    session = Session(lease(), away, away, lease(), away)
    made, heard = thread(session)
    made.look("g")
    session.time = NOW + timedelta(seconds=61)
    assert made.look("g")
    assert session.closed == {"g": "the broker has not renewed the lease"}
    session.time = NOW + timedelta(seconds=62)
    made.look("g")
    session.time = NOW
    made.look("g")  # it is back
    assert session.closed == {}
    session.time = NOW + timedelta(seconds=60) + GRACE
    made.look("g")
    assert heard == [("end", "g", "lease-lost")]


def test_a_no_is_an_end():
    made, heard = thread(Session(ConflictError("no", code="grant-returned")))
    assert not made.look("g")
    assert heard == [("end", "g", "returned")]


def test_unbound_it_follows_the_request():
    pending = SimpleNamespace(state="pending")
    session = Session(pending, BrokerUnreachableError("away"), NotFoundError("gone"))
    session.bound.clear()
    made, heard = thread(session)
    assert [made.look("g") for _ in range(3)] == [True, False, False]
    assert made._watched() == []
    assert heard == []


def test_the_thread_looks_when_poked_and_stops():
    session = Session(lease(), lease(state="ended", why="expired"))
    ended = threading.Event()
    ticks = threading.Semaphore(0)
    made = LeaseThread(
        session,
        warn=lambda *_: None,
        end=lambda *_: ended.set(),
        tick=ticks.release,
        renew_seconds=0.01,
    )
    made.start()
    made.start()
    made.poke()
    assert ended.wait(20)
    assert all(ticks.acquire(timeout=20) for _ in range(3))  # also when there is nothing to renew
    made.stop()
    made._thread.join(20)
    assert not made._thread.is_alive()


def test_a_fault_ends_neither_the_watch_nor_the_grace(capsys):
    """Each fault is a lease that was not renewed; the last one runs out, and is the end."""
    session = Session(lease(until=3600), *[OSError(5, "a fault")] * 3)
    ended = threading.Event()

    def end(grant, why):
        heard.append(why)
        ended.set()

    def events():
        raise ValueError("a fault")

    heard = []
    session.desk = SimpleNamespace(events=events)
    made = LeaseThread(
        session, warn=lambda *_: None, end=end, tick=lambda: None, renew_seconds=0.01
    )
    assert not made.look("g")
    session.time = NOW + timedelta(hours=1) + GRACE
    made.start()
    assert ended.wait(20)
    assert made._listener.is_alive()
    made.stop()
    assert heard == ["expired"]
    said = capsys.readouterr().err
    assert said.count("OSError") == 1


def test_a_fault_before_the_first_lease_or_at_the_end_leaves_the_thread(capsys):
    session = Session(OSError(5, "a fault"), lease(state="ended", why="revoked"))
    looked = threading.Event()

    def end(grant, why):
        looked.set()
        raise OSError(5, "another fault")

    made = LeaseThread(
        session, warn=lambda *_: None, end=end, tick=lambda: None, renew_seconds=0.01
    )
    made.start()
    assert looked.wait(20)
    session.views["h"], session.bound["h"] = SimpleNamespace(state="active"), None
    session.script = [lease(state="ended", why="revoked")]
    looked.clear()
    assert looked.wait(20)
    assert made._thread.is_alive()
    made.stop()
    assert capsys.readouterr().err.count("OSError") == 1


def test_an_event_is_a_reason_to_look():
    events = [iter([object()]), BrokerUnreachableError("away")]
    looked = threading.Event()

    def next_events():
        found = events.pop(0) if events else iter(())
        if isinstance(found, Exception):
            raise found
        return found

    session = Session(lease(), lease(state="ended", why="expired"))
    session.desk = SimpleNamespace(events=next_events)
    made = LeaseThread(
        session,
        warn=lambda *_: None,
        end=lambda *_: looked.set(),
        tick=lambda: None,
        renew_seconds=0.05,
    )
    made.start()
    assert looked.wait(20)
    made.stop()


def test_a_thread_that_was_stopped_hears_no_more():
    """Or its stream would stay open at the broker, which has so many for each person."""
    heard = []

    def events():
        for number in itertools.count():
            heard.append(number)
            if number == 1:
                made.stop()
            yield number

    session = Session(lease(), lease(), lease())
    session.desk = SimpleNamespace(events=events)
    made, _ = thread(session, renew_seconds=60)
    made.start()
    made._listener.join(20)
    assert not made._listener.is_alive()
    assert heard == [0, 1]
