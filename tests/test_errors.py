"""The family of errors: its tree, its codes, and its problem documents (RFC 9457)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jupyter_aisec import errors
from jupyter_aisec.errors import AisecError, RefusedError


def family(base: type[AisecError] = AisecError) -> Iterator[type[AisecError]]:
    yield base
    for sub in base.__subclasses__():
        yield from family(sub)


def ours() -> list[type[AisecError]]:
    return [one for one in family() if one.__module__ == errors.__name__]


def test_every_class_is_public_and_in_the_picture() -> None:
    picture = errors.__doc__ or ""
    assert {one.__name__ for one in ours()} == set(errors.__all__) - {"PROBLEM_MEDIA_TYPE"}
    assert all(one.__name__ in picture for one in ours())


def test_no_two_classes_share_a_code() -> None:
    codes = [one.default_code for one in ours()]
    assert len(set(codes)) == len(codes)


def test_what_happened_and_what_to_do_next() -> None:
    assert str(AisecError("No.", next="Do.")) == "No. Do."
    assert str(AisecError("No.")) == "No."


@pytest.mark.parametrize(
    ("status", "more"), [(403, {"status": 403, "title": "Forbidden"}), (None, {})]
)
def test_a_problem_document(status: int | None, more: dict[str, object]) -> None:
    error = RefusedError("No.", next="Do.", code="self-approval")
    assert error.problem(status) == {
        "type": "urn:jupyter-aisec:error:self-approval",
        "title": "RefusedError",
        "detail": "No.",
        "next": "Do.",
        "code": "self-approval",
        **more,
    }
