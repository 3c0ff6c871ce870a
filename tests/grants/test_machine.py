"""Random histories with a random clock, held against the second account of the rules.

Whatever the model allows must be appended, whatever it does not must be refused and leave the
ledger as it was, and after every step both must agree on the state of every grant, what it
covers, when it ends and who has yet to review it, and on the labels of every version.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from jupyter_aisec.errors import AisecError
from jupyter_aisec.grants import Policy, fold, propose_ending
from jupyter_aisec.grants.duties import unreviewed, who_reviews
from jupyter_aisec.grants.signatures import TOLERANCE
from jupyter_aisec.people.keys import SigningKey
from jupyter_aisec.times import format_time
from tests.effort import examples
from tests.grants.model import (
    ACTIONS,
    APPROVERS,
    ARTIFACTS,
    BEGIN,
    EVERYBODY,
    GLASS,
    LABELS,
    LONGEST,
    NEEDED,
    OPENABLE,
    PENDING,
    RESULT,
    Action,
    Model,
    Session,
    may_ask,
    may_break,
    may_drop,
)
from tests.grants.world import START, Kernel, policy, stocked, ulid

VERDICTS = ("justified", "unjustified")

grants = Bundle("grants")
modes = st.sampled_from(["enforce", "observe"])
some_labels = st.sets(st.sampled_from(LABELS))
plain_artifacts = st.sets(st.sampled_from(ARTIFACTS), min_size=1).map(lambda x: tuple(sorted(x)))
some_artifacts = plain_artifacts | st.sets(st.sampled_from(OPENABLE), min_size=1).map(
    lambda x: tuple(sorted(x))
)
seconds = st.integers(1, 120)
people = st.sampled_from(EVERYBODY)
approvers = st.sampled_from((*APPROVERS, *EVERYBODY))
askers = st.sampled_from(("researcher",) * 5 + ("admin",))
countersigners = st.sampled_from([{"approver"}, {"second"}, set(APPROVERS)])


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = stocked()
        # A first policy cannot waive an approval, and so not let anybody break the glass.
        self.world.apply_policy(self.policy("enforce"))
        self.modes = ["enforce", "enforce"]  # of each policy there was
        self.last = 0
        self.models: dict[str, Model] = {}
        self.kernels: dict[str, Kernel] = {}
        self.actions: dict[str, tuple[str, str]] = {}
        # The labels of the result's versions, by seal id.
        self.labels: dict[str, set[str]] = {self.world.seal(RESULT, self.key): set()}
        self.sessions: defaultdict[str, Session] = defaultdict(Session)  # by person

    # What another machine, with limits, knows more of.

    requesters: tuple[str, ...] = ("researcher",)

    def human(self, person: str) -> str:
        return person

    def has_room_to_ask(self, person: str) -> bool:
        return True

    def has_room_to_open(self, person: str, artifact: str) -> bool:
        return True

    def did_ask(self, person: str) -> None:
        pass

    def did_open(self, person: str, artifact: str) -> None:
        pass

    def did_seal_result(self) -> None:
        pass

    def policy(self, mode: str) -> Policy:
        """Two approvals or broken glass for what is asked for; labels have rules of their own."""
        one = policy().rule[0]
        asked = {"artifacts": ARTIFACTS, "longest": LONGEST, "approvals": NEEDED}
        phi = {"artifacts": (), "labels": ("phi",), "approvers": ("person:approver",)}
        secret = {"artifacts": (), "labels": ("secret",), "approvals": 2}
        rules = (
            replace(one, **asked, break_glass=GLASS),
            replace(one, name="results", artifacts=("results/*",)),
            replace(one, name="phi", **phi),
            replace(one, name="secret", **secret),
        )
        return policy(mode=mode, pending_for=PENDING, begin_within=BEGIN, rules=rules)

    # Where the world stands.

    @property
    def version(self) -> int:
        return len(self.modes) - 1

    @property
    def observes(self) -> bool:
        return self.modes[-1] == "observe"

    @property
    def key(self) -> SigningKey:
        return self.world.keys["researcher"]

    @property
    def clock(self) -> int:
        return int((self.world.now - START).total_seconds())

    @property
    def t(self) -> int:
        return max(self.clock, self.last)

    @property
    def in_time(self) -> bool:
        """Whether the signers' clock is near enough to the ledger's."""
        return self.t - self.clock <= TOLERANCE.total_seconds()

    def own(self, person: str) -> dict[str, Model]:
        """The grants of the human being behind ``person``."""
        human = self.human(person)
        return {key: one for key, one in self.models.items() if self.human(one.person) == human}

    def attempt(self, allowed: bool, act: Callable[..., Any], *args: Any, **fields: Any) -> bool:
        """Do it; hold the outcome against the model, and say whether it happened."""
        size, moment = self.world.state.size, self.t
        refused = None
        try:
            act(*args, **fields)
        except AisecError as error:
            refused = error
        assert (refused is None) == allowed, (refused, args, fields)
        if self.world.state.size > size:
            assert allowed
            self.last = moment
        return allowed

    # The clock and the policy.

    @rule(length=st.integers(-60, 40) | st.integers(0, 10))
    def tick(self, length: int) -> None:
        self.world.later(seconds=length)

    @precondition(lambda self: self.models)
    @rule(mode=st.just("enforce") | modes)
    def change_policy(self, mode: str) -> None:
        assert self.attempt(True, self.world.apply_policy, self.policy(mode))
        self.modes.append(mode)

    # People ask, decide and review.

    @rule(
        target=grants,
        artifacts=some_artifacts,
        length=seconds,
        start=st.none() | st.integers(-5, BEGIN + 20),
        person=askers,
    )
    def ask(
        self,
        artifacts: tuple[str, ...],
        length: int,
        start: int | None = None,
        person: str = "researcher",
        glass: bool = False,
    ) -> str:
        labels = frozenset().union(*self.labels.values() if RESULT in artifacts else ())
        may = may_ask(artifacts, labels, start) and person in self.requesters
        may = may and self.has_room_to_ask(person)
        if glass:
            may = may and may_break(artifacts, start, self.own(person).values())
        allowed = (may or self.observes) and (start is None or start >= 0) and self.in_time
        begins = None if start is None else self.t + start
        when = None if begins is None else format_time(START + timedelta(seconds=begins))
        grant = f"grant_{ulid(10_000 + self.world.state.size * 100 + len(self.models))}"
        fields = {"grant": grant, "seconds": length, "start": when, "person": person}
        if self.attempt(allowed, self.world.ask, *artifacts, break_glass=glass, **fields):
            way = "observed" if self.observes else "glass" if glass else "approved"
            self.models[grant] = Model(
                person, self.t, begins, (length, artifacts), way, self.version, labels
            )
            self.did_ask(person)
        return grant

    @rule(
        target=grants,
        artifacts=plain_artifacts | some_artifacts,
        length=seconds,
        start=st.none() | st.none() | st.none() | st.integers(0, BEGIN),
        person=askers,
    )
    def break_glass(
        self,
        artifacts: tuple[str, ...],
        length: int,
        start: int | None = None,
        person: str = "researcher",
    ) -> str:
        return self.ask(artifacts, length, start, person, glass=True)

    @rule(grant=grants, person=approvers, artifacts=some_artifacts, length=seconds)
    def approve(self, grant: str, person: str, artifacts: tuple[str, ...], length: int) -> None:
        model = self.models.get(grant)
        if model is None:
            return
        may = model.may_approve(person, artifacts, length, self.version, self.t)
        fields = {"artifacts": artifacts, "seconds": length}
        if self.attempt(may and self.in_time, self.world.approve, grant, person, **fields):
            model.approve(person, artifacts, length, self.t)

    @rule(grant=grants, person=approvers)
    def approve_as_asked(self, grant: str, person: str) -> None:
        model = self.models.get(grant)
        if model is not None:
            self.approve(grant, person, model.wanted[1], model.wanted[0])

    @rule(grant=grants, person=people, action=st.sampled_from(list(ACTIONS)))
    def decide(self, grant: str, person: str, action: Action) -> None:
        model = self.models.get(grant)
        if model is None:
            return
        may = model.may_end(action, person, grant in self.own(person), self.t)
        if self.attempt(may and self.in_time, self.world.decide, action, grant, person):
            model.why = ACTIONS[action]

    @rule(grant=grants, person=approvers, verdict=st.sampled_from(VERDICTS))
    def review(self, grant: str, person: str, verdict: str) -> None:
        model = self.models.get(grant)
        if model is None:
            return
        may = person in model.awaited() and self.in_time
        if self.attempt(may, self.world.review, grant, person, verdict=verdict):
            model.reviewed.add(person)

    # Kernels take the seat, open artifacts and are confirmed gone.

    @rule(grant=grants, right_seat=st.integers(0, 4).map(bool))
    def bind(self, grant: str, right_seat: bool = True) -> None:
        model = self.models.get(grant)
        if model is None:
            return
        newest = self.clock >= model.bound and self.in_time
        allowed = model.may_bind(self.version, self.t) and right_seat and newest
        kernel = Kernel()
        fields = {} if right_seat else {"seat": "job:other"}
        if self.attempt(allowed, self.world.bind, grant, kernel, **fields):
            model.bound = self.clock
            model.kernels.append((self.t, kernel.id))
            self.kernels[kernel.id] = kernel
            self.sessions[model.person].bind(kernel.id)

    @rule(
        grant=grants,
        which=st.integers(0, 3),
        artifact=st.sampled_from(OPENABLE),
        number=st.integers(1, 5),
    )
    def release(self, grant: str, which: int, artifact: str, number: int) -> None:
        """To the first kernel of all, or to the last of the grant; 3 repeats an action id."""
        model = self.models.get(grant)
        if model is None or not model.kernels:
            return
        kernel = model.kernels[-1][1] if which else next(iter(self.kernels))
        action = f"action_{ulid(number if which == 3 else 100 + self.world.state.size)}"
        repeated = self.actions.get(action)
        newest = list(self.labels)[-1]
        new = model.covers(artifact, self.labels[newest] if artifact == RESULT else set())
        new = new and (self.observes or self.has_room_to_open(model.person, artifact))
        allowed = new if repeated is None else repeated == (grant, kernel)
        allowed = allowed and model.may_open(kernel, self.observes, self.t)
        size, held = self.world.state.size, self.kernels[kernel]
        if self.attempt(allowed, self.world.release, grant, held, artifact, action=action):
            assert (self.world.state.size == size) == (repeated is not None)
            if repeated is None:
                self.did_open(model.person, artifact)
                if artifact == RESULT:
                    self.sessions[model.person].open(kernel, newest)
            self.actions[action] = (grant, kernel)

    @rule(grant=grants, which=st.integers(0, 2))
    def confirm(self, grant: str, which: int) -> None:
        model = self.models.get(grant)
        if model is None or not model.kernels:
            return
        kernel = model.kernels[which % len(model.kernels)][1]

        def act() -> None:
            world = self.world
            world.append(propose_ending(world.state, grant, kernel, "wiped", world.now))

        if self.attempt(kernel not in model.confirmed, act):
            model.confirmed.add(kernel)
            self.sessions[model.person].confirm(kernel)

    # Labels: they flow from parents and from what was opened, and go by declassification alone.

    @rule(
        labels=some_labels | st.sampled_from([{"phi"}, {"secret"}]),
        of=st.sets(st.integers(0, 3), max_size=1),
    )
    def seal_result(self, labels: set[str], of: set[int]) -> None:
        """A version made of earlier ones."""
        parents = [one for number, one in enumerate(self.labels) if number in of]
        self.put(labels, parents, parents, self.key)

    @rule(grant=grants, labels=some_labels)
    def seal_in_kernel(self, grant: str, labels: set[str]) -> None:
        model = self.models.get(grant)
        if model is None or not model.kernels or model.person != "researcher":
            return
        kernel = model.kernels[-1][1]
        opened = self.sessions[model.person].opened[kernel]
        self.put(labels, opened, [], self.kernels[kernel].key)

    def put(
        self, labels: set[str], sources: Iterable[str], parents: list[str], key: SigningKey
    ) -> None:
        seal_id = f"seal_{ulid(50_000 + self.world.state.size)}"
        fields = {"seal_id": seal_id, "labels": sorted(labels), "parents": parents}
        allowed = all(self.labels[source] <= labels for source in sources)
        if self.attempt(allowed, self.world.seal, RESULT, key, **fields):
            self.labels[seal_id] = set(labels)
            self.did_seal_result()

    @rule(target=grants, label=st.sampled_from(LABELS), labels=some_labels | st.just(set(LABELS)))
    def flow(self, label: str, labels: set[str]) -> str:
        """A version with one label is opened, and another made of it, and that opened too."""
        self.seal_result({label}, set())
        grant = self.open((RESULT,), LONGEST, True)
        self.seal_in_kernel(grant, labels)
        self.release(grant, 1, RESULT, 1)
        return grant

    @rule(
        which=st.integers(0, 3),
        drops=some_labels,
        first=st.just("researcher") | people,
        others=countersigners | st.sets(people, max_size=2),
        wild=st.integers(0, 3).map(lambda number: number == 0),
        late=st.integers(0, 3).map(lambda number: number == 3),
    )
    def declassify(
        self, which: int, drops: set[str], first: str, others: set[str], wild: bool, late: bool
    ) -> None:
        """``wild`` drops what it may not carry; ``late`` is signed under an earlier policy."""
        which %= len(self.labels)
        seal_id = list(self.labels)[which]
        if not wild:
            drops = drops & self.labels[seal_id] or set(self.labels[seal_id])
        others = others - {first}
        fields = {"version": which + 1, "policy_version": self.version - late}
        allowed = may_drop(self.labels[seal_id], drops, first, others) and not late
        signers = (first, *sorted(others))
        if self.attempt(allowed, self.world.declassify, RESULT, *drops, signers=signers, **fields):
            self.labels[seal_id] -= drops

    # The straight way, so that histories get past their beginning.

    @rule(target=grants, artifacts=some_artifacts, length=seconds, bind=st.booleans())
    def open(self, artifacts: tuple[str, ...], length: int, bind: bool) -> str:
        grant = self.ask(artifacts, length)
        for person in APPROVERS:
            self.approve(grant, person, artifacts, length)
        if bind:
            self.begin(grant, artifacts)
        return grant

    def begin(self, grant: str, artifacts: tuple[str, ...]) -> None:
        """A kernel takes the seat and opens something."""
        self.bind(grant)
        self.release(grant, 1, artifacts[0], 1)

    def outlive(self, grant: str, artifacts: tuple[str, ...], bind: bool, mode: str) -> None:
        """What nobody approved, and then another policy."""
        if bind:
            self.begin(grant, artifacts)
        self.change_policy(mode)
        self.release(grant, 1, artifacts[0], 1)
        self.begin(grant, artifacts)

    @rule(target=grants, artifacts=some_artifacts, bind=st.booleans(), then=modes)
    def outlive_observing(self, artifacts: tuple[str, ...], bind: bool, then: str) -> str:
        self.change_policy("observe")
        grant = self.ask(artifacts, LONGEST)
        self.outlive(grant, artifacts, bind, then)
        return grant

    @rule(
        target=grants,
        artifacts=plain_artifacts,
        bind=st.booleans(),
        then=modes,
        end=st.booleans(),
    )
    def outlive_glass(self, artifacts: tuple[str, ...], bind: bool, then: str, end: bool) -> str:
        """Also its end lifts no duty: the glass is broken again."""
        self.change_policy("enforce")
        grant = self.break_glass(artifacts, LONGEST)
        self.outlive(grant, artifacts, bind, then)
        if end:
            self.decide(grant, "researcher", "return")
        self.break_glass(artifacts, LONGEST)
        return grant

    @rule(target=grants, wait=st.sampled_from([0, GLASS - 1, GLASS, BEGIN]))
    def review_all(self, wait: int) -> str:
        """Everybody tries to review what is owed; then the glass is broken again."""
        self.break_glass(ARTIFACTS, LONGEST)
        for broken in [grant for grant, model in self.models.items() if model.awaited()]:
            for verdict in VERDICTS:  # twice, and not in the same words
                for person in EVERYBODY:
                    self.review(broken, person, verdict)
        self.break_glass(OPENABLE, LONGEST)  # not for a result, whose rule does not let them
        grant = self.break_glass(ARTIFACTS, LONGEST)
        self.tick(wait)
        self.begin(grant, ARTIFACTS)
        return grant

    @rule(label=st.sampled_from(LABELS), others=countersigners)
    def clean(self, label: str, others: set[str]) -> None:
        """A version with one label, and at once attempts to drop it."""
        self.seal_result({label}, set())
        which = len(self.labels) - 1
        for late in (True, False):
            self.declassify(which, {label}, "researcher", others, wild=False, late=late)

    # What both must agree on.

    @invariant()
    def both_agree(self) -> None:
        state, now = self.world.state, self.world.state.time(self.world.now)
        assert set(state.grants) == set(self.models)
        for grant, model in self.models.items():
            found = state.grants[grant]
            assert (found.state(now), found.ended_why(now)) == model.status(self.t)
            assert set(found.artifacts) == model.artifacts
            assert found.length == timedelta(seconds=model.seconds)
            begins = model.begins()
            ends = None if begins is None else START + timedelta(seconds=begins + model.seconds)
            assert found.ends_at == ends

    @invariant()
    def duties_agree(self) -> None:
        state = self.world.state
        for grant, model in self.models.items():
            found = state.grants[grant]
            assert found.break_glass == (model.way == "glass")
            assert {one.person for one in found.reviews} == model.reviewed
            assert set(who_reviews(state, found)) == model.awaited()
        for person in EVERYBODY:
            owed = {key for key, model in self.own(person).items() if model.awaited()}
            assert {one.id for one in unreviewed(state, person)} == owed

    @invariant()
    def policies_and_labels_agree(self) -> None:
        state = self.world.state
        assert [one.mode for one in state.policies] == self.modes
        found = state.catalog.versions(RESULT)
        assert [(one.seal_id, set(one.labels)) for one in found] == list(self.labels.items())

    def teardown(self) -> None:
        again = fold(self.world.entries, signatures=True)
        assert again.grants == self.world.state.grants
        assert again.catalog.versions(RESULT) == self.world.state.catalog.versions(RESULT)
        assert again.tree.root() == self.world.state.tree.root()


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=examples(80), stateful_step_count=50, deadline=None)
