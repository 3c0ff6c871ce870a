"""The keeper's guard over leases: by the same rules, and with the last word."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from jupyter_aisec.client.views import Lease
from jupyter_aisec.errors import (
    BrokerUnreachableError,
    ConflictError,
    IdentityError,
    RefusedError,
)
from jupyter_aisec.kernel import guardian as module
from jupyter_aisec.kernel.boot_clock import boot_time
from jupyter_aisec.kernel.guardian import Guardian
from jupyter_aisec.kernel.lease import GRACE
from jupyter_aisec.times import format_time


def at(**ahead):
    return format_time(datetime.now(UTC) + timedelta(**ahead))


def lease(state="active", why=None, until=None):
    return Lease(
        state=state, until=until or at(minutes=1), ends_at=at(hours=1), ended_why=why, now=at()
    )


class Person:
    """Stands in for a PersonClient: leases come from a script, the last one for ever."""

    def __init__(self, *script):
        self.script = list(script)
        self.ended_calls = []
        self.heard = threading.Event()

    def lease(self, grant):
        found = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(found, Exception):
            raise found
        return found

    def ended(self, grant, kernel, how):
        self.ended_calls.append((grant, kernel, how))
        self.heard.set()

    def events(self):
        raise BrokerUnreachableError("away")


VIEW = SimpleNamespace(id="g", seconds=3600, now=at())


def guard(person, alone=lambda: True):
    killed = threading.Event()
    guardian = Guardian(person, killed.set, alone, confirm_seconds=0.05, look_seconds=0.02)
    guardian.guard(VIEW, "kernel")
    return guardian, killed


def test_what_is_confirmed_is_not_killed():
    person = Person(lease("ended", "revoked"))
    guardian, killed = guard(person)
    events = []
    guardian.subscribe(events.append)
    guardian.look("g")
    guardian.confirmed("g")
    guardian.unsubscribe(events.append)
    assert events == [{"type": "ending", "grant": "g", "why": "revoked"}]
    assert not killed.wait(0.2)
    assert person.ended_calls == [("g", "kernel", "wiped")]
    guardian.confirmed("g")  # once is enough
    assert len(person.ended_calls) == 1


def expecting(person):
    killed = threading.Event()
    guardian = Guardian(person, killed.set, confirm_seconds=0.05)
    guardian.expect(VIEW, "kernel")
    return guardian, killed


@pytest.mark.parametrize("why", ["guard", "check_guarded"])
def test_a_seat_that_was_expected_is_guarded_like_one_that_was_taken(why):
    guardian, killed = expecting(Person(lease("ended", "revoked")))
    guardian.guard(VIEW, "kernel") if why == "guard" else guardian.check_guarded("g")
    guardian.forget("g")  # the word of a refusal that came late
    guardian.look("g")
    assert killed.wait(20)


@pytest.mark.parametrize("away", [False, True])
def test_a_seat_that_was_only_expected_ends_without_its_kernel(away):
    person = Person(lease("ended", "revoked"))
    if away:
        person.ended = lambda *_: (_ for _ in ()).throw(BrokerUnreachableError("away"))
    guardian, killed = expecting(person)
    guardian.look("g")
    with pytest.raises(RefusedError) as raised:
        guardian.check_guarded("g")
    assert raised.value.code == "seat-not-guarded"
    assert not killed.wait(0.2)
    assert person.ended_calls == ([] if away else [("g", "kernel", "wiped")])


def test_a_binding_that_is_repeated_does_not_put_off_the_end(monkeypatch):
    def start(timer):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", start)
    guardian, _ = guard(Person(lease("ended", "revoked")))
    guardian.look("g")
    over = guardian._seats["g"].over_since
    guardian.expect(VIEW, "kernel")
    guardian.guard(VIEW, "kernel")
    assert guardian._seats["g"].over_since == over is not None


def test_wiped_is_not_believed_while_the_grant_is_active_and_a_revocation_kills():
    person = Person(lease(), lease("ended", "revoked"))
    guardian, killed = guard(person)
    with pytest.raises(ConflictError) as raised:
        guardian.wiped("g")
    assert raised.value.code == "grant-not-over"
    guardian.look("g")
    assert killed.wait(20)


@pytest.mark.parametrize("looked", [False, True], ids=["the kernel first", "the keeper first"])
def test_wiped_is_believed_once_the_grant_is_over(looked):
    person = Person(lease("ended", "returned"))
    guardian, killed = guard(person)
    if looked:
        guardian.look("g")
    guardian.wiped("g")
    guardian.wiped("g")
    assert person.ended_calls == [("g", "kernel", "wiped")]
    assert not killed.wait(0.2)


def test_a_fork_that_outlives_the_wipe_is_killed_with_its_kernel():
    person = Person(lease("ended", "revoked"))
    guardian, killed = guard(person, alone=lambda: False)
    guardian.wiped("g")
    assert killed.is_set()
    assert person.ended_calls == [("g", "kernel", "killed")]


@pytest.mark.parametrize(
    "no",
    [IdentityError("This session is over."), RefusedError("no")],
    ids=["the person was removed", "refused"],
)
def test_a_broker_that_says_no_ends_it_as_inside(no):
    person = Person(lease(), no)
    guardian, killed = guard(person)
    guardian.look("g")
    assert not killed.is_set()
    guardian.start()
    assert killed.wait(20)
    guardian.kernel_exited()


@pytest.mark.parametrize("fault", [ValueError("x"), OSError(28, "x")], ids=repr)
def test_a_fault_of_ours_ends_neither_the_guard_nor_the_grace(fault, monkeypatch):
    guardian, killed = guard(Person(fault))
    guardian.look("g")
    assert not killed.wait(0.2)
    now = boot_time() + GRACE
    monkeypatch.setattr(module, "boot_time", lambda: now)
    guardian.start()
    assert killed.wait(20)
    guardian.kernel_exited()


def test_a_clock_set_back_keeps_nothing_alive(monkeypatch):
    """The wall clock is not asked: after the end by the clock that nobody sets, it is over."""
    person = Person(lease(), BrokerUnreachableError("away"))
    guardian, killed = guard(person)
    guardian.look("g")
    monkeypatch.setattr(module.time, "time", lambda: 0.0)
    now = boot_time() + timedelta(hours=1)
    monkeypatch.setattr(module, "boot_time", lambda: now)
    guardian.look("g")
    assert killed.wait(20)


@pytest.mark.parametrize("loop", ["_run", "_listen"])
def test_a_guardian_whose_thread_dies_ends_the_kernel(monkeypatch, loop):
    monkeypatch.setattr(Guardian, loop, lambda guardian: None)
    guardian, killed = guard(Person(lease()))
    guardian.start()
    assert killed.wait(20)
    guardian.kernel_exited()


def test_without_a_thread_for_the_timer_the_next_looks_kill(monkeypatch):
    def start(timer):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", start)
    guardian, killed = guard(Person(lease("ended", "revoked")))
    guardian.look("g")
    assert not killed.is_set()
    guardian._seats["g"].over_since -= 1
    guardian.look("g")
    assert killed.is_set()


def test_an_ending_the_broker_was_away_for_is_told_again():
    person = Person(lease("ended", "returned"))
    guardian, killed = guard(person)
    tell, away = person.ended, [BrokerUnreachableError("away"), BrokerUnreachableError("away")]

    def ended(*what):
        if away:
            raise away.pop()
        tell(*what)

    person.ended = ended
    with pytest.raises(BrokerUnreachableError):
        guardian.wiped("g")
    guardian.start()
    assert person.heard.wait(20)
    assert person.ended_calls == [("g", "kernel", "wiped")]
    assert not killed.is_set()
    guardian.kernel_exited()


def test_a_reader_that_is_gone_does_not_keep_the_kernel_alive(caplog):
    def gone(event):
        raise RuntimeError("secret: the loop is closed")

    guardian, killed = guard(Person(lease("ended", "revoked")))
    guardian.subscribe(gone)
    guardian.look("g")
    assert killed.wait(20)
    assert "RuntimeError" in caplog.text
    assert "secret" not in caplog.text


def test_a_fault_while_listening_or_looking_is_noted_and_the_guard_goes_on(monkeypatch):
    person = Person(lease("ended", "revoked"))
    faults = [ValueError("x")] * 2

    def events():
        raise faults.pop() if faults else BrokerUnreachableError("away")

    person.events = events
    look, failures = Guardian.look, [ValueError("x")]

    def stumble(guardian, grant):
        if failures:
            raise failures.pop()
        look(guardian, grant)

    monkeypatch.setattr(Guardian, "look", stumble)
    guardian, killed = guard(person)
    guardian.start()
    assert killed.wait(20)
    guardian.kernel_exited()


def test_what_is_not_confirmed_is_killed():
    person = Person(lease("ended", "expired"))
    guardian, killed = guard(person)
    guardian.look("g")
    guardian.look("g")  # already waiting
    assert killed.wait(20)
    assert person.heard.wait(20)
    assert person.ended_calls == [("g", "kernel", "killed")]


def test_an_active_one_goes_on_and_an_unknown_one_is_none_of_ours():
    guardian, killed = guard(Person(lease()))
    guardian.look("g")
    guardian.look("other")
    assert not killed.is_set()


def test_away_the_last_lease_runs_on_then_the_grace():
    past = at(seconds=-GRACE.total_seconds() - 1)
    person = Person(lease(until=past), BrokerUnreachableError("away"))
    guardian, killed = guard(person)
    guardian.look("g")
    assert killed.wait(20)


def test_a_kernel_that_exits_is_confirmed_even_if_the_broker_says_no():
    person = Person(lease())
    guardian, _ = guard(person)
    guardian.kernel_exited()
    assert person.ended_calls == [("g", "kernel", "exited")]
    guardian, _ = guard(person)
    person.ended = lambda *_: (_ for _ in ()).throw(ConflictError("no"))
    guardian.kernel_exited()


def test_it_looks_by_itself_and_at_an_event():
    person = Person(lease("ended", "revoked"))
    guardian, killed = guard(person)
    guardian.start()
    assert killed.wait(20)
    guardian.kernel_exited()


def test_events_are_passed_on():
    person = Person(lease())
    heard = threading.Event()
    person.events = lambda: iter([{"type": "grant.revoked"}])
    guardian, _ = guard(person)
    guardian.subscribe(lambda event: heard.set())
    guardian.start()
    assert heard.wait(20)
    guardian.kernel_exited()


@pytest.mark.parametrize("grant", ["g", "unknown"])
def test_a_lease_asked_for_by_the_kernel_is_remembered(grant):
    found = lease()
    guardian, _ = guard(Person(found))
    assert guardian.lease(grant) is found
