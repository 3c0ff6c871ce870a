"""Marks that nobody's keeper made: what a file, a page or another server says of its outputs.

A mark names the keys to which an output is sealed. Whoever could put one into a notebook would
read, without a grant, what somebody with one shows in it.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jupyter_server.services.contents.largefilemanager import LargeFileManager
from tornado.web import HTTPError

from jupyter_aisec.client import Home
from jupyter_aisec.errors import MalformedError, WrongKeyError
from jupyter_aisec.sealed.outputs import MIME_TYPE, read_output, unwrap_content_key
from jupyter_aisec.sealed.release import ReleaseKey
from jupyter_aisec.server.contents import NotebookSaves
from jupyter_aisec.server.guard import Guard
from jupyter_aisec.server.marks import Mark, Recipient, carry, parse_mark, proved, union
from jupyter_aisec.server.proofs import Proofs
from jupyter_aisec.server.seen import Seen
from tests.server.world import (
    KEY,
    MARK,
    PROOFS,
    SECRET,
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


def _attacker() -> ReleaseKey:
    """A key that sorts behind the real one: the last used to win."""
    while (key := ReleaseKey.generate()).public <= KEY.public:
        pass
    return key


MINE = _attacker()
FORGED = Mark(
    recipients=(Recipient(artifact="dataset/digits", seal_id="seal_1", output_key=MINE.public),)
)
UNPROVED = msgspec.to_builtins(FORGED)
CLAIMS = {
    "as the keeper writes it": UNPROVED,
    "with a proof of nobody": {**UNPROVED, "proof": base64.b64encode(b"x" * 32).decode()},
    "with the proof of another mark": {
        **UNPROVED,
        "proof": base64.b64encode(PROOFS.of(proved(MARK))).decode(),
    },
    "with an honest one beside it": {
        "recipients": [*msgspec.to_builtins(MARK)["recipients"], *UNPROVED["recipients"]],
        "proof": base64.b64encode(PROOFS.of(proved(MARK))).decode(),
    },
    "that no canonical JSON can carry": {
        "recipients": [{**UNPROVED["recipients"][0], "artifact": "\ud800"}],
        "proof": "",
    },
    "of no recipients": {"recipients": [], "proof": ""},
    "of nothing": None,
}


def baits(claim: object, text: str = "hello") -> list[dict[str, Any]]:
    """Outputs of each kind with ``claim`` wherever a reader of marks might look."""
    metadata = {"aisec": claim}
    display = {"data": {"text/plain": text}, "metadata": metadata}
    return [
        {"output_type": "display_data", **display},
        {"output_type": "display_data", **display, "aisec": claim},
        {"output_type": "execute_result", **display, "execution_count": 1},
        {"output_type": "stream", "name": "stdout", "text": text, "aisec": claim},
        {"output_type": "stream", "name": "stdout", "text": text, "metadata": metadata},
        {"output_type": "error", "ename": "E", "evalue": text, "traceback": [], "aisec": claim},
    ]


def is_readable_by(key: ReleaseKey, sealed: dict[str, Any]) -> bool:
    header = read_output(sealed["data"][MIME_TYPE]).header
    try:
        unwrap_content_key(header, lambda _: key)
    except WrongKeyError:
        return False
    return True


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
@pytest.mark.parametrize("bait", range(len(baits(None))))
def test_a_forged_mark_beside_a_real_one_adds_and_replaces_no_key(
    manager: LargeFileManager, tmp_path: Path, claim: object, bait: int
) -> None:
    save(manager, notebook(cell(baits(claim)[bait], output("stream"))))
    for sealed in read(tmp_path)["cells"][0]["outputs"]:
        assert is_readable_by(KEY, sealed)
        assert not is_readable_by(MINE, sealed)
    text = json.dumps(opened(read(tmp_path)["cells"][0]["outputs"][0]))
    assert '"aisec"' not in text, "nor does it come back with what is opened"


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
@pytest.mark.parametrize("bait", range(len(baits(None))))
def test_a_forged_mark_in_another_cell_says_nothing_of_the_notebook(
    manager: LargeFileManager,
    tmp_path: Path,
    seen: Seen,
    sessions: Table,
    claim: object,
    bait: int,
) -> None:
    sessions.rows.append(("a.ipynb", "kernel"))
    seen.openings.came("kernel", MARK)
    save(manager, notebook(cell(baits(claim)[bait], id_="bait"), cell(plain())))
    assert seen.openings.mark_of("a.ipynb") == MARK
    for one in read(tmp_path)["cells"]:
        assert is_readable_by(KEY, one["outputs"][0])
        assert not is_readable_by(MINE, one["outputs"][0])


@pytest.mark.parametrize(
    "claim",
    # Jupyter itself reads no file with a lone surrogate.
    [one for name, one in CLAIMS.items() if "canonical" not in name],
    ids=[name for name in CLAIMS if "canonical" not in name],
)
def test_a_file_with_forged_marks_is_a_notebook_like_any_other(
    manager: LargeFileManager, tmp_path: Path, seen: Seen, claim: object
) -> None:
    """Opened from the disk, or edited by hand: before anything is opened, and after."""
    shared = notebook({**cell(*baits(claim)), "metadata": {"aisec": claim}}, aisec={"aisec": claim})
    (tmp_path / "a.ipynb").write_text(json.dumps(shared))
    content = manager.get("a.ipynb")["content"]
    save(manager, content)
    assert seen.openings.mark_of("a.ipynb") is None
    first = read(tmp_path)["cells"][0]
    assert MIME_TYPE not in json.dumps(first), "it says that it is to be sealed, and is not"
    assert '"aisec"' not in json.dumps(first["outputs"]), "and says so no more"
    content["cells"].append(cell(output(), id_="c2"))
    save(manager, content)
    assert SECRET not in written(tmp_path)
    (sealed,) = read(tmp_path)["cells"][1]["outputs"]
    assert is_readable_by(KEY, sealed)
    assert not is_readable_by(MINE, sealed)


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
@pytest.mark.parametrize("bait", range(len(baits(None))))
def test_what_says_it_is_to_be_sealed_and_nobody_knows_to_whom_is_not_written(
    manager: LargeFileManager, tmp_path: Path, claim: object, bait: int
) -> None:
    """From a page of another server, or uploaded: it may show what it says."""
    with pytest.raises(HTTPError, match="this server did not say so"):
        save(manager, notebook(cell(baits(claim, SECRET)[bait])))
    assert written(tmp_path) == ""
    save(manager, notebook(cell()))  # cleared, as the error says


def test_what_this_server_saw_come_unmarked_is_written_whatever_is_said_of_it(
    manager: LargeFileManager, tmp_path: Path, seen: Seen
) -> None:
    seen.digests.saw(plain(text="a card"), None)
    save(manager, notebook(cell(plain(text="a card", aisec=UNPROVED))))
    assert read(tmp_path)["cells"][0]["outputs"] == [plain(text=["a card"])]


def test_a_page_that_outlives_its_server_saves_what_it_shows(tmp_path: Path) -> None:
    """The next server of the same home knows what the last one gave to the page."""
    home = Home(tmp_path / "home")
    content = {"name": "stdout", "text": SECRET}
    proof = Proofs(home.page_key).of(proved(MARK))
    kept = {"output_type": "stream", **carry("stream", MARK, content, proof)}
    folder = tmp_path / "work"
    folder.mkdir()
    after = LargeFileManager(root_dir=str(folder))
    seen = Seen(Table(), Proofs(Home(tmp_path / "home").page_key))
    after.register_pre_save_hook(NotebookSaves(Guard(seen)).before_save)
    save(after, notebook(cell(kept)))
    assert is_readable_by(KEY, read(folder)["cells"][0]["outputs"][0])


def test_without_a_home_proofs_hold_for_one_server_and_then_nothing_is_written(
    tmp_path: Path,
) -> None:
    (tmp_path / "home").write_text("a file where the folder should be")
    proofs, others = (Proofs(Home(tmp_path / "home").page_key) for _ in range(2))
    proof = proofs.of(proved(MARK))
    assert proofs.proves(proved(MARK), proof)
    assert not others.proves(proved(MARK), proof)


def test_values_of_expressions_go_with_the_outputs(
    manager: LargeFileManager, tmp_path: Path
) -> None:
    """jupyterlab-myst keeps what a kernel replies in the metadata of a cell of text."""
    kept = {"user_expressions": [{"expression": "x", "result": {"data": {"text/plain": SECRET}}}]}
    text = {"cell_type": "markdown", "id": "t", "metadata": kept, "source": "{eval}`x`"}
    save(manager, notebook(text, cell(output())))
    assert SECRET not in written(tmp_path)
    save(manager, notebook(text), "b.ipynb")
    assert "user_expressions" in read(tmp_path, "b.ipynb")["cells"][0]["metadata"]


def test_two_keys_for_one_version_are_an_error_and_never_a_choice() -> None:
    for marks in ((MARK, FORGED), (FORGED, None, MARK)):
        with pytest.raises(MalformedError) as caught:
            union(*marks)
        assert caught.value.code == "output-keys-differ"
        assert "dataset/digits (seal_1)" in caught.value.what
    both = {"recipients": [*msgspec.to_builtins(MARK)["recipients"], *UNPROVED["recipients"]]}
    with pytest.raises(MalformedError):
        parse_mark(both)


def test_a_notebook_of_two_keepers_that_differ_is_not_written(
    manager: LargeFileManager, tmp_path: Path, seen: Seen, sessions: Table
) -> None:
    sessions.rows += [("a.ipynb", "first"), ("a.ipynb", "second")]
    seen.openings.came("first", MARK)
    with pytest.raises(MalformedError):
        seen.openings.came("second", FORGED)
    for _ in range(2):
        with pytest.raises(HTTPError, match="two different output keys"):
            save(manager, notebook(cell(plain())))
    assert written(tmp_path) == ""
