"""Breaking the glass from a notebook: with the person's own home, and through the keeper."""

from __future__ import annotations

import pandas
import pytest

import jupyter_aisec as aisec
from tests.conftest import BREAKABLE, RunningBroker

from .conftest import World
from .test_walk_ordinary import code_of, run

ASK = '%grant request dataset/rows --for 1h --reason "the pager went" --break-glass'


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A broker whose policy lets the glass be broken."""
    broker = RunningBroker(tmp_path_factory.mktemp("breakable"))
    broker.start()
    broker.put_in_force(BREAKABLE)
    made = World(broker)
    made.researcher.seal("dataset/rows", {"rows.csv": b"a,b\n1,2\n"})
    yield made
    broker.stop()


@pytest.fixture(autouse=True)
def _nothing_owed(world):
    """No test breaks a glass that another one left broken."""
    yield
    for view in world.approver.grants():
        if "approver" in view.review_by:
            world.approver.send_review(world.approver.prepare_review(view, "justified"))


def newest(world):
    return world.researcher.grants()[-1]


def test_it_opens_at_once_and_the_card_says_what_is_owed(notebook, capsys):
    run(notebook, ASK)
    shown = capsys.readouterr().out
    assert "approved by nobody, starts when you open something (within 1" in shown
    assert "break-glass, review owed by approver" in shown
    run(notebook, "%load_secure dataset/rows as df --format pandas")
    assert isinstance(notebook.shell.user_ns["df"], pandas.DataFrame)
    view = newest(notebook.world)
    assert (view.state, view.break_glass, view.seconds) == ("active", True, 900)
    notebook.shell.user_ns["aisec"] = aisec
    again = "aisec.request('dataset/rows', for_='5m', reason='more', break_glass=True)"
    assert code_of(notebook, again) == "review-owed"
    assert code_of(notebook, f"%grant review {view.id}") == "not-in-a-kernel"
    run(notebook, "%grant list")
    assert "break-glass, review owed by approver" in capsys.readouterr().out


def test_the_function_breaks_it_too(notebook):
    notebook.shell.user_ns["aisec"] = aisec
    run(notebook, "aisec.request('dataset/rows', for_='5m', reason='pager', break_glass=True)")
    assert newest(notebook.world).break_glass
    run(notebook, "%grant return")


def test_an_extension_is_reviewed_before_the_next(notebook):
    run(notebook, ASK)
    first = newest(notebook.world)
    extend = f'%grant extend {first.id} --for 5m --reason "more" --break-glass'
    assert code_of(notebook, extend) == "review-owed"
    notebook.world.approver.send_review(
        notebook.world.approver.prepare_review(
            notebook.world.approver.grant(first.id), "unjustified", "not at night"
        )
    )
    run(notebook, extend)
    second = newest(notebook.world)
    assert (second.extends, second.break_glass) == (first.id, True)


def test_the_keeper_signs_for_it_too(relayed):
    """It is the person's request, as the ordinary one is: the flag passes as it was asked."""
    desk = relayed.face.session.desk
    run(relayed, ASK)
    view = newest(relayed.world)
    assert view.break_glass
    asked = desk.request(("dataset/rows",), 60, "as ever")
    assert (asked.state, asked.break_glass) == ("pending", False)
    relayed.world.approver.send_review(
        relayed.world.approver.prepare_review(relayed.world.approver.grant(view.id), "justified")
    )
    assert desk.extend(view.id, 60, "more", break_glass=True).break_glass
    assert not desk.extend(view.id, 60, "more").break_glass
    assert relayed.relay.refused == []
