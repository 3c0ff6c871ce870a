"""Random histories with a random clock, against a second, smaller account of the rules.

The model below knows nothing of entries, signatures and folds: a grant is a handful of
numbers, and every rule is one line. Whatever it allows must be appended, whatever it does
not must be refused and leave the ledger as it was, and after every step both must agree on
the state of every grant, what it covers and when it ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, precondition, rule

from jupyter_aisec.errors import AisecError
from jupyter_aisec.grants import Policy, fold, propose_ending
from jupyter_aisec.grants.signatures import TOLERANCE
from jupyter_aisec.times import format_time
from tests.effort import examples
from tests.grants.world import START, Kernel, policy, stocked, ulid

PENDING, BEGIN, LONGEST, NEEDED = 100, 80, 60, 2
ARTIFACTS = ("dataset/digits", "weights/minilm")
APPROVERS = ("approver", "second")
ADMINS = ("second", "admin")
EVERYBODY = ("researcher", "approver", "second", "admin")

grants = Bundle("grants")
some_artifacts = st.sets(st.sampled_from(ARTIFACTS), min_size=1).map(lambda x: tuple(sorted(x)))
seconds = st.integers(1, 120)
people = st.sampled_from(EVERYBODY)
approvers = st.sampled_from((*APPROVERS, *EVERYBODY))


@dataclass
class Model:
    """One grant, in seconds since the start."""

    asked: int
    seconds: int
    artifacts: set[str]
    start: int | None
    wanted: tuple[int, tuple[str, ...]]
    person: str = "researcher"
    approvers: tuple[str, ...] = APPROVERS
    needed: int = NEEDED
    version: int = 0  # of the policy under which it was asked for
    approved: list[tuple[str, int]] = field(default_factory=list)
    kernels: list[tuple[int, str]] = field(default_factory=list)
    confirmed: set[str] = field(default_factory=set)
    bound: int = -(10**9)  # when its last binding was signed for
    why: str | None = None

    def begins(self) -> int | None:
        if len(self.approved) < self.needed:
            return None
        return self.start if self.start is not None else (self.kernels or [(None, "")])[0][0]

    def lapses(self) -> int:
        window = self.start + min(self.wanted[0], LONGEST) if self.start is not None else 10**9
        return min(self.asked + PENDING, window)

    def ends(self) -> tuple[int, str]:
        if len(self.approved) < self.needed:
            return self.lapses(), "lapsed"
        begins = self.begins()
        if begins is None:
            ready = self.approved[-1][1] if self.approved else self.asked
            return ready + BEGIN, "expired"
        return begins + self.seconds, "expired"

    def status(self, t: int) -> tuple[str, str | None]:
        if self.why:
            return "ended", self.why
        end, why = self.ends()
        if t >= end:
            return "ended", why
        if len(self.approved) < self.needed:
            return "pending", None
        begins = self.begins()
        return ("active", None) if begins is not None and t >= begins else ("scheduled", None)


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = stocked(self.policy("enforce"))
        self.last = 0
        self.modes = ["enforce"]  # of each policy there was
        self.models: dict[str, Model] = {}
        self.kernels: dict[str, Kernel] = {}
        self.actions: dict[str, tuple[str, str]] = {}

    # What another machine, with limits, knows more of.

    requesters: tuple[str, ...] = ("researcher",)

    def human(self, person: str) -> str:
        return person

    def may_ask(self, person: str) -> bool:
        return True

    def may_open(self, person: str, artifact: str) -> bool:
        return True

    def did_ask(self, person: str) -> None:
        pass

    def did_open(self, person: str, artifact: str) -> None:
        pass

    def policy(self, mode: str) -> Policy:
        return policy(
            mode=mode,
            pending_for=PENDING,
            begin_within=BEGIN,
            rule={"longest": LONGEST, "approvals": NEEDED},
        )

    @property
    def version(self) -> int:
        return len(self.modes) - 1

    @property
    def observes(self) -> bool:
        return self.modes[-1] == "observe"

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

    def attempt(self, allowed: bool, act: object, *args: object, **fields: object) -> bool:
        """Do it; hold the outcome against the model, and say whether it happened."""
        size, moment = self.world.state.size, self.t
        refused = None
        try:
            act(*args, **fields)  # type: ignore[operator]
        except AisecError as error:
            refused = error
        assert (refused is None) == allowed, (refused, args, fields)
        if self.world.state.size > size:
            assert allowed
            self.last = moment
        return allowed

    @rule(length=st.integers(-60, 40) | st.integers(0, 10))
    def tick(self, length: int) -> None:
        self.world.later(seconds=length)

    @precondition(lambda self: self.world.state.size > 8)
    @rule(mode=st.sampled_from(["enforce", "enforce", "observe"]))
    def change_policy(self, mode: str) -> None:
        moment = self.t
        self.world.apply_policy(self.policy(mode))
        self.modes.append(mode)
        self.last = moment

    @rule(
        target=grants,
        artifacts=some_artifacts,
        length=seconds,
        start=st.none() | st.integers(-5, BEGIN + 20),
        person=st.sampled_from(("researcher",) * 5 + ("admin",)),
    )
    def ask(self, artifacts: tuple[str, ...], length: int, start: int | None, person: str) -> str:
        begins = None if start is None else self.t + start
        may = person in self.requesters and (start is None or start <= BEGIN)
        may = may and self.may_ask(person)
        allowed = (may or self.observes) and (start is None or start >= 0) and self.in_time
        grant = f"grant_{ulid(10_000 + self.world.state.size * 100 + len(self.models))}"
        when = None if begins is None else format_time(START + timedelta(seconds=begins))
        fields = {"grant": grant, "seconds": length, "start": when, "person": person}
        if self.attempt(allowed, self.world.ask, *artifacts, **fields):
            self.did_ask(person)
            self.models[grant] = Model(
                asked=self.t,
                seconds=min(length, LONGEST),
                artifacts=set(artifacts),
                start=begins,
                wanted=(length, artifacts),
                person=person,
                approvers=() if self.observes else APPROVERS,
                needed=0 if self.observes else NEEDED,
                version=self.version,
            )
        return grant

    @rule(grant=grants, person=approvers, artifacts=some_artifacts, length=seconds)
    def approve(self, grant: str, person: str, artifacts: tuple[str, ...], length: int) -> None:
        model = self.models.get(grant)
        if model is None:
            return
        allowed = (
            person in model.approvers
            and model.version == self.version
            and model.status(self.t)[0] == "pending"
            and person not in [name for name, _ in model.approved]
            and set(artifacts) <= set(model.wanted[1])
            and length <= model.wanted[0]
            and bool(set(artifacts) & model.artifacts)
            and self.in_time
        )
        fields = {"artifacts": artifacts, "seconds": length}
        moment = self.t
        if self.attempt(allowed, self.world.approve, grant, person, **fields):
            model.approved.append((person, moment))
            model.artifacts &= set(artifacts)
            model.seconds = min(model.seconds, length)

    @rule(grant=grants, person=approvers)
    def approve_as_asked(self, grant: str, person: str) -> None:
        model = self.models.get(grant)
        if model is not None:
            self.approve(grant, person, model.wanted[1], model.wanted[0])

    @rule(
        grant=grants,
        person=people,
        action=st.sampled_from(["deny", "withdraw", "return", "revoke"]),
    )
    def decide(self, grant: str, person: str, action: str) -> None:
        model = self.models.get(grant)
        if model is None:
            return
        state = model.status(self.t)[0]
        others = self.human(person) != self.human(model.person)
        others = others and person in (*model.approvers, *ADMINS)
        allowed = {
            "deny": others
            and state in ("pending", "scheduled")
            and person not in [name for name, _ in model.approved],
            "withdraw": person == model.person and state == "pending",
            "return": person == model.person and state in ("scheduled", "active"),
            "revoke": others and state in ("scheduled", "active"),
        }[action]
        if self.attempt(
            allowed and self.in_time, self.world.decide, action, grant, person, str(self.t)
        ):
            words = {"deny": "denied", "withdraw": "withdrawn", "return": "returned"}
            model.why = words.get(action, "revoked")

    @rule(grant=grants, right_seat=st.integers(0, 4).map(bool))
    def bind(self, grant: str, right_seat: bool) -> None:
        model = self.models.get(grant)
        if model is None:
            return
        state = model.status(self.t)[0]
        begun = state == "active" or (state == "scheduled" and model.start is None)
        newest = self.clock >= model.bound and self.in_time
        kernel = Kernel()
        fields = {} if right_seat else {"seat": "job:other"}
        moment = self.t
        kept = model.needed > 0 or model.version == self.version
        allowed = begun and right_seat and newest and kept
        if self.attempt(allowed, self.world.bind, grant, kernel, **fields):
            model.bound = self.clock
            model.kernels.append((moment, kernel.id))
            self.kernels[kernel.id] = kernel

    @rule(
        grant=grants,
        which=st.integers(0, 3),
        artifact=st.sampled_from(ARTIFACTS),
        number=st.integers(1, 5),
    )
    def release(self, grant: str, which: int, artifact: str, number: int) -> None:
        model = self.models.get(grant)
        if model is None:
            return
        known = list(self.kernels)
        current = model.kernels[-1][1] if model.kernels else None
        kernel = current if which else (known[0] if known else None)
        if kernel is None:
            return
        action = f"action_{ulid(number if which == 3 else 100 + self.world.state.size)}"
        repeated = self.actions.get(action)
        covered = repeated is not None or artifact in model.artifacts
        allowed = (
            model.status(self.t)[0] == "active"
            and (self.observes or self.modes[model.version] == "enforce")
            and kernel == current
            and kernel not in model.confirmed
            and covered
            and (self.observes or repeated is not None or self.may_open(model.person, artifact))
            and repeated in (None, (grant, kernel))
        )
        size = self.world.state.size
        act = self.world.release
        if self.attempt(allowed, act, grant, self.kernels[kernel], artifact, action=action):
            assert (self.world.state.size == size) == (repeated is not None)
            if repeated is None:
                self.did_open(model.person, artifact)
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

    @rule(target=grants, artifacts=some_artifacts, length=seconds, bind=st.booleans())
    def open(self, artifacts: tuple[str, ...], length: int, bind: bool) -> str:
        """The straight way, so that histories get past their beginning."""
        grant = self.ask(artifacts, length, None, "researcher")
        for person in APPROVERS:
            self.approve(grant, person, artifacts, length)
        if bind:
            self.bind(grant, True)
            self.release(grant, 1, artifacts[0], 1)
        return grant

    @rule(
        target=grants,
        artifacts=some_artifacts,
        length=seconds,
        bind=st.booleans(),
        then=st.sampled_from(["enforce", "observe"]),
    )
    def outlive(self, artifacts: tuple[str, ...], length: int, bind: bool, then: str) -> str:
        """What nobody approved, and then another policy."""
        self.change_policy("observe")
        grant = self.open(artifacts, length, bind)
        self.change_policy(then)
        self.release(grant, 1, artifacts[0], 1)
        self.bind(grant, True)
        return grant

    @invariant()
    def both_agree(self) -> None:
        now = self.world.state.time(self.world.now)
        assert set(self.world.state.grants) == set(self.models)
        for grant, model in self.models.items():
            found = self.world.state.grants[grant]
            assert (found.state(now), found.ended_why(now)) == model.status(self.t)
            assert set(found.artifacts) == model.artifacts
            assert found.length == timedelta(seconds=model.seconds)
            begins = model.begins()
            ends = None if begins is None else START + timedelta(seconds=begins + model.seconds)
            assert found.ends_at == ends

    def teardown(self) -> None:
        again = fold(self.world.entries, signatures=True)
        assert again.grants == self.world.state.grants
        assert again.tree.root() == self.world.state.tree.root()


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=examples(60), stateful_step_count=50, deadline=None)
