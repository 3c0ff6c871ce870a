from __future__ import annotations

import socket
import traceback
from pathlib import Path

import pytest

from jupyter_aisec.client import http as http_module
from jupyter_aisec.client.http import BearerAuth, Http
from jupyter_aisec.errors import (
    AisecError,
    BrokerFaultError,
    BrokerUnreachableError,
    ConflictError,
    IdentityError,
    LedgerError,
    MalformedError,
    NotFoundError,
    RefusedError,
    TamperedError,
    UsageError,
)
from tests.scripted import Answer, Scripted, problem

TOKEN = "very-secret-token"


def client(scripted: Scripted) -> Http:
    return Http(scripted.url + "/", auth=BearerAuth(lambda: TOKEN))


def test_json_goes_out_and_comes_back(scripted: Scripted) -> None:
    scripted.script = [Answer(body=b'{"a": [1]}')]
    assert client(scripted).post("/v1/x", {"key": b"\x00"}, {"Aisec-Action": "a"}) == {"a": [1]}
    assert client(scripted).get("/v1/y", {"n": 1}) == {"a": [1]}
    posted, got = scripted.got
    assert posted.body == b'{"key":"AA=="}'
    assert posted.headers["Authorization"] == f"Bearer {TOKEN}"
    assert posted.headers["Content-Type"] == "application/json"
    assert posted.headers["Aisec-Action"] == "a"
    assert got.path == "/v1/y?n=1"


def linked(body: bytes, link: str) -> Answer:
    return Answer(body=body, headers=(("Link", link),))


def test_of_a_link_only_the_query_is_followed(scripted: Scripted) -> None:
    """The token goes to the same list of the same server, whatever the link says."""
    scripted.script = [
        linked(b"[1]", '<?after=a%26b&limit=2>; rel="next"'),
        linked(b"[2]", '<http://127.0.0.1:1/elsewhere?after=b>; rel="next"'),
        linked(b"[3]", '<?after=c>; rel="prev"'),
    ]
    assert list(client(scripted).pages("/v1/x", {"state": "pending"})) == [[1], [2], [3]]
    assert [got.path for got in scripted.got] == [
        "/v1/x?state=pending&limit=1000",
        "/v1/x?after=a%26b&limit=2",
        "/v1/x?after=b",
    ]


def test_a_list_in_a_circle_is_a_fault(scripted: Scripted) -> None:
    scripted.script = [linked(b"[1]", '<?after=a>; rel="next"')]
    with pytest.raises(BrokerFaultError, match="circle"):
        list(client(scripted).pages("/v1/x"))
    assert len(scripted.got) == 2


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "duration-invalid", UsageError),
        (401, "session-unknown", IdentityError),
        (403, "self-approval", RefusedError),
        (404, "artifact-unknown", NotFoundError),
        (409, "already-decided", ConflictError),
        (422, "request-malformed", MalformedError),
        (500, "something", BrokerFaultError),
        (503, "ledger-tampered", TamperedError),
        (503, "store-failed", LedgerError),
    ],
)
def test_a_problem_becomes_our_error(
    scripted: Scripted, status: int, code: str, kind: type[AisecError]
) -> None:
    scripted.script = [problem(status, code=code, detail="What.", next="Do this.")]
    with pytest.raises(AisecError) as caught:
        client(scripted).post("/v1/x")
    error = caught.value
    assert type(error) is kind
    assert (error.code, error.what, error.next) == (code, "What.", "Do this.")


@pytest.mark.parametrize("content", [b"[]", b"{}", b'{"title": "T", "code": 7}'])
def test_a_problem_that_says_little_is_still_an_error(scripted: Scripted, content: bytes) -> None:
    scripted.script = [Answer(403, content, "application/problem+json")]
    with pytest.raises(RefusedError):
        client(scripted).get("/v1/x")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=b"<html>a wiki</html>"),
        Answer(body=b"\xff"),
        Answer(404, b"not found", "text/plain"),
        Answer(302, b"", headers=(("Location", "http://elsewhere.example/"),)),
        Answer(500, b"{", "application/problem+json"),
    ],
    ids=["not JSON", "not text", "not a problem", "a redirect", "a broken problem"],
)
def test_an_answer_that_is_not_a_brokers_is_a_fault(scripted: Scripted, answer: Answer) -> None:
    scripted.script = [answer]
    with pytest.raises(BrokerFaultError, match="AISEC_BROKER") as caught:
        client(scripted).get("/v1/x")
    assert caught.value.code == "broker-fault"


def test_a_redirect_does_not_carry_the_token_elsewhere(scripted: Scripted) -> None:
    scripted.script = [Answer(307, headers=(("Location", scripted.url + "/elsewhere"),))]
    with pytest.raises(BrokerFaultError):
        client(scripted).get("/v1/x")
    assert [got.path for got in scripted.got] == ["/v1/x"]


def test_an_answer_without_end_is_cut(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "ANSWER_BYTES", 1000)
    scripted.script = [Answer(body=b" " * 1001)]
    with pytest.raises(BrokerFaultError, match="an answer above"):
        client(scripted).get_bytes("/v1/x")


def test_an_answer_that_breaks_off_is_no_answer(scripted: Scripted) -> None:
    scripted.script = [Answer(body=b"{}", cut=10)]
    with pytest.raises(BrokerUnreachableError):
        client(scripted).get("/v1/x")


def test_a_get_is_retried_and_a_post_is_not(scripted: Scripted) -> None:
    away = Answer(503, b"", "text/plain")
    scripted.script = [away, Answer(body=b"1")]
    assert client(scripted).get("/v1/x") == 1
    scripted.script = [away, Answer(body=b"1")]
    with pytest.raises(BrokerFaultError):
        client(scripted).post("/v1/x")
    scripted.script = [away, Answer(body=b"1")]
    assert Http(scripted.url, repeatable_posts=True).post("/v1/x") == 1


def test_a_refusal_that_lasts_is_told_as_it_is(scripted: Scripted) -> None:
    scripted.script = [problem(503, code="ledger-cut-off", detail="Cut off.")]
    with pytest.raises(AisecError) as caught:
        client(scripted).get("/v1/x")
    assert caught.value.code == "ledger-cut-off"


def test_no_broker_says_how_to_start_one() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(BrokerUnreachableError, match="aisec broker start") as caught:
            Http(url, auth=BearerAuth(lambda: TOKEN)).get("/v1/x")
    shown = "".join(traceback.format_exception(caught.value))
    assert TOKEN not in shown
    assert "AISEC_BROKER" in shown


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:8787", "ftp://x", "file:///etc/passwd", "http://", "http://u:p@host"]
)
def test_what_is_no_url_of_a_broker_is_misuse(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        Http(url)
    assert caught.value.code == "broker-url-invalid"


def test_netrc_does_not_replace_the_token(
    scripted: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("default login u password p\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    client(scripted).get("/v1/x")
    Http(scripted.url).get("/v1/x")
    assert scripted.got[0].headers["Authorization"] == f"Bearer {TOKEN}"
    assert "Authorization" not in scripted.got[1].headers


def test_a_proxy_does_not_see_what_goes_to_this_machine(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert client(scripted).get("/v1/x") == {}


def test_no_repr_shows_the_token() -> None:
    auth = BearerAuth(lambda: TOKEN)
    assert TOKEN not in f"{auth!r} {Http('https://h', auth=auth)!r}"


def test_lines_of_a_stream(scripted: Scripted) -> None:
    scripted.script = [Answer(body=b"data: 1\n\ndata: 2\n\n", kind="text/event-stream")]
    assert list(client(scripted).lines("/v1/events")) == ["data: 1", "", "data: 2", ""]


def test_a_stream_that_breaks_off_is_told_apart_from_one_that_ends(scripted: Scripted) -> None:
    scripted.script = [Answer(body=b"data: 1\n\n", kind="text/event-stream", cut=5)]
    lines = client(scripted).lines("/v1/events")
    assert next(lines) == "data: 1"
    with pytest.raises(BrokerUnreachableError):
        list(lines)


def test_closing(scripted: Scripted) -> None:
    http = client(scripted)
    http.get("/v1/x")
    http.close()


@pytest.mark.parametrize("url", ["http://broker.example", "http://10.0.0.1:8787", "http://[::2]"])
def test_a_session_is_not_sent_unencrypted(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AISEC_ALLOW_HTTP", raising=False)
    with pytest.raises(UsageError) as caught:
        Http(url)
    assert caught.value.code == "broker-not-https"
    monkeypatch.setenv("AISEC_ALLOW_HTTP", "1")
    assert Http(url).url == url


@pytest.mark.parametrize(
    "url", ["http://127.0.0.2:1", "http://[::1]:1", "http://localhost", "https://broker.example"]
)
def test_this_machine_and_https_are_fine(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AISEC_ALLOW_HTTP", raising=False)
    assert Http(url).url == url
