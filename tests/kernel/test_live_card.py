"""The card as a front end sees it: widget messages of a real secure kernel."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable
from typing import Any

import pytest


class Card:
    """What the card of the only grant says, from the messages that change it."""

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self.said: list[str] = []
        self._looked = 0

    def read(self, messages: Any) -> None:
        for message in messages:
            data = message["content"].get("data", {})
            state = data.get("state", {}) if isinstance(data, dict) else {}
            if isinstance(value := state.get("value"), str) and 'role="status"' in value:
                self.said.append(value)

    def cell(self, source: str) -> Any:
        ran = self._kernel.run(source)
        self.read(ran.messages)
        return ran

    def until(self, fits: Callable[[str], bool]) -> str:
        """The first state, of those said since the last call, that fits."""
        deadline = time.monotonic() + 60
        while True:
            while self._looked < len(self.said):
                self._looked += 1
                if fits(self.said[self._looked - 1]):
                    return self.said[self._looked - 1]
            assert time.monotonic() < deadline, self.said[-1:]
            with contextlib.suppress(queue.Empty):
                self.read([self._kernel.client.get_iopub_msg(timeout=1)])


@pytest.fixture
def card(secure: Any) -> Card:
    return Card(secure)


def test_it_counts_down_while_the_kernel_holds_the_seat_and_ends_with_the_grant(
    world: Any, card: Card
) -> None:
    card.cell('%grant request dataset/rows --for 5m --reason "a countdown"').ok()
    card.until(lambda text: "waiting for" in text)
    grant = world.approve_next()
    card.cell("%load_secure dataset/rows as df").ok()
    first = card.until(lambda text: "active, 4m" in text)
    card.until(lambda text: "active, 4m" in text and text != first)
    world.approver.revoke(grant, "stop")
    ended = card.until(lambda text: "wiped from memory" in text)
    assert "ended: revoked" in ended
    assert card.cell("'df' in globals()").ok().text.strip() == "False"


def test_shown_again_it_is_the_same_card_in_two_places(world: Any, card: Card) -> None:
    card.cell('%grant request dataset/rows --for 5m --reason "shown twice"').ok()
    again = card.cell("%grant show").ok()
    shown = [one for one in again.messages if one["msg_type"] == "display_data"]
    assert len(shown) == 1
    assert not [one for one in again.messages if one["msg_type"] == "comm_open"]


def test_a_cell_that_waits_says_for_whom(world: Any, card: Card, secure: Any) -> None:
    card.cell('%grant request dataset/rows --for 5m --reason "waiting"').ok()
    said: list[str] = []

    def heard(message: Any) -> None:
        said.append(str(message["content"].get("text", "")))
        if "waiting for approver" in said[-1]:
            world.approve_next()

    reply = secure.client.execute_interactive(
        "%load_secure dataset/rows as df", timeout=90, output_hook=heard
    )
    assert reply["content"]["status"] == "ok"
    assert "interrupt to stop waiting" in "".join(said)


def test_a_cell_stopped_by_the_end_says_why(world: Any, card: Card) -> None:
    card.cell('%grant request dataset/rows --for 5m --reason "stopped"').ok()
    grant = world.approve_next()
    card.cell("%load_secure dataset/rows as df").ok()
    messages: list[Any] = []

    def heard(message: Any) -> None:
        messages.append(message)
        if str(message["content"].get("text", "")).startswith("running"):
            world.approver.revoke(grant, "stop")

    reply = card._kernel.client.execute_interactive(
        "import time\nprint('running', flush=True)\nwhile True: time.sleep(0.1)",
        timeout=90,
        output_hook=heard,
    )["content"]
    assert reply["status"] == "error"
    (error,) = (one["content"] for one in messages if one["msg_type"] == "error")
    assert error["ename"] == "RefusedError"
    text = "\n".join(error["traceback"])
    assert "it ended (revoked)" in text
    assert "%grant request dataset/rows" in text
    assert "Traceback" not in text
