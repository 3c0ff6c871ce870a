from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_aisec.texts import printable
from tests.effort import examples

ANY = st.text(st.characters(exclude_categories=()), max_size=80)  # lone surrogates too


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        pytest.param("plain übel 漢字 🙂", "plain übel 漢字 🙂", id="harmless"),
        pytest.param("", "", id="empty"),
        pytest.param("\x1b[2Jcleared", "\\x1b[2Jcleared", id="escape"),
        pytest.param("\x9b31m", "\\x9b31m", id="C1"),
        pytest.param("over\rwritten", "over\\rwritten", id="carriage return"),
        pytest.param("two\nlines", "two\\nlines", id="newline"),
        pytest.param("two\u2028lines\u2029", "two\\u2028lines\\u2029", id="separators"),
        pytest.param("\u202egnp.exe", "\\u202egnp.exe", id="bidi override"),
        pytest.param("\u2066a\u2069", "\\u2066a\\u2069", id="bidi isolate"),
        pytest.param("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff", id="invisible"),
        pytest.param("\U000e0041", "\\U000e0041", id="tag"),
        pytest.param("\ud800", "\\ud800", id="surrogate"),
        pytest.param("\ue000\uffff", "\\ue000\\uffff", id="private and unassigned"),
        pytest.param("no\xa0break", "no\\xa0break", id="a space that is none"),
    ],
)
def test_what_does_not_print_is_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("text", "most", "shown"),
    [
        pytest.param("abc", 3, "abc", id="fits"),
        pytest.param("abcd", 3, "abc…", id="cut"),
        pytest.param("abc", None, "abc", id="no limit"),
        pytest.param("ab\nd", 3, "ab\\n…", id="never within what is spelled out"),
        pytest.param("a", 0, "…", id="nothing"),
    ],
)
def test_a_long_text_is_cut_and_says_so(text: str, most: int | None, shown: str) -> None:
    assert printable(text, most) == shown


@settings(max_examples=examples(200), deadline=None)
@given(ANY, st.none() | st.integers(0, 100))
def test_whatever_comes_is_one_line_that_prints(text: str, most: int | None) -> None:
    shown = printable(text, most)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    shown.encode()
    assert printable(shown) == shown
    for char in shown:
        kind = unicodedata.category(char)
        assert char == " " or kind[0] not in "CZ", kind


@settings(max_examples=examples(200), deadline=None)
@given(ANY)
def test_nothing_that_prints_is_lost(text: str) -> None:
    if text.isprintable():
        assert printable(text) == text
    else:
        assert len(printable(text)) > len(text)
