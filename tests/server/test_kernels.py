"""A marking kernel behind a real server, over both websocket protocols, up to the file."""

from __future__ import annotations

import json
import re
import uuid

import pytest
import requests
import websocket

from jupyter_aisec.sealed.outputs import MIME_TYPE
from tests.jupyter import Server
from tests.server.page import Page, page_cookie


@pytest.mark.parametrize(
    ("v1", "binary"),
    [
        pytest.param(True, False, id="v1"),
        pytest.param(False, False, id="JSON"),
        pytest.param(False, True, id="JSON with buffers"),
    ],
)
def test_from_the_kernel_to_the_file_nothing_marked_is_plain(
    server: Server, kernel: str, v1: bool, binary: bool
) -> None:
    page = Page(server, kernel, v1=v1, binary=binary)
    path = f"{uuid.uuid4().hex}.ipynb"
    before = page.run("print('a plain card')", "before")
    assert before == [{"output_type": "stream", "name": "stdout", "text": "a plain card\n"}]
    late = "state['opened'] = True; print('47', '11-rare', sep='')"
    mixed = page.run("print('early', end='', flush=True); " + late, "mixed")
    # What a browser makes of the pieces of a stream: the first one's fields, all texts.
    joined = {**mixed[0], "text": "".join(piece["text"] for piece in mixed)}
    assert "aisec" not in joined
    shown = page.run("import no_module_4711_rare", "error")
    assert "aisec" in shown[0]
    result = page.run("'4711' + '-rare'", "result")
    assert "aisec" in result[0]["metadata"]
    cells = [
        {
            "cell_type": "code",
            "id": id_,
            "metadata": {},
            "execution_count": 1,
            "source": "",
            "outputs": outputs,
        }
        for id_, outputs in (
            ("before", before),
            ("mixed", [joined]),
            ("error", shown),
            ("result", result),
        )
    ]
    content = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    for _ in range(2):
        answer = server.save(path, type="notebook", format="json", content=content)
        assert answer.status_code in (200, 201), answer.text
        assert "message" not in answer.json()
    text = (server.folder / path).read_text()
    assert "4711" not in text
    assert "a plain card" in text
    assert text.count(f'"{MIME_TYPE}"') == 3
    log = server.log.read_text()
    assert "error linking" not in log
    assert "without encryption" not in log, "kernels that can speak CurveZMQ do"


def test_a_save_that_cannot_be_sealed_is_refused_by_the_server(server: Server) -> None:
    bad = {"output_type": "stream", "name": "stdout", "text": "4711", "aisec": {}}
    cell = {
        "cell_type": "code",
        "id": "a",
        "metadata": {},
        "execution_count": 1,
        "source": "",
        "outputs": [bad],
    }
    content = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    answer = server.save("refused.ipynb", type="notebook", format="json", content=content)
    assert answer.status_code == 500
    assert "Not saved" in answer.text
    assert not (server.folder / "refused.ipynb").exists()
    assert "4711" not in server.log.read_text()


def test_a_terminal_is_not_told_of_the_guard(server: Server) -> None:
    """``papermill`` in a terminal of the lab writes its own file: the keeper must seal there."""
    answer = server.request("POST", "api/terminals")
    if answer.status_code == 404:  # a server without terminals
        return
    name = answer.json()["name"]
    socket = websocket.create_connection(
        f"ws{server.url[4:]}terminals/websocket/{name}",
        header={"Authorization": f"token {server.token}"},
        timeout=60,
    )
    socket.send(json.dumps(["stdin", 'echo "guard=<$AISEC_GUARD_TOKEN>"\r']))
    seen = ""
    while not re.search("guard=<[^$]*>", seen):
        kind, *rest = json.loads(socket.recv())
        seen += rest[0] if kind == "stdout" else ""
    server.request("DELETE", f"api/terminals/{name}")
    assert "guard=<>" in seen


def test_a_client_that_is_not_our_page_gets_sealed_outputs(server: Server, kernel: str) -> None:
    """A remote VS Code, or a script with the server's token: it writes files of its own."""
    client = Page(server, kernel, v1=False, ours=False)
    assert client.run("print('before')", "a")[0]["text"] == "before\n"
    client.run("state['opened'] = True", "b")
    (shown,) = client.run("print('47', '11-rare', sep='')", "c")
    assert shown["output_type"] == "display_data"
    assert MIME_TYPE in shown["data"]
    assert "4711" not in json.dumps(shown)
    page = Page(server, kernel, v1=True)
    assert page.run("print('47', '11-rare', sep='')", "d")[0]["text"] == "4711-rare\n"


@pytest.mark.parametrize("cookie", ["", "forged", "2|1:0|10:1|1:a|4:YWJj|00"])
def test_a_cookie_that_this_server_did_not_sign_makes_no_page(
    server: Server, kernel: str, cookie: str
) -> None:
    client = Page(server, kernel, v1=True)
    client.run("state['opened'] = True", "a")
    name = page_cookie(server).partition("aisec-page-")[2].partition("=")[0]
    forger = Page(server, kernel, v1=True, ours=False, cookie=f"aisec-page-{name}={cookie}")
    assert "4711" not in json.dumps(forger.run("print('47' + '11')", "b"))


def test_saying_that_one_is_our_page_takes_a_login(server: Server) -> None:
    assert requests.post(server.url + "aisec/page", timeout=60).status_code == 403
    given = server.request("POST", "aisec/page").headers["Set-Cookie"]
    ours = given[given.index("aisec-page-") :]
    assert "HttpOnly" in ours
    assert "SameSite=Strict" in ours


def test_a_message_whose_mark_is_none_goes_nowhere_and_the_next_one_does(
    server: Server, kernel: str
) -> None:
    page = Page(server, kernel, v1=True)
    page.run("kept = mark['recipients']", "a")
    broken = "mark['recipients'] = []; state['opened'] = True; print('47' + '11'); "
    flushed = "sys.stdout.flush(); mark['recipients'] = kept"
    assert page.run("import sys; " + broken + flushed, "b") == []
    (last,) = page.run("print('fine')", "c")
    assert last["text"] == "fine\n"
    assert "4711" not in server.log.read_text()


def test_what_a_question_mark_shows_is_sealed_in_the_file(server: Server, kernel: str) -> None:
    answer = server.request(
        "POST",
        "api/sessions",
        json={"path": "asked.ipynb", "type": "notebook", "name": "", "kernel": {"id": kernel}},
    )
    assert answer.status_code == 201, answer.text
    page = Page(server, kernel, v1=True)
    page.run("state['opened'] = True; x = '47' + '11-rare'", "a")
    page.run("x?", "b")
    # What the page makes of the payload: no message, no mark.
    shown = {
        "output_type": "display_data",
        "data": {"text/plain": "4711-rare"},
        "metadata": {},
    }
    cell = {
        "cell_type": "code",
        "metadata": {},
        "execution_count": 1,
        "source": "x?",
        "outputs": [shown],
    }
    content = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    server.save("asked.ipynb", type="notebook", format="json", content=content).raise_for_status()
    assert "4711" not in (server.folder / "asked.ipynb").read_text()
