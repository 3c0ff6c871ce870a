"""Canonical JSON against the examples of RFC 8785, and strict reading."""

from __future__ import annotations

import json
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_aisec.errors import MalformedError
from jupyter_aisec.people import canonical, parse_canonical
from tests.effort import examples

# RFC 8785, appendix B: an IEEE 754 double (hex, big-endian) and how it is written.
NUMBERS = {
    "0000000000000000": "0",
    "8000000000000000": "0",
    "0000000000000001": "5e-324",
    "8000000000000001": "-5e-324",
    "7fefffffffffffff": "1.7976931348623157e+308",
    "ffefffffffffffff": "-1.7976931348623157e+308",
    "4340000000000000": "9007199254740992",
    "c340000000000000": "-9007199254740992",
    "4430000000000000": "295147905179352830000",
    "44b52d02c7e14af5": "9.999999999999997e+22",
    "44b52d02c7e14af6": "1e+23",
    "44b52d02c7e14af7": "1.0000000000000001e+23",
    "444b1ae4d6e2ef4e": "999999999999999700000",
    "444b1ae4d6e2ef4f": "999999999999999900000",
    "444b1ae4d6e2ef50": "1e+21",
    "3eb0c6f7a0b5ed8c": "9.999999999999997e-7",
    "3eb0c6f7a0b5ed8d": "0.000001",
    "41b3de4355555553": "333333333.3333332",
    "41b3de4355555554": "333333333.33333325",
    "41b3de4355555555": "333333333.3333333",
    "41b3de4355555556": "333333333.3333334",
    "41b3de4355555557": "333333333.33333343",
    "becbf647612f3696": "-0.0000033333333333333333",
    "43143ff3c1cb0959": "1424953923781206.2",
}


class Point(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    y: int
    x: int
    tag: bytes = b""


@pytest.mark.parametrize("bits", NUMBERS)
def test_numbers_are_written_as_in_appendix_b(bits: str) -> None:
    (number,) = struct.unpack(">d", bytes.fromhex(bits))
    assert canonical(number) == NUMBERS[bits].encode()


def test_the_example_of_section_3_2_2() -> None:
    given_text = r"""{
        "numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
        "literals": [null, true, false]
    }"""
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical(json.loads(given_text)) == expected.encode()


def test_names_are_sorted_by_utf16_as_in_section_3_2_3() -> None:
    names = {
        "\u20ac": "Euro Sign",
        "\r": "Carriage Return",
        "\ufb33": "Hebrew Letter Dalet With Dagesh",
        "1": "One",
        "\U0001f600": "Emoji: Grinning Face",
        "\u0080": "Control",
        "\u00f6": "Latin Small Letter O With Diaeresis",
    }
    assert list(json.loads(canonical(names)).values()) == [
        "Carriage Return",
        "One",
        "Control",
        "Latin Small Letter O With Diaeresis",
        "Euro Sign",
        "Emoji: Grinning Face",
        "Hebrew Letter Dalet With Dagesh",
    ]


def _nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(2**53, id="integer-too-large"),
        pytest.param(-(2**53), id="integer-too-small"),
        pytest.param(float("nan"), id="not-a-number"),
        pytest.param(float("inf"), id="infinity"),
        pytest.param("\ud800", id="lone-surrogate"),
        pytest.param({"\udfff": 1}, id="lone-surrogate-in-a-name"),
        pytest.param(object(), id="not-json"),
        pytest.param(_nested(5_000), id="nested-too-deeply"),
    ],
)
def test_what_rfc_8785_cannot_carry_is_refused(value: Any) -> None:
    with pytest.raises(MalformedError):
        canonical(value)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'{"tag":"","x":2,"y":1} ', id="white-space-at-the-end"),
        pytest.param(b'{"tag":"", "x":2,"y":1}', id="white-space-inside"),
        pytest.param(b'{"x":2,"tag":"","y":1}', id="names-out-of-order"),
        pytest.param(b'{"tag":"","x":3,"x":2,"y":1}', id="a-name-twice"),
        pytest.param(b'{"tag":"","x":2,"y":1,"z":0}', id="unknown-field"),
        pytest.param(b'{"tag":"","x":2}', id="field-missing"),
        pytest.param(b'{"x":2,"y":1}', id="default-left-out"),
        pytest.param(b'{"tag":"","x":2.0,"y":1}', id="number-spelled-otherwise"),
        pytest.param(b'{"tag":"","x":"2","y":1}', id="wrong-type"),
        pytest.param(b'{"\\u0074ag":"","x":2,"y":1}', id="name-spelled-otherwise"),
        pytest.param(b'{"tag":"QR==","x":2,"y":1}', id="base64-spelled-otherwise"),
        pytest.param(b'{"tag":"!","x":2,"y":1}', id="not-base64"),
        pytest.param(b'{"tag":"","x":9007199254740992,"y":1}', id="integer-too-large"),
        pytest.param(b"\xef\xbb\xbf" + b'{"tag":"","x":2,"y":1}', id="byte-order-mark"),
        pytest.param(b'{"tag":"\xff","x":2,"y":1}', id="not-utf-8"),
        pytest.param(b"", id="empty"),
        pytest.param(b"[", id="cut-short"),
    ],
)
def test_only_the_canonical_spelling_is_read(data: bytes) -> None:
    with pytest.raises(MalformedError, match="The point"):
        parse_canonical(data, Point, "The point")


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'"\\ud800"', id="lone-surrogate"),
        pytest.param(b"[" * 5_000 + b"]" * 5_000, id="nested-deeply"),
        pytest.param(b"[" * 200_000, id="nested-very-deeply"),
    ],
)
def test_hostile_json_is_refused(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_canonical(data, object, "It")


def test_structs_and_bytes_come_back() -> None:
    point = Point(y=1, x=2, tag=b"\x00\xff")
    assert canonical(point) == b'{"tag":"AP8=","x":2,"y":1}'
    assert parse_canonical(canonical(point), Point, "The point") == point


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON)
@settings(max_examples=examples(60), deadline=None)
def test_canonical_is_json_of_the_same_value_and_stable(value: Any) -> None:
    data = canonical(value)
    again = json.loads(data, parse_int=float)  # large floats are written like integers
    assert again == value
    assert canonical(again) == data
