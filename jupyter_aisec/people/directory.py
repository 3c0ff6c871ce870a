"""Who is who: persons, their roles, and which of their keys may sign at which place.

A change at entry *p* of the ledger holds for the entries after *p*. So the directory of
today answers for any earlier entry what the directory of that moment would have answered,
and time, which a clock can lie about, plays no part.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import msgspec

from jupyter_aisec.errors import ConflictError, IdentityError, NotFoundError
from jupyter_aisec.people.dsse import Envelope, verify
from jupyter_aisec.people.keys import PublicKey

__all__ = ["Directory", "EnrolledKey", "Person", "Role"]

Role = Literal["researcher", "approver", "admin"]


class EnrolledKey(msgspec.Struct, frozen=True, kw_only=True):
    """A person's key, and the entries between which it may sign."""

    key: PublicKey
    enrolled: int
    revoked: int | None = None

    def valid_at(self, index: int) -> bool:
        """Whether it may sign what entry ``index`` holds."""
        return self.enrolled < index and (self.revoked is None or index <= self.revoked)


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """A person: the name, what they may do, their keys, and the entries they came and left."""

    name: str
    roles: tuple[Role, ...]
    added: int
    removed: int | None = None
    keys: tuple[EnrolledKey, ...] = ()

    def present_at(self, index: int) -> bool:
        """Whether they belonged to the directory when entry ``index`` was appended."""
        return self.added < index and (self.removed is None or index <= self.removed)


class Directory:
    """All persons, past ones too. Never changes: every method that changes returns another."""

    def __init__(self) -> None:
        self._people: Mapping[str, Person] = MappingProxyType({})
        self._owners: Mapping[str, str] = MappingProxyType({})  # key id -> name

    @property
    def people(self) -> tuple[Person, ...]:
        """Everybody, in the order they came."""
        return tuple(self._people.values())

    def person(self, name: str) -> Person:
        """The person of that name, removed or not; raises NotFoundError."""
        if name not in self._people:
            raise NotFoundError(
                f"There is no person {name[:80]!r}.",
                next="`aisec person list` shows who there is.",
                code="person-unknown",
            )
        return self._people[name]

    def has_role(self, name: str, role: Role, at_index: int) -> bool:
        """Whether that person was present with that role at entry ``at_index``."""
        found = self._people.get(name)
        return found is not None and found.present_at(at_index) and role in found.roles

    def holders(self, role: Role, at_index: int) -> tuple[str, ...]:
        """The names of those who had the role at entry ``at_index``, sorted."""
        return tuple(sorted(name for name in self._people if self.has_role(name, role, at_index)))

    def owner(self, key_id: str) -> str | None:
        """Whose key this is or was."""
        return self._owners.get(key_id)

    def add(self, name: str, roles: tuple[Role, ...], at_index: int) -> Directory:
        """With a new person. A name is never given twice, so that history stays readable."""
        if name in self._people:
            raise ConflictError(
                f"There is, or was, a person {name[:80]!r}.",
                next="Names are never given twice; choose another: "
                "`aisec person add NAME --role ROLE`.",
                code="person-exists",
            )
        return self._with(Person(name=name, roles=roles, added=at_index))

    def remove(self, name: str, at_index: int) -> Directory:
        """Without that person; none of their keys signs any more."""
        person = self._present(name)
        return self._with(msgspec.structs.replace(person, removed=at_index))

    def enrol(self, name: str, key: PublicKey, at_index: int) -> Directory:
        """With one more key of that person. A key belongs to one person for ever."""
        person = self._present(name)
        key.raw()  # people sign with Ed25519
        if key.key_id in self._owners:
            raise ConflictError(
                "This key is enrolled already, or was.",
                next="If it is valid there is nothing to do; a new home makes a new key: "
                "`export AISEC_HOME=FOLDER; aisec key enroll --as NAME --out FILE`.",
                code="key-enrolled",
            )
        keys = (*person.keys, EnrolledKey(key=key, enrolled=at_index))
        return self._with(msgspec.structs.replace(person, keys=keys))

    def revoke(self, name: str, key_id: str, at_index: int) -> Directory:
        """Without that key of that person."""
        person = self._present(name)
        if not any(one.key.key_id == key_id and one.revoked is None for one in person.keys):
            raise NotFoundError(
                f"{name} has no key {key_id[:19]}… that could be revoked.",
                next="`aisec key list` shows the keys.",
                code="key-unknown",
            )
        keys = tuple(
            msgspec.structs.replace(one, revoked=at_index) if one.key.key_id == key_id else one
            for one in person.keys
        )
        return self._with(msgspec.structs.replace(person, keys=keys))

    def signer(self, envelope: Envelope, at_index: int) -> str:
        """The one person who signed ``envelope``, for entry ``at_index``.

        Signatures by keys that are nobody's (a broker's countersignature) are left aside.
        Raises IdentityError where no person signed, or several, or with a key that was not
        valid there; SignatureError where the signature does not verify.
        """
        names = self.signers(envelope, at_index)
        if len(names) > 1:
            raise IdentityError(
                f"This is signed by {' and '.join(names)}, and one person was expected.",
                code="signers-many",
            )
        return names[0]

    def signers(self, envelope: Envelope, at_index: int) -> tuple[str, ...]:
        """Everybody who signed ``envelope``, each once, at least one; as :meth:`signer`."""
        names: dict[str, None] = {}
        for signature in envelope.signatures:
            name = self._owners.get(signature.keyid)
            if name is None:
                continue
            person = self._people[name]
            enrolled = next(one for one in person.keys if one.key.key_id == signature.keyid)
            if not (person.present_at(at_index) and enrolled.valid_at(at_index)):
                raise IdentityError(
                    f"The key of {name} was not valid at entry {at_index}: "
                    "not enrolled yet, revoked, or its owner removed.",
                    next="Sign with an enrolled key: `aisec key list` shows them.",
                    code="key-not-valid",
                )
            verify(envelope, enrolled.key)
            names[name] = None
        if not names:
            raise IdentityError(
                "This is not signed by any enrolled key.",
                next="Enrol a key first: `aisec key enroll`.",
                code="signer-unknown",
            )
        return tuple(names)

    def _present(self, name: str) -> Person:
        person = self.person(name)
        if person.removed is not None:
            raise ConflictError(f"{name} was removed.", code="person-removed")
        return person

    def _with(self, person: Person) -> Directory:
        other = Directory()
        other._people = MappingProxyType({**self._people, person.name: person})
        other._owners = MappingProxyType(
            {**self._owners, **{one.key.key_id: person.name for one in person.keys}}
        )
        return other
