"""Saved outputs that were sealed, opened again: in this process, and in a real secure kernel."""

from __future__ import annotations

import copy
import json
import queue
import time
import uuid
from types import SimpleNamespace

import msgspec
import pytest

from jupyter_aisec.errors import AisecError
from jupyter_aisec.ids import new_id
from jupyter_aisec.kernel import comm
from jupyter_aisec.kernel.outputs import MARK
from jupyter_aisec.kernel.saved import open_saved
from jupyter_aisec.sealed.manifest import read_manifest
from jupyter_aisec.sealed.outputs import (
    MIME_TYPE,
    OutputKey,
    OutputSealer,
    read_output,
    seal_output,
)
from jupyter_aisec.sealed.release import ReleaseKey

from .conftest import SecureKernel
from .test_walk_ordinary import ask_and_approve, run

ROWS, BASE = "dataset/rows", "weights/base"
STREAM = {"output_type": "stream", "name": "stdout", "text": "accuracy 0.4711\n"}
PLOT = {
    "output_type": "display_data",
    "data": {"text/plain": "<Figure>", "text/html": "<b>4711</b>", "image/png": "aGVsbG8="},
    "metadata": {},
}
RESULT = {
    "output_type": "execute_result",
    "data": {"text/html": "<script>4711</script>"},
    "metadata": {},
    "execution_count": 3,
}
ERROR = {"output_type": "error", "ename": "E", "evalue": "e", "traceback": ["at", "4711"]}


def recipients(world, *artifacts):
    found = {}
    for name in artifacts:
        view = world.researcher.artifact(name)
        key = OutputKey(artifact=name, seal_id=view.seal_id)
        found[key] = read_manifest(view.manifest).output_key
    return found


def saved(world, output=STREAM, artifacts=(ROWS, BASE)):
    """What a notebook holds in place of ``output``, as it is read from the file."""
    sealed = seal_output(output, recipients(world, *artifacts))
    return json.loads(json.dumps(sealed))["data"][MIME_TYPE]


def write_notebook(folder, *cells):
    """A notebook of code cells with these outputs; a sealed bundle stands for its output."""
    path = folder / "saved.ipynb"
    made = [
        {
            "cell_type": "code",
            "outputs": [
                one
                if "output_type" in one
                else {"output_type": "display_data", "data": {MIME_TYPE: one}, "metadata": {}}
                for one in outputs
            ],
        }
        for outputs in cells
    ]
    path.write_text(json.dumps({"cells": [{"cell_type": "markdown"}, *made], "nbformat": 4}))
    return path


class TestOpening:
    def test_it_comes_back_as_it_was_and_is_an_input_from_then_on(self, notebook):
        ask_and_approve(notebook)
        session = notebook.face.session
        assert open_saved(notebook.face, saved(notebook.world)) == STREAM
        assert (session.labels, len(session.parents)) == (("secret",), 2)
        shown = session.ever_opened[notebook.world.researcher.artifact(ROWS).seal_id]
        run(notebook, "%load_secure dataset/rows as df")
        assert session.ever_opened[shown.seal_id] is not shown  # the artifact itself says more
        opened = session.ever_opened[shown.seal_id]
        assert open_saved(notebook.face, saved(notebook.world, PLOT)) == PLOT
        assert session.ever_opened[shown.seal_id] is opened

    def test_two_grants_cover_it_together(self, notebook):
        for name in (ROWS, BASE):
            run(notebook, f'%grant request {name} --for 1h --reason "apart"')
            notebook.world.approve_next()
        assert open_saved(notebook.face, saved(notebook.world, ERROR)) == ERROR

    def test_a_grant_for_that_version_alone_will_do(self, notebook):
        run(notebook, '%grant request dataset/rows@1 --for 1h --reason "pinned"')
        notebook.world.approve_next()
        assert open_saved(notebook.face, saved(notebook.world, artifacts=(ROWS,))) == STREAM

    def test_without_a_grant_it_says_what_to_ask_for(self, notebook):
        with pytest.raises(AisecError) as caught:
            open_saved(notebook.face, saved(notebook.world))
        assert caught.value.code == "no-grant"
        assert "%grant request dataset/rows weights/base --for 1h" in caught.value.next

    def test_a_grant_for_one_of_two_names_the_other(self, notebook):
        run(notebook, '%grant request dataset/rows --for 1h --reason "one"')
        notebook.world.approve_next()
        with pytest.raises(AisecError) as caught:
            open_saved(notebook.face, saved(notebook.world))
        assert caught.value.code == "no-grant"
        assert "%grant request weights/base --for 1h" in caught.value.next
        assert notebook.face.session.ever_opened == {}

    def test_while_it_is_pending_it_does_not_wait(self, notebook):
        run(notebook, '%grant request dataset/rows weights/base --for 1h --reason "soon"')
        with pytest.raises(AisecError) as caught:
            open_saved(notebook.face, saved(notebook.world))
        assert caught.value.code == "grant-pending"

    def test_after_the_end_it_points_to_a_new_request(self, notebook):
        grant = ask_and_approve(notebook)
        open_saved(notebook.face, saved(notebook.world))
        run(notebook, f"%grant return {grant}")
        with pytest.raises(AisecError) as caught:
            open_saved(notebook.face, saved(notebook.world))
        assert caught.value.code == "no-grant"

    def test_what_another_broker_sealed_says_so(self, notebook):
        key = OutputKey(artifact=ROWS, seal_id=new_id("seal"))
        bundle = seal_output(STREAM, {key: ReleaseKey.generate().public})["data"][MIME_TYPE]
        with pytest.raises(AisecError) as caught:
            open_saved(notebook.face, bundle)
        assert caught.value.code == "output-source-unknown"

    @pytest.mark.parametrize(
        ("change", "code"),
        [
            (lambda bundle, other: bundle.update(ciphertext="AAAA"), "output-changed"),
            (
                lambda bundle, other: bundle["header"].update(wrapped=other["header"]["wrapped"]),
                "output-header-changed",
            ),
            (
                lambda bundle, other: bundle["header"].update(keys=bundle["header"]["keys"][::-1]),
                "output-sources-invalid",
            ),
            (
                lambda bundle, other: bundle["header"].update(keys=bundle["header"]["keys"][:1]),
                "output-malformed",
            ),
            (lambda bundle, other: bundle.pop("ciphertext"), "malformed"),
        ],
        ids=["ciphertext", "another's key", "swapped recipients", "one left out", "no bundle"],
    )
    def test_what_was_changed_does_not_open_and_is_no_input(self, notebook, change, code):
        ask_and_approve(notebook)
        bundle = saved(notebook.world)
        changed = copy.deepcopy(bundle)
        change(changed, saved(notebook.world))
        with pytest.raises(AisecError) as caught:
            open_saved(notebook.face, changed)
        assert caught.value.code == code
        assert notebook.face.session.ever_opened == {}
        assert open_saved(notebook.face, bundle) == STREAM

    def test_what_was_sealed_by_anybody_is_no_more_than_an_output(self, notebook):
        ask_and_approve(notebook)
        with pytest.raises(AisecError) as caught:
            open_saved(notebook.face, saved(notebook.world, {"output_type": "execute_request"}))
        assert caught.value.code == "output-unreadable"


class TestMagic:
    def test_every_sealed_output_is_shown_by_its_cell(self, notebook, tmp_path, capsys):
        ask_and_approve(notebook)
        world = notebook.world
        path = write_notebook(
            tmp_path,
            [saved(world), saved(world, ERROR), STREAM],
            [saved(world, PLOT, (ROWS,)), saved(world, RESULT)],
            [saved(world, {**STREAM, "name": "stderr", "text": ["to ", "stderr"]})],
        )
        run(notebook, f"%open_outputs {path}")
        out, err = capsys.readouterr()
        assert "cell 2 · dataset/rows, weights/base\naccuracy 0.4711" in out
        assert out.count("0.4711") == 1  # what was not sealed is not repeated
        assert "at\n4711" in out
        assert "cell 3 · dataset/rows\n" in out
        assert "<Figure>" in out
        assert "text/html, which is shown in JupyterLab only" in out
        assert "<script>" not in out
        assert err == "to stderr"

    def test_nothing_that_a_front_end_acts_on_is_displayed(self, notebook, tmp_path, monkeypatch):
        ask_and_approve(notebook)
        shown = []
        monkeypatch.setattr(
            "jupyter_aisec.kernel.saved.display", lambda data, raw: shown.append((data, raw))
        )
        active = {"application/javascript": "1", "text/markdown": "<b>", "image/svg+xml": "<svg>"}
        output = {**PLOT, "data": {**PLOT["data"], **active}}
        path = write_notebook(tmp_path, [saved(notebook.world, output)])
        run(notebook, f"%open_outputs {path}")
        assert shown == [({"text/plain": "<Figure>", "image/png": "aGVsbG8="}, True)]

    def test_one_cell_may_be_named(self, notebook, tmp_path, capsys):
        ask_and_approve(notebook)
        cells = [saved(notebook.world)], [saved(notebook.world, ERROR)]
        path = write_notebook(tmp_path, *cells)
        run(notebook, f"%open_outputs {path} --cell 3")
        out = capsys.readouterr().out
        assert "4711" in out
        assert "accuracy" not in out
        run(notebook, f"%open_outputs {path} --cell 1")
        assert "There is no sealed output in cell 1." in capsys.readouterr().out

    def test_those_that_do_not_open_are_named_with_why(self, notebook, tmp_path, capsys):
        bundle = saved(notebook.world)
        path = write_notebook(tmp_path, [bundle, bundle], [bundle], [{**bundle, "x": 1}])
        run(notebook, f"%open_outputs {path}")
        out = capsys.readouterr().out
        assert "Not opened, cell 2, 3: No grant of this notebook" in out
        assert "%grant request dataset/rows weights/base" in out
        assert "Not opened, cell 4: " in out

    @pytest.mark.parametrize(
        ("text", "options", "code"),
        [
            (None, "", "notebook-unreadable"),
            ("{", "", "notebook-malformed"),
            ("[]", "", "notebook-malformed"),
            ('{"cells": 3}', "", "notebook-malformed"),
            ('{"cells": [3, {"outputs": [3, {"data": 3}]}]}', "--cell 3", "cell-unknown"),
            ("{}", "--cell x", "magic-usage"),
        ],
        ids=["absent", "no JSON", "no notebook", "no cells", "no such cell", "no number"],
    )
    def test_what_is_no_notebook_says_so(self, notebook, tmp_path, text, options, code):
        path = tmp_path / "x.ipynb"
        if text is not None:
            path.write_text(text)
        with pytest.raises(AisecError) as caught:
            run(notebook, f"%open_outputs {path} {options}")
        assert caught.value.code == code

    def test_a_notebook_of_odd_cells_has_none(self, notebook, tmp_path, capsys):
        path = tmp_path / "x.ipynb"
        path.write_text('{"cells": [3, {"outputs": [3, {"data": 3}, {"data": {}}]}]}')
        run(notebook, f"%open_outputs {path}")
        assert capsys.readouterr().out == "There is no sealed output.\n"


class TestComm:
    """What the page is answered; the messages themselves pass in the test below."""

    def ask(self, open_output, data):
        targets, sent = {}, []
        manager = SimpleNamespace(targets=targets, register_target=targets.__setitem__)
        shell = SimpleNamespace(kernel=SimpleNamespace(comm_manager=manager))
        comm.register(shell, open_output)
        page = SimpleNamespace(send=sent.append, close=lambda: sent.append("closed"))
        targets[comm.TARGET](page, {"content": {"data": data}})
        comm.unregister(shell)
        assert targets == {}
        return sent

    def test_an_output(self):
        sent = self.ask(lambda bundle: {"of": bundle}, {"sealed": 1})
        assert sent == [{"output": {"of": 1}}, "closed"]

    def test_a_refusal(self):
        def refuse(bundle):
            raise AisecError("What.", next="Next.", code="code")

        sent = self.ask(refuse, {"sealed": 1})
        problem = {"what": "What.", "next": "Next.", "code": "code"}
        assert sent == [{"error": problem}, "closed"]

    def test_a_fault_quotes_nothing(self):
        def fail(bundle):
            raise RuntimeError("4711")

        sent = self.ask(fail, {"sealed": 1})
        assert sent[0]["error"]["code"] == "output-not-opened"
        assert "4711" not in str(sent)
        assert self.ask(fail, {})[1] == "closed"


def ask_over_comm(kernel, bundle):
    """What a page does when somebody presses Show."""
    client, name = kernel.client, uuid.uuid4().hex
    content = {"comm_id": name, "target_name": comm.TARGET, "data": {"sealed": bundle}}
    client.shell_channel.send(client.session.msg("comm_open", content))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            message = client.get_iopub_msg(timeout=1)
        except queue.Empty:
            continue
        if message["msg_type"] == "comm_msg" and message["content"]["comm_id"] == name:
            return message["content"]["data"]
    raise AssertionError(kernel.log.read_text())


def marked(message):
    """The artifacts in the keeper's mark."""
    found = message["metadata"].get(MARK, {"recipients": []})
    return [one["artifact"] for one in found["recipients"]]


def test_from_one_secure_kernel_to_the_next(world, secure, tmp_path):
    """Loaded, shown, saved sealed; a new kernel opens it, and what comes after is sealed too."""
    secure.run('%grant request dataset/rows weights/base --for 1h --reason "again"').ok()
    grant = world.approve_next()
    secure.run("%load_secure dataset/rows as df").ok()
    secure.run("%load_secure weights/base as state").ok()
    (shown,) = (
        one for one in secure.run("print(df['b'][99])").ok().messages if one["msg_type"] == "stream"
    )
    output = {"output_type": "stream", **shown["content"]}
    keys = {
        OutputKey(artifact=one["artifact"], seal_id=one["seal_id"]): msgspec.convert(
            one["output_key"], bytes
        )
        for one in shown["metadata"][MARK]["recipients"]
    }
    bundle = OutputSealer().seal(output, keys)["data"][MIME_TYPE]
    assert "row 99" not in json.dumps(bundle)

    secure.restart()  # a kernel with other keys, on the same seat
    (before,) = (one for one in secure.run("print(1)").messages if one["msg_type"] == "stream")
    assert marked(before) == []
    assert ask_over_comm(secure, bundle) == {"output": output}
    (after,) = (one for one in secure.run("print(1)").messages if one["msg_type"] == "stream")
    assert marked(after) == [ROWS, BASE]  # the keeper takes both for opened

    path = write_notebook(tmp_path / "kernel", [bundle])
    assert "row 99" in secure.run(f"%open_outputs {path.name}").ok().text

    # What it seals now carries the labels, and names the output's sources as inputs.
    secure.run("%save_secure b'from what was shown' as results/shown").ok()
    view = world.researcher.artifact("results/shown")
    assert view.labels == ("secret",)
    tree = secure.run("%provenance").ok().text
    assert f"{ROWS} version 1" in tree
    assert "did not name" not in tree
    assert "the record does not name it" not in tree

    other = SecureKernel(world, tmp_path / "other", guarded=True)
    other.start()
    try:
        assert ask_over_comm(other, bundle)["error"]["code"] == "no-grant"
    finally:
        other.stop()
    changed = {**bundle, "ciphertext": msgspec.to_builtins(bytes(40))}
    assert ask_over_comm(secure, changed)["error"]["code"] == "output-changed"
    world.approver.revoke(grant, "enough")
    refused = ask_over_comm(secure, bundle)["error"]
    assert refused["code"] in {"no-grant", "lease-lost", "grant-ended"}
    assert "%grant request" in refused["next"] or "aisec grant request" in refused["next"]


def test_to_a_front_end_without_the_guard_it_comes_sealed(world, tmp_path):
    kernel = SecureKernel(world, tmp_path / "kernel")
    kernel.start()
    try:
        kernel.run('%grant request dataset/rows --for 1h --reason "no guard"').ok()
        world.approve_next()
        write_notebook(tmp_path / "kernel", [saved(world, artifacts=(ROWS,))])
        ran = kernel.run("%open_outputs saved.ipynb").ok()
        assert "accuracy" not in json.dumps(ran.messages, default=str)
        assert "Sealed output, made from dataset/rows" in ran.text
        (one,) = {
            key.artifact
            for message in ran.messages
            if MIME_TYPE in (data := message["content"].get("data", {}))
            for key in read_output(data[MIME_TYPE]).header.keys
        }
        assert one == ROWS
    finally:
        kernel.stop()
        world.end_all()
