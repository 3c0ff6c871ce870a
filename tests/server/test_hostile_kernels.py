"""What a notebook's own code says in a kernel, through real connections, up to the file."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from jupyter_aisec.sealed.outputs import MIME_TYPE, open_output, read_output, unwrap_content_key
from jupyter_aisec.sealed.release import ReleaseKey
from tests.jupyter import Server
from tests.server.page import Page
from tests.server.test_forged_marks import is_readable_by
from tests.server.world import cell, notebook

MINE = ReleaseKey.generate()
# The first cell of a notebook that somebody shared.
FORGE = f"""
kernel = get_ipython().kernel
real = mark["recipients"][0]
mine = "{base64.b64encode(MINE.public).decode()}"
claim = {{"recipients": [{{**real, "output_key": mine}}]}}
def say(kind, content, **metadata):
    kernel.session.send(kernel.iopub_socket, kind, content, parent=kernel.get_parent(),
                        metadata=metadata)
"""
SHOWN = '"data": {"text/plain": "bait"}'
BAITS = {
    "display": 'display({"text/plain": "bait"}, raw=True, metadata={"aisec": claim})',
    "message": f'say("display_data", {{{SHOWN}, "metadata": {{}}}}, aisec=claim)',
    "content": f'say("display_data", {{{SHOWN}, "metadata": {{}}, "aisec": claim}})',
    "update": (
        f'say("update_display_data", {{{SHOWN}, "metadata": {{"aisec": claim}}, '
        '"transient": {"display_id": "d"}})'
    ),
    "result": (
        f'say("execute_result", {{{SHOWN}, "metadata": {{"aisec": claim}}, "execution_count": 1}})'
    ),
    "stream": 'say("stream", {"name": "stdout", "text": "bait", "aisec": claim})',
    "stream's metadata": (
        'say("stream", {"name": "stdout", "text": "bait", "metadata": {"aisec": claim}})'
    ),
    "error": (
        'say("error", {"ename": "E", "evalue": "bait", "traceback": ["bait"], "aisec": claim}, '
        "aisec=claim)"
    ),
    "comm": (
        'say("comm_open", {"comm_id": "c", "target_name": "t", "data": {"aisec": claim}, '
        '"aisec": claim, "metadata": {"aisec": claim}}, aisec=claim); print("bait")'
    ),
}
OPEN = "state['opened'] = True"


@pytest.fixture
def plain_kernel(server: Server) -> Iterator[str]:
    """An ordinary kernel, with no keeper in front of it."""
    answer = server.request("POST", "api/kernels", json={"name": "plain"})
    answer.raise_for_status()
    id_ = answer.json()["id"]
    yield id_
    server.request("DELETE", f"api/kernels/{id_}")


def at(server: Server, kernel: str) -> str:
    """A new notebook that uses ``kernel``."""
    path = f"{uuid.uuid4().hex}.ipynb"
    made = {"path": path, "type": "notebook", "name": "", "kernel": {"id": kernel}}
    assert server.request("POST", "api/sessions", json=made).status_code == 201
    return path


def saved(server: Server, path: str, *cells: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The outputs of each cell in the file."""
    answer = server.save(path, type="notebook", format="json", content=notebook(*cells))
    assert answer.status_code in (200, 201), answer.text
    return [one["outputs"] for one in json.loads((server.folder / path).read_text())["cells"]]


def private_key(page: Page) -> ReleaseKey:
    """That of the artifact which the marking kernel says is open."""
    (shown,) = page.run("print(private.to_bytes().hex())", "key")
    return ReleaseKey(bytes.fromhex(shown["text"]))


@pytest.mark.parametrize("first", ["bait", "opening"])
@pytest.mark.parametrize("session", [False, True], ids=["no session", "session"])
def test_no_code_in_a_kernel_chooses_to_whom_its_outputs_are_sealed(
    server: Server, kernel: str, first: str, session: bool
) -> None:
    page = Page(server, kernel, v1=True)
    real = private_key(page)
    path = at(server, kernel) if session else f"{uuid.uuid4().hex}.ipynb"
    page.run(FORGE, "forge")
    for name, bait in BAITS.items():
        page.run("state['opened'] = False", "again")
        lines = [bait, OPEN] if first == "bait" else [OPEN, bait]
        mixed = page.run("\n".join([*lines, "print('47' + '11-rare')"]), f"{name} mixed")
        later = page.run("print('47' + '11-rare')", f"{name} later")
        cells = cell(*mixed, id_=f"{name} mixed"), cell(*later, id_=f"{name} later")
        everything = [one for outputs in saved(server, path, *cells) for one in outputs]
        assert "4711-rare" not in (server.folder / path).read_text(), name
        assert len(everything) == len(mixed) + len(later) >= 2, name
        shown = []
        for one in everything:
            assert not is_readable_by(MINE, one), name
            bundle = read_output(one["data"][MIME_TYPE])
            shown.append(open_output(bundle, unwrap_content_key(bundle.header, lambda _: real)))
        assert "bait" in json.dumps(shown), name
        assert json.dumps(shown).count("4711-rare") == 2, name


def test_a_kernel_without_a_keeper_marks_nothing(
    server: Server, kernel: str, plain_kernel: str
) -> None:
    """Nor does it say anything for the secure kernel that its notebook takes next."""
    path = at(server, plain_kernel)
    page = Page(server, plain_kernel, v1=True)
    page.run(FORGE, "forge")
    cells = []
    for name, bait in BAITS.items():
        shown = page.run(bait, name)
        assert shown, name
        for one in shown:
            assert "aisec" not in one, name
            assert "aisec" not in one.get("metadata", {}), name
        cells.append(cell(*shown, id_=name))
    for outputs in saved(server, path, *cells):
        assert MIME_TYPE not in json.dumps(outputs), "what it says is secret is not for it to say"
    server.request("DELETE", f"api/kernels/{plain_kernel}")
    answer = server.request(
        "POST",
        "api/sessions",
        json={"path": path, "type": "notebook", "name": "", "kernel": {"id": kernel}},
    )
    assert answer.status_code == 201
    secure = Page(server, kernel, v1=True)
    real = private_key(secure)
    later = secure.run(OPEN + "; print('47' + '11-rare')", "later")
    *_, (sealed,) = saved(server, path, *cells, cell(*later, id_="later"))
    assert is_readable_by(real, sealed)
    assert not is_readable_by(MINE, sealed)


def test_what_says_it_is_marked_and_has_no_keeper_is_withheld(
    server: Server, plain_kernel: str
) -> None:
    """Another server's kernel, say: its keeper relies on that server, which is not this one."""
    for page in (
        Page(server, plain_kernel, v1=True),
        Page(server, plain_kernel, v1=True, ours=False),
    ):
        page.run(FORGE, "forge")
        (shown,) = page.run(BAITS["message"].replace("bait", "secret"), "a")
        assert "withheld" in shown["data"]["text/plain"]
        page.run(BAITS["comm"].replace('{"aisec": claim}', '{"a": "secret"}', 1), "b")
        told = [one["content"] for one in page.came if one["type"] == "comm_open"]
        assert told
        assert all(one == {"comm_id": "", "data": {}} for one in told)
        echo = "execute_input"  # what the page itself asked to run
        assert "secret" not in json.dumps([one for one in page.came if one["type"] != echo])
        page.run("say('said_secret', {}, aisec=claim)", "c")
        assert "said_secret" not in [one["type"] for one in page.came]


def test_a_display_of_a_cell_from_before_is_sealed_once_it_is_updated(
    server: Server, kernel: str
) -> None:
    page = Page(server, kernel, v1=True)
    (before,) = page.run("shown = display('a plain card', display_id='d')", "before")
    page.run(OPEN, "open")
    (update,) = page.run("shown.update('47' + '11-rare')", "later")
    path = f"{uuid.uuid4().hex}.ipynb"
    kept = {name: value for name, value in before.items() if name != "transient"}
    ((plain,),) = saved(server, path, cell(kept, id_="before"))
    assert MIME_TYPE not in plain["data"]
    # The page puts an update where the display is.
    ((sealed,),) = saved(server, path, cell(update, id_="before"))
    assert MIME_TYPE in sealed["data"]
    assert "4711" not in (server.folder / path).read_text()


def test_a_client_that_is_not_our_page_finds_nothing_beside_what_is_sealed(
    server: Server, kernel: str
) -> None:
    client = Page(server, kernel, v1=True, ours=False)
    client.run(FORGE, "forge")
    client.run(OPEN, "open")
    client.came.clear()
    widget = '{"comm_id": "47" + "11", "target_name": "t", "data": {"a": "47" + "11"}}'
    client.run(f"say('comm_open', {widget}, version='47' + '11')", "widget")
    client.run("say('display_data', {'data': {}, 'metadata': {}}, more='47' + '11')", "shown")
    client.run("say('execute_input', {'code': '47' + '11', 'execution_count': 1})", "input")
    assert {"comm_open", "display_data", "execute_input"} <= {one["type"] for one in client.came}
    assert "4711" not in json.dumps(client.came)


def test_what_a_person_answers_is_an_output_of_its_cell(server: Server, kernel: str) -> None:
    """The page makes it by itself, of the prompt and the answer, and no message brings it."""
    page = Page(server, kernel, v1=True)
    page.run(OPEN, "open")
    page.answer("_ = input('47' + '11')", "asked", "mine")
    made = {"output_type": "stream", "name": "stdin", "text": "4711 mine\n"}
    path = f"{uuid.uuid4().hex}.ipynb"  # which no session names
    ((sealed,),) = saved(server, path, cell(made, id_="asked"))
    assert MIME_TYPE in sealed["data"]


def test_only_kernels_behind_a_keeper_are_told_of_the_guard(
    server: Server, kernel: str, plain_kernel: str
) -> None:
    for id_, told in ((kernel, True), (plain_kernel, False)):
        (shown,) = Page(server, id_, v1=True).run("print(guard is not None)", "a")
        assert shown["text"] == f"{told}\n"


def test_a_kernel_is_believed_after_a_restart_as_well(server: Server, kernel: str) -> None:
    Page(server, kernel, v1=True).run(OPEN, "a")
    assert server.request("POST", f"api/kernels/{kernel}/restart").status_code == 200
    page = Page(server, kernel, v1=True)
    (shown,) = page.run("print(guard is not None); " + OPEN, "b")
    assert shown["text"] == "True\n"
    shown = page.run("print('47' + '11-rare')", "c")
    path = f"{uuid.uuid4().hex}.ipynb"
    saved(server, path, cell(*shown, id_="new"))
    assert "4711" not in (server.folder / path).read_text()
