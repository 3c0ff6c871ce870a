"""Event streams: how many there may be, and that they end with their session."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta

import pytest

from jupyter_aisec.broker.config import Config
from jupyter_aisec.broker.routes import events
from jupyter_aisec.grants.statements import KeyRevocation
from tests.broker.tampering import cut_off_the_end, database
from tests.broker.world import Api, Clock, Sealed, Site, problem, serve


class Stream:
    """A stream on a connection of its own, once it listens."""

    def __init__(self, api: Api, person: str) -> None:
        headers = {"Authorization": f"Bearer {api.token(person)}"}
        self.answer = Api(api.site, api.url).send("GET", "/v1/events", headers=headers, stream=True)
        self._lines = self.answer.iter_lines(chunk_size=1)  # dropped, it closes the connection
        if self.answer.status_code == 200:
            assert next(self._lines) == b": listening"

    def rest(self) -> list[bytes]:
        """All events that still come before the broker ends the stream."""
        return [line for line in self._lines if line.startswith(b"data: ")]

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.answer.close()


def refused(api: Api, person: str, status: int, code: str) -> None:
    with Stream(api, person) as stream:
        problem(stream.answer, status, code)


def test_it_ends_when_its_person_may_not_sign_any_more(api: Api, sealed: Sealed) -> None:
    with Stream(api, "second") as stream:
        key_id = api.site.keys["second"].public.key_id
        envelope = api.site.signed(KeyRevocation, "second", key_id=key_id)
        api.post("/v1/people/keys/revoke", {"envelope": envelope}, person="second")
        api.ask("dataset/digits")  # an approver would see it
        assert stream.rest() == []
    refused(api, "second", 401, "session-invalid")


def test_it_ends_when_its_session_does(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_QUIET", 0.05)
    clock = Clock()
    config = Config(session=timedelta(hours=1))
    with serve(site, clock=clock, config=config) as (api, _), Stream(api, "second") as stream:
        clock.offset = timedelta(hours=1)
        assert stream.rest() == []  # nothing was appended: it looks by itself


def test_it_ends_where_the_ledger_fails(api: Api, sealed: Sealed) -> None:
    with Stream(api, "researcher") as stream:
        envelope = api.request_envelope(("dataset/digits",))
        with database(api.site.database) as connection:
            cut_off_the_end(connection)
        answer = api.send("POST", "/v1/grants", {"envelope": envelope}, person="researcher")
        problem(answer, 503, "ledger-tampered")
        assert stream.rest() == []


def test_a_session_has_some_at_one_time(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        for _ in range(events.PER_SESSION):
            stack.enter_context(Stream(api, "second"))
        refused(api, "second", 403, "streams-too-many")
        stack.enter_context(Stream(api, "researcher"))
        monkeypatch.setattr(events, "IN_ALL", events.PER_SESSION + 1)
        refused(api, "approver", 403, "streams-too-many")


def test_a_stream_that_ended_makes_room(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PER_SESSION", 1)
    monkeypatch.setattr(events, "_QUIET", 0.05)
    with serve(site) as (api, _):
        with Stream(api, "second"):
            pass
        for _ in range(1000):  # until the broker has seen that the first is gone
            with Stream(api, "second") as stream:
                status = stream.answer.status_code
            if status == 200:
                break
        assert status == 200
