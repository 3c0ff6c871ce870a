"""The guard on real contents managers: what is written, and what is refused."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from jupyter_server.services.contents.largefilemanager import LargeFileManager
from tornado.web import HTTPError

from jupyter_aisec.sealed.outputs import MIME_TYPE
from jupyter_aisec.server.contents import NotebookSaves
from jupyter_aisec.server.digests import Streams
from jupyter_aisec.server.guard import Guard
from jupyter_aisec.server.seen import Seen
from tests.server.world import (
    MARK,
    PROOFS,
    SECRET,
    TEXT,
    Table,
    cell,
    notebook,
    opened,
    output,
    plain,
    read,
    save,
    written,
)


@pytest.mark.parametrize("type_", ["display_data", "execute_result", "stream", "error"])
def test_a_marked_output_is_sealed_and_opens_to_what_it_was(
    manager: LargeFileManager, tmp_path: Path, type_: str
) -> None:
    answer = save(manager, notebook(cell(output(type_))))
    assert "message" not in answer, "the notebook that was written is valid"
    assert SECRET not in written(tmp_path)
    assert opened(read(tmp_path)["cells"][0]["outputs"][0]) == output(type_, marked=False)


def test_all_outputs_of_a_marked_cell_are_sealed_and_those_from_before_stay(
    manager: LargeFileManager, tmp_path: Path, seen: Seen
) -> None:
    card = output(marked=False, text="%grant card")
    mixed = cell(output("stream", marked=False), output())
    seen.digests.saw(card, None)
    save(manager, notebook(mixed, cell(card, id_="c2"), TEXT))
    assert SECRET not in written(tmp_path)
    first, second, _ = read(tmp_path)["cells"]
    assert [MIME_TYPE in one["data"] for one in first["outputs"]] == [True, True]
    assert second["outputs"][0]["data"]["text/plain"] in ("%grant card", ["%grant card"])


def test_a_cell_seen_by_the_server_is_sealed_though_its_output_lost_the_mark(
    manager: LargeFileManager, tmp_path: Path, seen: Seen
) -> None:
    seen.executions.asked("m1", "c1")
    seen.executions.came("m1", MARK)
    save(manager, notebook(cell(output("stream", marked=False))))
    assert SECRET not in written(tmp_path)


def test_saving_twice_gives_equal_files(manager: LargeFileManager, tmp_path: Path) -> None:
    content = notebook(cell(output(), output("stream")))
    save(manager, content)
    once = (tmp_path / "a.ipynb").read_bytes()
    assert SECRET in json.dumps(content), "what the caller holds stays as it was"
    save(manager, content)
    assert (tmp_path / "a.ipynb").read_bytes() == once
    save(manager, manager.get("a.ipynb")["content"])
    assert (tmp_path / "a.ipynb").read_bytes() == once, "sealed stays sealed, once"


def test_the_state_of_widgets_goes_with_the_outputs_it_shows(
    manager: LargeFileManager, tmp_path: Path
) -> None:
    widgets = {"application/vnd.jupyter.widget-state+json": {"state": {"a": SECRET}}}
    save(manager, notebook(cell(output()), widgets=widgets))
    assert SECRET not in written(tmp_path)
    save(manager, notebook(cell(output(marked=False, text="")), widgets=widgets), "b.ipynb")
    assert "widgets" in read(tmp_path, "b.ipynb")["metadata"]


def test_a_checkpoint_is_as_sealed_as_its_file(manager: LargeFileManager, tmp_path: Path) -> None:
    save(manager, notebook(cell(output())))
    checkpoint = manager.create_checkpoint("a.ipynb")
    manager.restore_checkpoint(checkpoint["id"], "a.ipynb")
    assert list((tmp_path / ".ipynb_checkpoints").iterdir())
    assert SECRET not in written(tmp_path)
    manager.copy("a.ipynb", "b.ipynb")
    assert SECRET not in written(tmp_path)


@pytest.mark.parametrize("path", ["a.ipynb", "A.IPYNB", "notes.txt"])
@pytest.mark.parametrize("format_", ["text", "base64"])
def test_a_notebook_saved_as_a_file_is_guarded_too(
    manager: LargeFileManager, tmp_path: Path, path: str, format_: str
) -> None:
    text = json.dumps(notebook(cell(output())))
    content = base64.b64encode(text.encode()).decode() if format_ == "base64" else text
    # The mark is found by its content in a file of any name.
    manager.save({"type": "file", "format": format_, "content": content}, path)
    assert SECRET not in written(tmp_path)
    assert opened(read(tmp_path, path)["cells"][0]["outputs"][0])["output_type"] == "display_data"


def test_worksheets_of_format_3_are_guarded(manager: LargeFileManager, tmp_path: Path) -> None:
    old = {
        "nbformat": 3,
        "nbformat_minor": 0,
        "metadata": {},
        "worksheets": [notebook(cell(output()))],
    }
    manager.save({"type": "file", "format": "text", "content": json.dumps(old)}, "a.ipynb")
    assert SECRET not in written(tmp_path)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        pytest.param("a.txt", "plain text", id="text"),
        pytest.param("a.txt", 'say "output_key"', id="text with the word"),
        pytest.param("a.json", '["output_key"]', id="a list"),
        pytest.param("a.ipynb", "", id="a new notebook"),
        pytest.param("a.ipynb", '{ "cells":  [] }', id="its own spacing"),
        pytest.param("a.ipynb", '{"cells": 3, "worksheets": [1]}', id="odd cells"),
    ],
)
def test_other_files_are_written_as_they_are(
    manager: LargeFileManager, tmp_path: Path, path: str, content: str
) -> None:
    manager.save({"type": "file", "format": "text", "content": content}, path)
    assert (tmp_path / path).read_text() == content


BROKEN_MARK = {**output(marked=False), "metadata": {"aisec": {"recipients": []}}}
BROKEN_KEY = {
    **output(marked=False),
    "metadata": {
        "aisec": {"recipients": [{"artifact": "a", "seal_id": "s", "output_key": "AAAA"}]}
    },
}


@pytest.mark.parametrize(
    ("path", "model"),
    [
        pytest.param(
            "a.ipynb", {"type": "notebook", "content": notebook(cell(BROKEN_MARK))}, id="bad mark"
        ),
        pytest.param(
            "a.ipynb", {"type": "notebook", "content": notebook(cell(BROKEN_KEY))}, id="bad key"
        ),
        pytest.param("a.ipynb", {"type": "notebook", "content": [SECRET]}, id="not a notebook"),
        pytest.param(
            "a.ipynb", {"type": "file", "format": "text", "content": SECRET}, id="not JSON"
        ),
        pytest.param(
            "a.ipynb", {"type": "file", "format": "base64", "content": "A"}, id="not base64"
        ),
        pytest.param(
            "a.ipynb",
            {"type": "file", "format": "text", "content": SECRET, "chunk": 1},
            id="in pieces",
        ),
        pytest.param(
            "a.txt",
            {
                "type": "file",
                "format": "text",
                "content": json.dumps(notebook(cell(output()))),
                "chunk": 1,
            },
            id="in pieces under another name",
        ),
    ],
)
def test_what_cannot_be_guarded_is_not_written(
    manager: LargeFileManager,
    tmp_path: Path,
    path: str,
    model: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with pytest.raises(HTTPError) as caught:
        manager.save(model, path)
    assert caught.value.status_code in (400, 500)
    assert written(tmp_path) == ""
    assert SECRET not in caplog.text + str(caught.value)


def test_pieces_of_other_files_pass(manager: LargeFileManager, tmp_path: Path) -> None:
    for chunk, content in ((1, "a"), (2, "b"), (-1, "c")):
        manager.save({"type": "file", "format": "text", "content": content, "chunk": chunk}, "x")
    assert (tmp_path / "x").read_text() == "abc"


def test_folders_and_renames_pass(manager: LargeFileManager, tmp_path: Path) -> None:
    manager.save({"type": "directory"}, "folder")
    assert (tmp_path / "folder").is_dir()


def test_a_notebook_whose_kernel_opened_something_is_sealed_whatever_its_cells(
    manager: LargeFileManager, tmp_path: Path, seen: Seen, sessions: Table
) -> None:
    """Format 4.4 has no cell ids, and a pasted cell has a new one."""
    sessions.rows.append(("a.ipynb", "kernel"))
    early = plain(text="from before\n")
    seen.digests.saw(early, None)
    seen.openings.came("kernel", MARK)
    joined, typed = plain(), plain(name="stdin")
    pasted = cell(joined, id_="new")
    old = {name: value for name, value in pasted.items() if name != "id"}
    widgets = {"application/vnd.jupyter.widget-state+json": {"state": {"a": SECRET}}}
    content = notebook(old, cell(typed, early), widgets=widgets)
    save(manager, {**content, "nbformat_minor": 4})
    assert SECRET not in written(tmp_path)
    assert "from before" in written(tmp_path)
    assert opened(read(tmp_path)["cells"][0]["outputs"][0]) == joined
    sessions.rows.clear()  # the kernel is shut down; the page still shows what it showed
    save(manager, content)
    assert SECRET not in written(tmp_path)


def test_a_kernel_that_a_notebook_takes_later_seals_it_as_well(
    manager: LargeFileManager, tmp_path: Path, seen: Seen, sessions: Table
) -> None:
    seen.openings.came("kernel", MARK)
    seen.openings.came("kernel", MARK)
    sessions.rows.append(("a.ipynb", "kernel"))
    save(manager, notebook(cell(plain())))
    assert SECRET not in written(tmp_path)


def test_one_mark_in_a_notebook_seals_what_lost_its_own(
    manager: LargeFileManager, tmp_path: Path
) -> None:
    save(manager, notebook(cell(output()), cell(plain(), id_="pasted")))
    assert SECRET not in written(tmp_path)


def test_what_lay_in_the_file_before_stays_as_it_is(
    manager: LargeFileManager, tmp_path: Path, sessions: Table, seen: Seen
) -> None:
    save(manager, notebook(cell(plain(text="old\nlines\n"))))
    sessions.rows.append(("a.ipynb", "kernel"))
    seen.openings.came("kernel", MARK)
    save(manager, notebook(cell(plain(text="old\nlines\n"), plain())))
    assert SECRET not in written(tmp_path)
    assert "lines" in written(tmp_path)


def test_a_marked_output_pasted_into_another_notebook_is_known_by_its_content(
    manager: LargeFileManager, tmp_path: Path, seen: Seen
) -> None:
    streams = Streams(seen.digests)
    pieces = ("early ", None), (SECRET, MARK)
    for text, mark in pieces:
        streams.saw("m1", plain(text=text), mark)
    joined = plain(text=["early ", SECRET])
    save(manager, notebook(cell(joined), cell(plain(text="mine"), id_="c2")), "other.ipynb")
    assert SECRET not in written(tmp_path)
    assert "mine" in written(tmp_path)


def test_streams_are_joined_as_a_page_joins_them(seen: Seen) -> None:
    streams = Streams(seen.digests)
    streams.saw("m1", plain(text="a"), None)
    streams.saw("m1", plain(text="b"), None)
    streams.saw("m1", plain(text="c", name="stderr"), None)
    streams.saw("m1", output(marked=False, text="shown"), None)
    streams.saw("m1", plain(text="d"), None)
    for text in ("a", "b", "ab", "d"):
        assert seen.digests.is_plain(plain(text=text))
    assert seen.digests.is_plain(plain(text="c", name="stderr"))
    assert seen.digests.is_plain(output("execute_result", marked=False, text="shown")) is False
    for text in ("abc", "abd", "c"):
        assert not seen.digests.is_plain(plain(text=text))


def test_what_came_plain_as_well_is_not_sealed_in_an_ordinary_notebook(
    manager: LargeFileManager, tmp_path: Path, seen: Seen
) -> None:
    seen.digests.saw(plain(text="True"), MARK)
    seen.digests.saw(plain(text="True"), None)
    save(manager, notebook(cell(plain(text="True"))), "other.ipynb")
    assert MIME_TYPE not in written(tmp_path)
    save(manager, notebook(cell(plain(text="True")), cell(output(), id_="c2")))
    assert (tmp_path / "a.ipynb").read_text().count(f'"{MIME_TYPE}"') == 2


def test_digests_are_bounded(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jupyter_aisec.server.digests._MOST", 1)
    seen.digests.saw(plain(text="a"), None)
    seen.digests.saw(plain(text="b"), None)
    assert not seen.digests.is_plain(plain(text="a"))
    assert seen.digests.is_plain(plain(text="b"))


def test_an_image_pasted_as_an_attachment_is_not_saved(
    manager: LargeFileManager, tmp_path: Path, seen: Seen
) -> None:
    image = base64.b64encode(SECRET.encode() * 10).decode()
    shown = {**output(marked=False), "data": {"image/png": image + "\n"}}
    seen.digests.saw(shown, MARK)
    pasted = {**TEXT, "attachments": {"a.png": {"image/png": image}, "b.png": {"image/png": "b"}}}
    save(manager, notebook(pasted), "other.ipynb")
    assert image not in written(tmp_path)
    kept = read(tmp_path, "other.ipynb")["cells"][0]["attachments"]
    assert kept["b.png"] == {"image/png": "b"}
    odd = {**TEXT, "attachments": {"a.png": 3}}
    manager.save(
        {"type": "file", "format": "text", "content": json.dumps(notebook(odd))}, "odd.ipynb"
    )


def test_an_output_that_only_looks_sealed_is_sealed(
    manager: LargeFileManager, tmp_path: Path
) -> None:
    save(manager, notebook(cell(output())))
    genuine = read(tmp_path)["cells"][0]["outputs"][0]
    hidden = base64.b64encode(SECRET.encode() * 10).decode()
    forged = json.loads(json.dumps(genuine))
    forged["data"][MIME_TYPE]["ciphertext"] = hidden
    save(manager, notebook(cell(forged, output())), "b.ipynb")
    assert hidden not in written(tmp_path)


def test_a_new_server_keeps_what_lies_sealed_in_the_file(
    manager: LargeFileManager, tmp_path: Path
) -> None:
    save(manager, notebook(cell(output())))
    once = (tmp_path / "a.ipynb").read_bytes()
    again = LargeFileManager(root_dir=str(tmp_path))
    another = Seen(Table(), PROOFS)
    another.openings.found("a.ipynb", MARK)
    again.register_pre_save_hook(NotebookSaves(Guard(another)).before_save)
    save(again, again.get("a.ipynb")["content"])
    assert (tmp_path / "a.ipynb").read_bytes() == once
