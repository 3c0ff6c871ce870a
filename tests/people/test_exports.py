"""The public names of the room, pinned."""

from __future__ import annotations

import jupyter_aisec.people as people


def test_exports() -> None:
    assert sorted(people.__all__) == [
        "Directory",
        "EnrolledKey",
        "Envelope",
        "KeyKind",
        "Person",
        "PublicKey",
        "Role",
        "Signature",
        "SigningKey",
        "canonical",
        "pae",
        "parse_canonical",
        "sign",
        "sign_again",
        "verify",
    ]
    assert all(hasattr(people, name) for name in people.__all__)
