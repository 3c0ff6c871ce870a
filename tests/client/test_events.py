from __future__ import annotations

import pytest

from jupyter_aisec.client import events as module
from jupyter_aisec.client.events import follow, parse_events
from jupyter_aisec.client.http import Http
from jupyter_aisec.errors import BrokerUnreachableError
from tests.scripted import Answer, Scripted


def stream(*indexes: int, cut: int = 0) -> Answer:
    body = "".join(
        f': comment\nid: {index}\ndata: {{"index": {index},\ndata: "at": "t", "type": "x"}}\n\n'
        for index in indexes
    )
    return Answer(body=body.encode(), kind="text/event-stream", cut=cut)


def test_only_data_counts() -> None:
    lines = [": hello", "", "id: 1", "event: x", 'data: {"a":', "data:1}", "", "data: 2"]
    assert list(parse_events(iter(lines))) == [{"a": 1}]


def test_a_stream_that_ends_or_breaks_is_taken_up_where_it_was(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FIRST_WAIT", 0.0)
    scripted.script = [stream(1, 2), stream(3, cut=9), stream(4)]
    events = follow(Http(scripted.url), "/v1/events", None)
    assert [next(events).index for _ in range(4)] == [1, 2, 3, 4]
    assert [got.path.partition("?")[2] for got in scripted.got] == ["", "after=2", "after=3"]


def test_a_broker_that_stays_away_is_told(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FIRST_WAIT", 0.0)
    monkeypatch.setattr(module, "PATIENCE_SECONDS", -1.0)
    scripted.script = [stream(1, cut=9)]
    events = follow(Http(scripted.url), "/v1/events", 0)
    assert next(events).index == 1
    with pytest.raises(BrokerUnreachableError):
        next(events)
