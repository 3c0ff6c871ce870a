"""A ledger entry: what is hashed into the tree, and what lies beside it.

The tree holds only a salted commitment to the body, so the log can be shown to monitors
without telling them what was asked and why, and a body deleted later cannot be guessed
from what stays.
"""

from __future__ import annotations

import hmac
from typing import Literal

import msgspec

from jupyter_aisec.errors import LedgerError, MalformedError
from jupyter_aisec.ledger.bodies import ENTRY_TYPES, Body
from jupyter_aisec.ledger.merkle import leaf_hash
from jupyter_aisec.people.canonical import canonical, parse_canonical
from jupyter_aisec.times import parse_time

__all__ = ["SALT_SIZE", "Entry", "make_entry"]

SALT_SIZE = 32
_TYPE_NAMES = {body: name for name, body in ENTRY_TYPES.items()}


class Leaf(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the tree commits to; public."""

    v: Literal[1] = 1
    at: str
    type: str
    commitment: bytes


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """One entry as stored: its place, time (RFC 3339), type, salt and body (canonical JSON).

    Nothing is checked when it is made: rows of a database become entries so that they can
    be checked against the tree.
    """

    index: int
    at: str
    type: str
    salt: bytes
    body: bytes

    @property
    def commitment(self) -> bytes:
        """HMAC-SHA256 of the body under the salt: hiding and binding.

        Raises LedgerError for a salt of another length: HMAC pads keys with zeros, so a
        salt with zeros appended would give the same commitment.
        """
        if len(self.salt) != SALT_SIZE:
            raise LedgerError(f"The salt of entry {self.index} is not {SALT_SIZE} bytes long.")
        return hmac.digest(self.salt, self.body, "sha256")

    @property
    def leaf(self) -> bytes:
        """The leaf of the tree: canonical JSON of time, type and commitment."""
        return canonical(Leaf(at=self.at, type=self.type, commitment=self.commitment))

    @property
    def leaf_hash(self) -> bytes:
        """The hash of the leaf (RFC 6962), which the tree is built from."""
        return leaf_hash(self.leaf)

    def content(self) -> Body:
        """The body, as the struct of its type; read once.

        Raises MalformedError for an unknown type and for a body or time that is not
        exactly of its form.
        """
        cached: Body | None = self.__dict__.get("_content")
        if cached is None:
            parse_time(self.at)
            body_type = ENTRY_TYPES.get(self.type)
            if body_type is None:
                raise MalformedError(
                    f"Entry {self.index} is of an unknown type {self.type[:40]!r}.",
                    next="It was written by a newer version: upgrade jupyter-aisec.",
                    code="entry-type-unknown",
                )
            cached = parse_canonical(self.body, body_type, f"Entry {self.index} ({self.type})")
            self.__dict__["_content"] = cached
        return cached


def make_entry(index: int, at: str, body: Body, salt: bytes) -> Entry:
    """The entry for ``body`` at place ``index``; ``salt`` is 32 fresh random bytes.

    Raises MalformedError for a time that is not as in :mod:`jupyter_aisec.times`.
    """
    parse_time(at)
    entry = Entry(index=index, at=at, type=_TYPE_NAMES[type(body)], salt=salt, body=canonical(body))
    entry.commitment  # noqa: B018  refuses a salt of another length
    return entry
