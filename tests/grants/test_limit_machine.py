"""The random histories again, under limits: counted by a second, smaller account of an hour.

Two accounts of one human being ask, versions come and go, and the clock makes long steps too.
"""

from __future__ import annotations

from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from msgspec.structs import replace

from jupyter_aisec.grants import Policy, fold
from jupyter_aisec.grants.alerts import usage_of
from jupyter_aisec.grants.limits import Limits
from tests.effort import examples
from tests.grants.model import ARTIFACTS, OPENABLE, RESULT
from tests.grants.test_machine import Histories, grants

LIMITS = Limits(grants=5, artifacts=3, bytes=4000)
AN_HOUR = 3600


class LimitedHistories(Histories):
    requesters = ("researcher", "admin")

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[int, str]] = []
        self.spent: dict[tuple[str, str, int], int] = {}  # when: by human, artifact and version
        self.sizes = {name: [1500] for name in OPENABLE}

    def policy(self, mode: str) -> Policy:
        plain = super().policy(mode)
        both = ("person:researcher", "person:admin")
        return replace(
            plain,
            rule=tuple(replace(one, requesters=both) for one in plain.rule),
            same_person=(("researcher", "admin"),),
            limits=LIMITS,
        )

    def human(self, person: str) -> str:
        return "researcher" if person == "admin" else person

    def lately(self, person: str) -> list[int]:
        """The sizes of what that human being opened within the hour."""
        return [
            self.sizes[artifact][version]
            for (human, artifact, version), when in self.spent.items()
            if human == self.human(person) and self.t - when < AN_HOUR
        ]

    def asked_lately(self, person: str) -> int:
        human = self.human(person)
        return sum(who == human and self.t - when < AN_HOUR for when, who in self.asked)

    def newest(self, person: str, artifact: str) -> tuple[str, str, int]:
        return self.human(person), artifact, len(self.sizes[artifact]) - 1

    def has_room_to_ask(self, person: str) -> bool:
        return self.asked_lately(person) < 5

    def has_room_to_open(self, person: str, artifact: str) -> bool:
        if self.t - self.spent.get(self.newest(person, artifact), -AN_HOUR) < AN_HOUR:
            return True
        sizes = [*self.lately(person), self.sizes[artifact][-1]]
        return len(sizes) <= 3 and sum(sizes) <= 4000

    def did_ask(self, person: str) -> None:
        self.asked.append((self.t, self.human(person)))

    def did_open(self, person: str, artifact: str) -> None:
        self.spent[self.newest(person, artifact)] = self.t

    def did_seal_result(self) -> None:
        self.sizes[RESULT].append(1500)

    @rule(length=st.integers(600, AN_HOUR + 2) | st.just(AN_HOUR))
    def rest(self, length: int) -> None:
        self.world.later(seconds=length)

    @rule(artifact=st.sampled_from(ARTIFACTS), size=st.sampled_from([0, 10, 1000, 2500, 4001]))
    def seal(self, artifact: str, size: int) -> None:
        moment = self.t
        self.world.seal(artifact, files=[{"sealed_size": size}])
        self.sizes[artifact].append(size)
        self.last = moment

    @rule(target=grants)
    def restart(self) -> str:
        """A kernel opens everything, starts again and opens it again."""
        grant = self.open(ARTIFACTS, 60, False)
        for _ in range(2):
            self.bind(grant)
            for artifact in ARTIFACTS:
                self.release(grant, 1, artifact, 1)
        return grant

    @invariant()
    def both_count_alike(self) -> None:
        now = self.world.state.time(self.world.now)
        for person in ("researcher", "admin", "approver"):
            sizes = self.lately(person)
            assert usage_of(self.world.state, person, now) == [
                ("grants", self.asked_lately(person), 5),
                ("artifacts", len(sizes), 3),
                ("bytes", sum(sizes), 4000),
            ]

    def teardown(self) -> None:
        super().teardown()
        again, now = fold(self.world.entries), self.world.state.last_at + timedelta(minutes=30)
        for person in ("researcher", "admin"):
            assert usage_of(again, person, now) == usage_of(self.world.state, person, now)


TestLimitedHistories = LimitedHistories.TestCase
TestLimitedHistories.settings = settings(
    max_examples=examples(40), stateful_step_count=50, deadline=None
)
