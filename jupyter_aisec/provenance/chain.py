"""The chain of custody: the few entries of a ledger that one run rests on.

From the output back: the run, the kernel and its seat, what was released to it, the
manifests of what it opened, what dropped labels of these and whose they are, the grants with
their requests and approvals, the policy, and everybody who signed any of it with the entries
that made them somebody. Beside these, all admins: how many there were says how many had to
sign for a person; where somebody broke the glass, all who were told: that there were other
people, whom policy named, is to be shown; and, where a version was sealed after it was asked
for, the earlier ones that show that its labels were known.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from jupyter_aisec.errors import LedgerError
from jupyter_aisec.grants.catalog import read_manifest
from jupyter_aisec.grants.flow import Flow
from jupyter_aisec.grants.statements import Approval, Binding, Declassification
from jupyter_aisec.ledger import bodies
from jupyter_aisec.ledger.bodies import Body
from jupyter_aisec.ledger.checkpoint import Checkpoint
from jupyter_aisec.ledger.entry import Entry
from jupyter_aisec.people.dsse import Envelope
from jupyter_aisec.provenance.facts import Record

__all__ = ["Chain", "Release", "Seat", "collect", "read_binding"]

B = TypeVar("B", bound=Body)

AboutPeople = bodies.PersonInvited | bodies.PersonRemoved | bodies.KeyEnrolled | bodies.KeyRevoked
_GRANT_TYPES = (
    bodies.GrantRequested,
    bodies.GrantApproved,
    bodies.GrantReviewed,
    bodies.GrantDenied,
    bodies.GrantWithdrawn,
    bodies.GrantReturned,
    bodies.GrantRevoked,
    bodies.SeatBound,
    bodies.EndingConfirmed,
)


class Seat(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel's seat: the entry, the envelope the person signed, and what it says."""

    entry: Entry
    grant: str
    envelope: Envelope
    binding: Binding


class Release(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact version that a kernel opened: by its data keys, or in an output made from it."""

    kernel: str
    grant: str
    artifact: str
    version: int
    seal_id: str
    approvals: int
    key_ids: tuple[str, ...]  # none where it was an output


class Chain:
    """Entries of a ledger, not all of them, found by what they say."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        """Raises MalformedError for an entry that cannot be read."""
        self._found = [(entry, entry.content()) for entry in entries]

    @property
    def genesis(self) -> tuple[Entry, bodies.Genesis]:
        """The first entry; raises LedgerError where it is none or not at place 0."""
        for entry, body in self._found[:1]:
            if isinstance(body, bodies.Genesis) and entry.index == 0:
                return entry, body
        raise _missing("the genesis")

    def all(self, type_: type[B]) -> Iterator[tuple[Entry, B]]:
        """Every entry of that type, in order."""
        for entry, body in self._found:
            if isinstance(body, type_):
                yield entry, body

    def people(self) -> Iterator[tuple[Entry, AboutPeople]]:
        """Every entry about a person or a person's key, in order."""
        for entry, body in self._found:
            if isinstance(body, AboutPeople):
                yield entry, body

    def grant(self, grant: str) -> Iterator[tuple[Entry, Body]]:
        """Everything that happened to that grant itself, in order."""
        for entry, body in self._found:
            if isinstance(body, _GRANT_TYPES) and body.grant == grant:
                yield entry, body

    def grants(self, record: Record) -> tuple[str, ...]:
        """The grants a run rests on: those its record names, and any that keys came by."""
        sealed, _ = self.sealed(record.output.seal_id)
        releases = self.releases(record.kernel, sealed.index)
        return tuple(sorted({body.grant for _, body in releases}.union(record.grants)))

    def requested(self, grant: str) -> tuple[Entry, bodies.GrantRequested]:
        """The request of that grant; raises LedgerError unless there is one."""
        return self._one(bodies.GrantRequested, "grant", grant)

    def approved(self, grant: str) -> list[tuple[Entry, bodies.GrantApproved]]:
        """The approvals of that grant, in order."""
        return [found for found in self.all(bodies.GrantApproved) if found[1].grant == grant]

    def reviewed(self, grant: str) -> list[tuple[Entry, bodies.GrantReviewed]]:
        """The reviews of that grant, in order: those there were when the run was recorded."""
        return [found for found in self.all(bodies.GrantReviewed) if found[1].grant == grant]

    def sealed(self, seal_id: str) -> tuple[Entry, bodies.ArtifactSealed]:
        """The artifact version of that seal id; raises LedgerError unless there is one."""
        return self._one(bodies.ArtifactSealed, "seal_id", seal_id)

    def first(self, artifact: str) -> tuple[Entry, bodies.ArtifactSealed]:
        """The first version of that artifact: whose it is; raises LedgerError without one."""
        for entry, body in self.all(bodies.ArtifactSealed):
            if (body.artifact, body.version) == (artifact, 1):
                return entry, body
        raise _missing(f"the first version of {artifact}")

    def declassified(self, seal_id: str) -> list[tuple[Entry, bodies.ArtifactDeclassified]]:
        """What dropped labels of that version, in order."""
        return [
            found for found in self.all(bodies.ArtifactDeclassified) if found[1].seal_id == seal_id
        ]

    def seen(self, record: Record) -> Iterator[tuple[Entry, str, Checkpoint]]:
        """The ledger that each approver and each beginner of a declassification saw.

        With the entry that holds what they signed, and their name.
        """
        origin = self.genesis[1].origin
        for grant in self.grants(record):
            for entry, body in self.approved(grant):
                approval = body.approval.read(Approval, Approval.payload_type, "The approval")
                brief = Checkpoint.from_brief(origin, approval.checkpoint)
                yield entry, approval.person, brief
        for entry, dropped in self.all(bodies.ArtifactDeclassified):
            said = dropped.by.read(
                Declassification, Declassification.payload_type, "The declassification"
            )
            yield entry, said.person, Checkpoint.from_brief(origin, said.checkpoint)

    def run(self, run: str) -> tuple[Entry, bodies.RunRecorded]:
        """The entry that records that run; raises LedgerError unless there is one."""
        return self._one(bodies.RunRecorded, "run", run)

    def seats(self, kernel: str, before: int) -> list[Seat]:
        """The seats that the kernel with that key id took before the entry ``before``."""
        return [
            Seat(entry=entry, grant=body.grant, envelope=body.binding, binding=binding)
            for entry, body in self.all(bodies.SeatBound)
            if entry.index < before and (binding := read_binding(body)).kernel_key.key_id == kernel
        ]

    def seat(self, kernel: str, before: int) -> Seat:
        """The last of them; raises LedgerError where there is none."""
        seats = self.seats(kernel, before)
        if not seats:
            raise _missing(f"a seat of the kernel {kernel}")
        return seats[-1]

    def releases(self, kernel: str, before: int) -> list[tuple[Entry, Release]]:
        """What that kernel opened before the entry ``before``, in order."""
        return [
            (entry, one)
            for entry, body in self._found
            for one in _released(body)
            if one.kernel == kernel and entry.index < before
        ]

    def flow(self, before: int) -> Flow[tuple[int, Release]]:
        """What counts as opened by whom before the entry ``before``; releases by their entry."""
        flow: Flow[tuple[int, Release]] = Flow()
        for entry, body in self._found:
            if entry.index < before:
                _follow(flow, entry.index, body)
        return flow

    def shared(self, kernel: str, before: int) -> list[tuple[int, Release]]:
        """What counts as opened by that kernel though it was released to another of its seat."""
        counted = self.flow(before).counted(kernel)
        return [(index, one) for index, one in counted if one.kernel != kernel]

    def _one(self, type_: type[B], field: str, value: str) -> tuple[Entry, B]:
        found = [one for one in self.all(type_) if getattr(one[1], field) == value]
        if len(found) != 1:
            raise _missing(f"the one {type_.__name__} of {value[:80]}")
        return found[0]


def collect(entries: Sequence[Entry], record: Record) -> tuple[Entry, ...]:
    """The entries of a *whole* ledger that the chain of custody of ``record`` consists of.

    Up to the entry that records the run, where there is one. Costs three passes.
    """
    whole = Chain(entries)
    grants = whole.grants(record)
    until = whole.sealed(record.output.seal_id)[0].index
    kin = whole.flow(until).kin(record.kernel)
    people: defaultdict[str, list[Entry]] = defaultdict(list)  # by name
    origins: dict[str, list[Entry]] = {}  # by key id: what made that key somebody's
    versions: dict[str, _Sealed] = {}  # by seal id
    named: defaultdict[str, list[_Sealed]] = defaultdict(list)  # every version, by artifact
    drops: defaultdict[str, list[Entry]] = defaultdict(list)  # by seal id
    requested: dict[str, int] = {}  # the entry of each request, by grant
    released: list[Release] = []
    admins: set[str] = set()
    told: set[str] = set()  # who would have been asked: that they were others is to be shown
    todo = list(entries[:1])
    for entry in entries:
        body = entry.content()
        if isinstance(body, bodies.Genesis):
            origins.update((one.key.key_id, people[one.name]) for one in body.people)
            admins.update(one.name for one in body.people if "admin" in one.roles)
        elif isinstance(body, AboutPeople):
            people[body.person].append(entry)
            if isinstance(body, bodies.PersonInvited) and "admin" in body.roles:
                admins.add(body.person)
            if body.person in admins:
                todo.append(entry)
            if isinstance(body, bodies.KeyEnrolled):
                origins[body.key.key_id] = people[body.person]
        elif isinstance(body, bodies.SeatBound):
            origins.setdefault(read_binding(body).kernel_key.key_id, []).append(entry)
        elif isinstance(body, bodies.ArtifactSealed):
            versions[body.seal_id] = sealed = _Sealed(entry, body)
            named[body.artifact].append(sealed)
        elif isinstance(body, bodies.ArtifactDeclassified):
            drops[body.seal_id].append(entry)
        elif isinstance(body, bodies.GrantRequested):
            requested[body.grant] = entry.index
        if _is_needed(body, record, grants) or (entry.index < until and _kernels(body) & kin):
            todo.append(entry)
            released += [one for one in _released(body) if one.kernel == record.kernel]
            if isinstance(body, bodies.GrantRequested) and body.terms.reviews:
                told.update(body.terms.approvers)
        if isinstance(body, bodies.RunRecorded) and body.run == record.run:
            break
    todo += origins.get(record.kernel, ())
    todo += [entry for name in sorted(told) for entry in people[name]]
    for one in released:
        asked = requested[one.grant]
        todo += _known_labels(versions[one.seal_id], named[one.artifact], drops, asked)
    seal_ids = {record.output.seal_id, *(one.seal_id for one in record.inputs)}
    chosen: dict[int, Entry] = {}
    while todo:
        entry = todo.pop()
        if entry.index in chosen:
            continue
        chosen[entry.index] = entry
        body = entry.content()
        todo += [origin for key_id in _signing_keys(body) for origin in origins.get(key_id, ())]
        seal_ids.update(one.seal_id for one in _released(body))
        if isinstance(body, bodies.ArtifactSealed):
            todo += drops[body.seal_id]
        elif isinstance(body, bodies.ArtifactDeclassified):
            todo.append(named[body.artifact][0].entry)
        if not todo:  # only now are all versions known that were opened
            todo += [versions[one].entry for one in sorted(seal_ids) if one in versions]
            seal_ids.clear()
    return tuple(chosen[index] for index in sorted(chosen))


class _Sealed(NamedTuple):
    """A version, as its entry has it."""

    entry: Entry
    body: bodies.ArtifactSealed

    def labels(self, drops: Iterable[Entry] = ()) -> frozenset[str]:
        """The manifest's, without what the declassifications ``drops`` took."""
        labels = set(read_manifest(self.body.manifest).labels)
        for entry in drops:
            labels.difference_update(entry.content().drops)  # type: ignore[attr-defined]
        return frozenset(labels)


def _known_labels(
    version: _Sealed, others: Iterable[_Sealed], drops: Mapping[str, list[Entry]], asked: int
) -> Iterator[Entry]:
    """For a version that was sealed after the entry ``asked``: who shows that its labels were
    known then. One earlier version for each label, the first that carried it then."""
    left = version.labels() if version.entry.index > asked else frozenset()
    for other in others:
        if left and other.entry.index < asked:
            dropped = [one for one in drops.get(other.body.seal_id, ()) if one.index < asked]
            if known := left & other.labels(dropped):
                left -= known
                yield other.entry


def read_binding(body: bodies.SeatBound) -> Binding:
    """What the person signed when the kernel took the seat; not whether they did."""
    return body.binding.read(Binding, Binding.payload_type, "The binding")


def _released(body: Body) -> Iterator[Release]:
    """What an entry says was opened: one artifact version, or all that an output shows."""
    opened: Sequence[bodies.KeysReleased | bodies.OutputSource] = ()
    if isinstance(body, bodies.KeysReleased):
        opened = (body,)
    elif isinstance(body, bodies.OutputReleased):
        opened = body.sources
    else:
        return
    for one in opened:
        yield Release(
            kernel=body.kernel,
            grant=one.grant,
            artifact=one.artifact,
            version=one.version,
            seal_id=one.seal_id,
            approvals=one.approvals,
            key_ids=one.key_ids if isinstance(one, bodies.KeysReleased) else (),
        )


def _is_needed(body: Body, record: Record, grants: Container[str]) -> bool:
    if isinstance(body, _GRANT_TYPES):
        return body.grant in grants
    if isinstance(body, bodies.KeysReleased | bodies.OutputReleased):
        return body.kernel == record.kernel
    if isinstance(body, bodies.RunRecorded):
        return body.run == record.run
    return isinstance(body, bodies.PolicyApplied)  # each, so that versions can be counted


def _kernels(body: Body) -> frozenset[str]:
    """The kernel whose binding, release or ending it is."""
    if isinstance(body, bodies.SeatBound):
        return frozenset((read_binding(body).kernel_key.key_id,))
    if isinstance(body, bodies.KeysReleased | bodies.OutputReleased | bodies.EndingConfirmed):
        return frozenset((body.kernel,))
    return frozenset()


def _follow(flow: Flow[tuple[int, Release]], index: int, body: Body) -> None:
    if isinstance(body, bodies.SeatBound):
        binding = read_binding(body)
        kernel = binding.kernel_key.key_id
        flow.bound(kernel, body.grant, binding.person, binding.seat)
    elif isinstance(body, bodies.KeysReleased | bodies.OutputReleased):
        flow.released(body.kernel, ((index, one) for one in _released(body)))
    elif isinstance(body, bodies.EndingConfirmed):
        flow.confirmed(body.kernel, body.grant)


def _signing_keys(body: Body) -> Iterator[str]:
    for field in body.__struct_fields__:
        value = getattr(body, field)
        if isinstance(value, Envelope):
            yield from (signature.keyid for signature in value.signatures)


def _missing(what: str) -> LedgerError:
    return LedgerError(f"The chain of custody lacks {what[:140]}.", code="chain-incomplete")
