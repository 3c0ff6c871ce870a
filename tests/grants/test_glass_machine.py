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
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from msgspec.structs import replace

from jupyter_aisec.errors import AisecError
from jupyter_aisec.grants import fold, propose_ending
from jupyter_aisec.grants.signatures import TOLERANCE
from jupyter_aisec.times import format_time
from tests.effort import examples
from tests.grants.world import START, Kernel, policy, stocked, ulid

PENDING, BEGIN, LONGEST, NEEDED, GLASS = 100, 80, 60, 2, 30
ARTIFACTS = ("dataset/digits", "weights/minilm")
APPROVERS = ("approver", "second")
EVERYBODY = ("researcher", "approver", "second", "admin")

RESULT, LABELS = "results/y", ("phi", "secret")  # the researcher's

grants = Bundle("grants")
some_labels = st.sets(st.sampled_from(LABELS))
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
    glass: bool = False
    reviewed: set[str] = field(default_factory=set)
    approved: list[tuple[str, int]] = field(default_factory=list)
    kernels: list[tuple[int, str]] = field(default_factory=list)
    confirmed: set[str] = field(default_factory=set)
    bound: int = -(10**9)  # when its last binding was signed for
    why: str | None = None

    @property
    def open(self) -> bool:
        """Whether it has all the approvals it needs: behind broken glass, none."""
        return self.glass or len(self.approved) >= NEEDED

    @property
    def owed(self) -> bool:
        return self.glass and len(self.reviewed) < NEEDED

    def begins(self) -> int | None:
        if not self.open:
            return None
        return self.start if self.start is not None else (self.kernels or [(None, "")])[0][0]

    def lapses(self) -> int:
        window = self.start + min(self.wanted[0], LONGEST) if self.start is not None else 10**9
        return min(self.asked + PENDING, window)

    def ends(self) -> tuple[int, str]:
        if not self.open:
            return self.lapses(), "lapsed"
        begins = self.begins()
        if begins is None and self.glass:
            return self.asked + min(BEGIN, GLASS), "expired"
        if begins is None:
            return self.approved[-1][1] + BEGIN, "expired"
        return begins + self.seconds, "expired"

    def status(self, t: int) -> tuple[str, str | None]:
        if self.why:
            return "ended", self.why
        end, why = self.ends()
        if t >= end:
            return "ended", why
        if not self.open:
            return "pending", None
        begins = self.begins()
        return ("active", None) if begins is not None and t >= begins else ("scheduled", None)


def may_drop(labels: set[str], drops: set[str], first: str, others: set[str]) -> bool:
    """Whether these people may drop that from a version of the researcher's."""
    named = {"approver"} if "phi" in labels else {"approver", "second"}
    return (
        bool(drops)
        and drops <= labels
        and first in ("researcher", "second", "admin")
        and others <= named - {first}
        and len(others) >= (2 if "secret" in labels else 1)
    )


class Histories(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        one = policy().rule[0]
        asked = replace(
            one, artifacts=ARTIFACTS, longest=LONGEST, approvals=NEEDED, break_glass=GLASS
        )
        result = replace(one, name="results", artifacts=("results/*",))
        phi = replace(
            one, name="phi", artifacts=(), labels=("phi",), approvers=("person:approver",)
        )
        secret = replace(one, name="secret", artifacts=(), labels=("secret",), approvals=2)
        rules = (asked, result, phi, secret)
        self.world = stocked()
        self.world.apply_policy(policy(pending_for=PENDING, begin_within=BEGIN, rules=rules))
        self.labels: dict[str, set[str]] = {}  # by seal id: those that count
        self.last = 0
        self.models: dict[str, Model] = {}
        self.kernels: dict[str, Kernel] = {}
        self.actions: dict[str, tuple[str, str]] = {}

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

    @rule(
        target=grants,
        artifacts=some_artifacts,
        length=seconds,
        start=st.none() | st.integers(-5, BEGIN + 20),
        person=st.sampled_from(("researcher",) * 5 + ("admin",)),
    )
    def ask(self, artifacts: tuple[str, ...], length: int, start: int | None, person: str) -> str:
        begins = None if start is None else self.t + start
        allowed = person == "researcher" and (start is None or 0 <= start <= BEGIN) and self.in_time
        grant = f"grant_{ulid(10_000 + self.world.state.size * 100 + len(self.models))}"
        when = None if begins is None else format_time(START + timedelta(seconds=begins))
        fields = {"grant": grant, "seconds": length, "start": when, "person": person}
        if self.attempt(allowed, self.world.ask, *artifacts, **fields):
            self.models[grant] = Model(
                asked=self.t,
                seconds=min(length, LONGEST),
                artifacts=set(artifacts),
                start=begins,
                wanted=(length, artifacts),
            )
        return grant

    @rule(
        target=grants,
        artifacts=some_artifacts,
        length=seconds,
        start=st.none() | st.none() | st.none() | st.integers(0, BEGIN),
        person=st.sampled_from(("researcher",) * 5 + ("admin",)),
    )
    def break_glass(
        self, artifacts: tuple[str, ...], length: int, start: int | None, person: str
    ) -> str:
        owed = any(model.owed for model in self.models.values())
        allowed = person == "researcher" and start is None and not owed and self.in_time
        grant = f"grant_{ulid(20_000 + self.world.state.size * 100 + len(self.models))}"
        when = None if start is None else format_time(START + timedelta(seconds=self.t + start))
        fields = {"grant": grant, "seconds": length, "start": when, "person": person}
        if self.attempt(allowed, self.world.ask, *artifacts, break_glass=True, **fields):
            self.models[grant] = Model(
                asked=self.t,
                seconds=min(length, LONGEST, GLASS),
                artifacts=set(artifacts),
                start=None,
                wanted=(length, artifacts),
                glass=True,
            )
        return grant

    @rule(grant=grants, person=approvers, verdict=st.sampled_from(["justified", "unjustified"]))
    def review(self, grant: str, person: str, verdict: str) -> None:
        model = self.models.get(grant)
        if model is None:
            return
        allowed = (
            model.glass and person in APPROVERS and person not in model.reviewed and self.in_time
        )
        if self.attempt(allowed, self.world.review, grant, person, verdict=verdict):
            model.reviewed.add(person)

    @rule(grant=grants, person=approvers, artifacts=some_artifacts, length=seconds)
    def approve(self, grant: str, person: str, artifacts: tuple[str, ...], length: int) -> None:
        model = self.models.get(grant)
        if model is None:
            return
        allowed = (
            person in APPROVERS
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
        allowed = {
            "deny": person in ("approver", "second", "admin")
            and state in ("pending", "scheduled")
            and person not in [name for name, _ in model.approved],
            "withdraw": person == "researcher" and state == "pending",
            "return": person == "researcher" and state in ("scheduled", "active"),
            "revoke": person != "researcher" and state in ("scheduled", "active"),
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
        allowed = begun and right_seat and newest
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
            and kernel == current
            and kernel not in model.confirmed
            and covered
            and repeated in (None, (grant, kernel))
        )
        size = self.world.state.size
        act = self.world.release
        if self.attempt(allowed, act, grant, self.kernels[kernel], artifact, action=action):
            assert (self.world.state.size == size) == (repeated is not None)
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

    @rule(
        labels=some_labels | st.sampled_from([{"phi"}, {"secret"}]),
        of=st.sets(st.integers(0, 3), max_size=1),
    )
    def seal(self, labels: set[str], of: set[int]) -> None:
        """A version made of earlier ones."""
        parents = [one for number, one in enumerate(self.labels) if number in of]
        fields = {
            "seal_id": f"seal_{ulid(50_000 + self.world.state.size)}",
            "labels": sorted(labels),
            "parents": parents,
        }
        allowed = all(self.labels[parent] <= labels for parent in parents)
        key = self.world.keys["researcher"]
        if self.attempt(allowed, self.world.seal, RESULT, key, **fields):
            self.labels[fields["seal_id"]] = set(labels)

    @rule(
        which=st.integers(0, 3),
        drops=some_labels,
        first=st.just("researcher") | people,
        others=st.sampled_from([{"approver"}, {"second"}, set(APPROVERS)])
        | st.sets(st.sampled_from(EVERYBODY), max_size=2),
        wild=st.integers(0, 3),
    )
    def declassify(
        self, which: int, drops: set[str], first: str, others: set[str], wild: int
    ) -> None:
        if not self.labels:
            return
        which %= len(self.labels)
        seal_id = list(self.labels)[which]
        if wild:  # else mostly labels that it does not carry
            drops = drops & self.labels[seal_id] or set(self.labels[seal_id])
        others = others - {first}
        fields = {"version": which + 1, "signers": (first, *sorted(others))}
        allowed = may_drop(self.labels[seal_id], drops, first, others)
        if self.attempt(allowed, self.world.declassify, RESULT, *drops, **fields):
            self.labels[seal_id] -= drops

    @rule(
        label=st.sampled_from(LABELS),
        others=st.sampled_from([{"approver"}, {"second"}, set(APPROVERS)]),
    )
    def clean(self, label: str, others: set[str]) -> None:
        """A version with one label, and at once an attempt to drop it."""
        self.seal({label}, set())
        self.declassify(len(self.labels) - 1, {label}, "researcher", others, 1)

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
            assert (found.break_glass, found.reviews_owed > 0) == (model.glass, model.owed)
            assert {one.person for one in found.reviews} == model.reviewed

    @invariant()
    def labels_agree(self) -> None:
        found = self.world.state.catalog.versions(RESULT)
        assert [(one.seal_id, set(one.labels)) for one in found] == list(self.labels.items())

    def teardown(self) -> None:
        again = fold(self.world.entries, signatures=True)
        assert again.catalog.versions(RESULT) == self.world.state.catalog.versions(RESULT)
        assert again.grants == self.world.state.grants
        assert again.tree.root() == self.world.state.tree.root()


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=examples(60), stateful_step_count=50, deadline=None)
