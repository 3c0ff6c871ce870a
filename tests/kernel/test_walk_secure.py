"""The walk in a secure kernel: keeper, confinement and relay, started as a front end does."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import msgspec
import pytest

from jupyter_aisec.errors import AisecError
from jupyter_aisec.provenance.bundle import parse_bundle
from jupyter_aisec.provenance.evidence import SealedBytes
from jupyter_aisec.provenance.verify import verify_bundle

from .conftest import SecureKernel, wait_for

ASK = '%grant request dataset/rows weights/base --for 1h --reason "a test"'
TRAIN = """
import time, torch
model = torch.nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
def step():
    optimizer.zero_grad()
    model(torch.ones(1, 1)).sum().backward()
    optimizer.step()
for _ in range(5):
    step()
"""


def sealed_bytes(path):
    data = path.read_bytes()
    return SealedBytes(size=len(data), sha256=hashlib.sha256(data).hexdigest())


def ask_and_load(world, secure, *names):
    """A grant, approved, with both artifacts loaded as df and state; its id."""
    secure.run(ASK).ok()
    grant = world.approve_next()
    secure.run("%load_secure dataset/rows as df").ok()
    secure.run("%load_secure weights/base as state").ok()
    return grant


def test_waits_for_the_approval_and_opens_in_memory(world, secure):
    secure.run(ASK).ok()
    approving = threading.Thread(target=world.approve_next)
    approving.start()
    secure.run("%load_secure dataset/rows as df").ok()
    approving.join()
    secure.run("%load_secure weights/base as state").ok()
    assert "row 99" in secure.run("print(df['b'][99])").ok().text
    assert "torch.Size([3, 4])" in secure.run("print(state['w'].shape)").ok().text
    opened = secure.run(
        "import jupyter_aisec as aisec; print(aisec.open('weights/base/notes.txt').read())"
    )
    assert "hello" in opened.ok().text
    read = secure.run(
        "import pandas; print(len(pandas.read_parquet('aisec://dataset/rows/rows.parquet')))"
    )
    assert "100" in read.ok().text


WRITES = {
    "file": "open('x', 'w')",
    "folder": "import os; os.mkdir('x')",
    "elsewhere": "open('/etc/x', 'w')",
    "pandas, CSV": "import pandas; pandas.DataFrame({'a': [1]}).to_csv('x')",
    "pandas, Parquet": "import pandas; pandas.DataFrame({'a': [1]}).to_parquet('x')",
    "polars": "import polars; polars.DataFrame({'a': [1]}).write_parquet('x')",
    "numpy": "import numpy; numpy.save('x.npy', numpy.ones(1))",
    "torch": "import torch; torch.save(torch.ones(1), 'x')",
    "safetensors": ("import torch, safetensors.torch as s; s.save_file({'a': torch.ones(1)}, 'x')"),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_is_refused_and_explained(idle, write):
    ran = idle.run(write)
    assert ran.reply["status"] == "error"
    assert not list(idle.log.parent.glob("x*"))
    assert "This is the secure kernel" in ran.text
    assert "%save_secure" in ran.text
    assert "AISEC_SCRATCH" in ran.text


def test_scratch_takes_what_the_disk_does_not(idle):
    idle.run("import os; open(os.environ['AISEC_SCRATCH'] + '/x', 'w').write('fine')").ok()


def test_our_errors_are_a_panel_and_no_traceback(idle):
    ran = idle.run("%load_secure dataset/nothing as x --no-wait")
    assert ran.reply["status"] == "error"
    assert "%grant request dataset/nothing" in ran.text
    assert "(no-grant)" in ran.text
    assert "Traceback" not in ran.text
    assert ran.reply["ename"] == "NotFoundError"


@pytest.mark.parametrize("verb", ["approve", "deny", "revoke"])
def test_nobody_decides_from_inside(idle, verb):
    ran = idle.run(f"%grant {verb} grant_x")
    assert f"aisec grant {verb}" in ran.text


def test_a_restart_binds_again_without_a_new_approval(world, secure):
    grant = ask_and_load(world, secure)
    secure.restart()
    secure.run("%load_secure dataset/rows as df --no-wait").ok()
    bound = [v for v in world.researcher.grants() if v.id == grant]
    assert bound[0].state == "active"


def test_another_notebook_does_not_take_the_seat(world, secure, tmp_path):
    ask_and_load(world, secure)
    other = SecureKernel(world, tmp_path / "other")
    other.start()
    try:
        ran = other.run("%load_secure dataset/rows as df --no-wait")
        assert "(no-grant)" in ran.text
    finally:
        other.stop()


def test_a_revocation_interrupts_wipes_and_is_confirmed(world, secure):
    grant = ask_and_load(world, secure)
    secure.run("keep = state['w']").ok()
    secure.run(TRAIN).ok()
    revoked = threading.Thread(
        target=lambda: (
            wait_for(lambda: secure.manager.is_alive()),
            world.approver.revoke(grant, "stop"),
        )
    )
    revoked.start()
    ran = secure.run("while True:\n    step(); time.sleep(0.001)")
    revoked.join()
    assert ran.reply["ename"] == "KeyboardInterrupt"
    # Not a moment later: the next cell is held until everything is wiped.
    assert "True" in secure.run("print(bool(keep.isnan().all()))").ok().text
    assert "False False" in secure.run("print('df' in dir(), 'state' in dir())").text
    entries = wait_for(
        lambda: [e for e in world.approver.entries(0, 10_000) if e.type == "ending.confirmed"]
    )
    assert entries
    again = secure.run("%load_secure dataset/rows as df --no-wait")
    assert again.reply["status"] == "error"
    cut = secure.run("from jupyter_aisec.record import current; print(current().facts().cut_short)")
    assert "revoked" in cut.text


FORK = """
import os, time
if os.fork() == 0:
    os.setsid()
    time.sleep(1000)
"""


def test_what_a_notebook_forked_ends_with_the_grant(world, secure):
    """A fork holds copies that no wipe of its parent reaches."""
    grant = ask_and_load(world, secure)
    secure.run(FORK).ok()
    secure.run(f"%grant return {grant} --reason done").ok()
    living = "from jupyter_aisec.confine.processes import alive; print(sorted(alive()))"
    assert "[1, 2]" in secure.run(living).ok().text  # its init and itself


def test_a_fork_that_is_hidden_from_the_wipe_is_killed_with_its_kernel(world, secure):
    grant = ask_and_load(world, secure)
    secure.run(FORK).ok()
    secure.run("from jupyter_aisec.kernel import others; others.end_others = lambda _: True").ok()
    world.approver.revoke(grant, "stop")
    assert wait_for(lambda: not secure.manager.is_alive())
    assert wait_for(
        lambda: [v for v in world.researcher.grants() if v.id == grant and not v.ending]
    )
    killed = [e for e in world.approver.entries(0, 10_000) if b"killed" in e.body]
    assert [e for e in killed if grant.encode() in e.body]


def test_a_kernel_that_does_not_confirm_is_killed(world, secure):
    grant = ask_and_load(world, secure)
    secure.run("import jupyter_aisec.kernel.extension as e; e.face()._lease.stop()").ok()
    world.approver.revoke(grant, "stop")
    assert wait_for(lambda: not secure.manager.is_alive())
    assert wait_for(lambda: [e for e in world.approver.entries(0, 10_000) if b"killed" in e.body])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/grants"),
        ("POST", "/v1/grants/grant_01ARZ3NDEKTSV4RRFFQ69G5FAV/approve"),
        ("POST", "/v1/people"),
        ("GET", "/v1/people"),
        ("POST", "/v1/sessions"),
        ("POST", "/keeper/approve"),
        ("GET", "/keeper/secrets"),
        ("GET", "/etc/passwd"),
        ("DELETE", "/v1/grants"),
    ],
)
def test_the_relay_passes_only_what_is_on_its_list(idle, method, path):
    ran = idle.run(
        "import os, requests\n"
        f"url = os.environ['AISEC_RELAY'] + {path!r}\n"
        f"print(requests.request({method!r}, url, json={{}}).status_code)"
    )
    assert ran.ok().text.strip() in ("403", "405")


def test_nothing_of_the_person_is_in_the_kernel(world, idle):
    ran = idle.run(
        "import os\n"
        f"home = {str(world.broker.homes['researcher'].folder)!r}\n"
        "print([n for n in os.environ if 'TOKEN' in n], os.path.isdir(home) and os.listdir(home))"
    )
    assert ran.ok().text.strip() in ("[] False", "[] []")


def test_a_token_alone_releases_nothing(world, secure):
    """A thief with the researcher's session, and a key of their own."""
    from jupyter_aisec.client import KernelClient
    from jupyter_aisec.people.keys import SigningKey
    from jupyter_aisec.sealed.release import ReleaseKey

    grant = ask_and_load(world, secure)
    thief = KernelClient(
        world.broker.url,
        SigningKey.generate(),
        ReleaseKey.generate(),
        world.researcher.trust,
        bearer=world.researcher.bearer,
    )
    with pytest.raises(AisecError) as refused:
        thief.keys(grant, "dataset/rows")
    assert refused.value.code == "kernel-signature-invalid"


def test_an_unguarded_front_end_gets_sealed_outputs(world, tmp_path):
    kernel = SecureKernel(world, tmp_path / "papermill")
    kernel.start()
    try:
        assert "before" in kernel.run("print('before')").ok().text
        ask_and_load(world, kernel)
        ran = kernel.run("print('row', 12340 + 5); df").ok()
        assert "row 12345" not in str(ran.messages)
        assert "Sealed output, made from dataset/rows" in ran.text
        kinds = [m["header"]["msg_type"] for m in ran.messages]
        assert "stream" not in kinds
        assert "execute_result" not in kinds
        failed = kernel.run("raise ValueError(df['b'][98])")
        assert "row 98" not in str(failed.messages) + str(failed.reply)
    finally:
        kernel.stop()


def test_a_guarded_front_end_sees_outputs_with_their_mark(world, secure):
    ask_and_load(world, secure)
    ran = secure.run("print('row', 12340 + 5)").ok()
    assert "row 12345" in ran.text
    (stream,) = [m for m in ran.messages if m["header"]["msg_type"] == "stream"]
    names = [r["artifact"] for r in stream["metadata"]["aisec"]["recipients"]]
    assert names == ["dataset/rows", "weights/base"]


def test_train_save_and_verify_the_chain(world, secure):
    ask_and_load(world, secure)
    secure.run(TRAIN).ok()
    secure.run("%save_secure model as weights/secure-net").ok()
    shown = secure.run("%provenance").ok().text
    assert "5 steps" in shown
    assert "isolation full" in shown
    assert "the observers agree" in shown
    assert "approved by approver" in shown
    view = world.researcher.artifact("weights/secure-net")
    folder = Path(view.url.removeprefix("file://"))
    report = verify_bundle(
        (folder / "bundle.json").read_bytes(),
        world.researcher.trust,
        (folder / "manifest.json").read_bytes(),
        {path.name: sealed_bytes(path) for path in folder.glob("*.sealed")},
    )
    assert [check for check in report.checks if not check.ok] == []
    bundle = parse_bundle((folder / "bundle.json").read_bytes())
    (run,) = [msgspec.json.decode(one.body) for one in bundle.entries if one.type == "run.recorded"]
    assert run["differences"] == 0


def test_returning_wipes_and_the_kernel_lives_on(world, secure):
    grant = ask_and_load(world, secure)
    secure.run("keep = state['w']").ok()
    secure.run(f'%grant return {grant} --reason "done"').ok()
    assert "False True" in secure.run("print('df' in dir(), bool(keep.isnan().all()))").ok().text
    confirmed = wait_for(
        lambda: [
            e
            for e in world.approver.entries(0, 10_000)
            if e.type == "ending.confirmed" and grant.encode() in e.body
        ]
    )
    assert b"wiped" in confirmed[0].body
    assert secure.manager.is_alive()


def test_scratch_is_sealed_on_demand(world, secure):
    ask_and_load(world, secure)
    plots = "os.environ['AISEC_SCRATCH'] + '/plots'"
    secure.run(f"import os; os.mkdir({plots}); open({plots} + '/loss', 'w').write('falling')").ok()
    secure.run("%save_secure $AISEC_SCRATCH/plots as results/plots").ok()
    assert "loss" in secure.run(f"print(os.listdir({plots}))").ok().text
    secure.run('%grant request results/plots --for 1h --reason "look again"').ok()
    world.approve_next()
    opened = "import jupyter_aisec; print(jupyter_aisec.open('results/plots/loss').read())"
    assert "falling" in secure.run(opened).ok().text


def test_scratch_is_sealed_when_the_kernel_ends(world, secure):
    ask_and_load(world, secure)
    secure.run("import os; open(os.environ['AISEC_SCRATCH'] + '/plot', 'w').write('x')").ok()
    before = {one.seal_id for one in world.researcher.artifacts()}
    secure.manager.shutdown_kernel(now=False)
    new = [one for one in world.researcher.artifacts() if one.seal_id not in before]
    assert [one.artifact.startswith("results/scratch-") for one in new] == [True]
