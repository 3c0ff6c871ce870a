"""Names that statements and rules speak of: artifacts, seats, ids and digests, as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from jupyter_aisec.errors import MalformedError

__all__ = [
    "check_artifact",
    "check_digest",
    "check_id",
    "check_person",
    "check_references",
    "check_seat",
    "narrow",
    "split_reference",
]

MAX_REFERENCES = 100
_ARTIFACT = re.compile(r"(?:dataset|weights|results)/[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VERSION = re.compile(r"[1-9]\d{0,8}")
_ULID = "[0-7][0-9A-HJKMNP-TV-Z]{25}"
_SEAT = re.compile(rf"session:{_ULID}|job:[A-Za-z0-9][A-Za-z0-9._-]{{0,63}}")
_PERSON = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def check_artifact(name: str) -> str:
    """``name`` if it is one of an artifact (``dataset/…``, ``weights/…``, ``results/…``)."""
    if not _ARTIFACT.fullmatch(name):
        raise MalformedError(
            f"{name[:80]!r} is not the name of an artifact.",
            next="They look like dataset/corpus or weights/base: `aisec artifact list`.",
            code="artifact-name-invalid",
        )
    return name


def split_reference(reference: str) -> tuple[str, int | None]:
    """``"weights/base@3"`` as ``("weights/base", 3)``; ``None`` stands for every version."""
    name, at, version = reference.partition("@")
    if at and not _VERSION.fullmatch(version):
        raise MalformedError(
            f"{reference[:80]!r} does not name a version.",
            next="Versions are numbers from 1: weights/base@3.",
            code="artifact-name-invalid",
        )
    return check_artifact(name), int(version) if at else None


def check_id(text: str, prefix: str) -> None:
    """Raises MalformedError unless ``text`` is an id such as ``grant_<ULID>``."""
    if not re.fullmatch(f"{prefix}_{_ULID}", text):
        raise MalformedError(f"{text[:80]!r} is not an id like {prefix}_…", code="id-invalid")


def check_person(name: str) -> None:
    """Raises MalformedError unless ``name`` can name a person."""
    if not _PERSON.fullmatch(name):
        raise MalformedError(
            f"{name[:80]!r} cannot be a person's name.",
            next="Use letters, digits and . _ @ + -, at most 64.",
            code="person-name-invalid",
        )


def check_seat(seat: str) -> None:
    """Raises MalformedError unless ``seat`` is ``session:<ULID>`` or ``job:<name>``."""
    if not _SEAT.fullmatch(seat):
        raise MalformedError(
            f"{seat[:80]!r} is not a seat.",
            next="A notebook names its own; a job's is `--seat job:NAME`.",
            code="seat-invalid",
        )


def check_digest(text: str, what: str) -> None:
    """Raises MalformedError unless ``text`` is a SHA-256 in lower-case hex."""
    if not _DIGEST.fullmatch(text):
        raise MalformedError(f"{what} is not a SHA-256 in hex.", code="digest-invalid")


def check_references(references: Sequence[str]) -> None:
    """Raises MalformedError unless they are artifacts: at least one, sorted and distinct."""
    for reference in references:
        split_reference(reference)
    if not 1 <= len(references) <= MAX_REFERENCES:
        raise MalformedError(
            f"{len(references)} artifacts are named; 1 to {MAX_REFERENCES} can be.",
            next=f"Name 1 to {MAX_REFERENCES}, and others in another request.",
            code="artifacts-invalid",
        )
    if list(references) != sorted(set(references)):
        raise MalformedError("The artifacts are not sorted and distinct.", code="artifacts-invalid")


def narrow(references: Iterable[str], to: Iterable[str]) -> frozenset[str]:
    """What both cover: ``weights/base`` and ``weights/base@3`` share ``weights/base@3``."""
    left, right = set(references), set(to)
    return frozenset(
        {one for one in left if one in right or split_reference(one)[0] in right}
        | {one for one in right if one in left or split_reference(one)[0] in left}
    )
