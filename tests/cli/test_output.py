from __future__ import annotations

import json

import pytest
import typer

from jupyter_aisec.cli.output import confirm, emit, fields, note, safe, say, show_error, table
from jupyter_aisec.errors import RefusedError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain übel 漢字", "plain übel 漢字"),
        ("\x1b[2Jcleared", "\\x1b[2Jcleared"),
        ("over\rwritten", "over\\rwritten"),
        ("two\nlines", "two\\nlines"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\x9b31m", "\\x9b31m"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
    ],
    ids=["harmless", "clears", "carriage return", "newline", "bidi", "C1", "invisible"],
)
def test_what_does_not_print_is_spelled_out(text: str, shown: str) -> None:
    assert safe(text) == shown


def test_hostile_cells_reach_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x1b]0;owned\x07[bold red]x[/]"
    emit({}, False, table(("A",), [(hostile,)]))
    emit({}, False, fields([("reason", hostile), ("none", None)]))
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert out.count("\\x1b]0;owned\\x07[bold red]x[/]") == 2
    assert "none" not in out


def test_json_is_all_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"b": b"\x00", "t": ("x",)}, True, "for people")
    assert json.loads(capsys.readouterr().out) == {"b": "AA==", "t": ["x"]}


def test_lines_are_not_wrapped_or_read_as_markup(capsys: pytest.CaptureFixture[str]) -> None:
    line = "[red]" + "a long line " * 40
    say(line)
    note(line)
    captured = capsys.readouterr()
    assert captured.out.strip() == captured.err.strip() == line.strip()


def test_an_error_is_two_lines(capsys: pytest.CaptureFixture[str]) -> None:
    error = RefusedError("No \x1b[31m.", next="Do `this`.", code="self-approval")
    show_error(error, json=False)
    assert capsys.readouterr() == ("", "aisec: No \\x1b[31m.\n  next: Do `this`.\n")
    show_error(RefusedError("No."), json=False)
    assert capsys.readouterr().err == "aisec: No.\n"


STRANGE = "x\u009b31m\u009d0;t\u009c \u202eevil\x1b[31m\x7f\u2028\U000e0001é"


def test_json_has_nothing_that_does_not_print(capsys: pytest.CaptureFixture[str]) -> None:
    emit({"reason": STRANGE}, True, "")
    show_error(RefusedError(STRANGE, next=STRANGE), json=True)
    out, err = capsys.readouterr()
    assert all(char.isprintable() or char == "\n" for char in out + err)
    assert "\\udb40\\udc01é" in out
    assert json.loads(out) == {"reason": STRANGE}
    assert json.loads(err)["next"] == STRANGE


def test_an_error_for_programs_is_a_problem(capsys: pytest.CaptureFixture[str]) -> None:
    show_error(RefusedError("No.", next="Do.", code="self-approval"), json=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert json.loads(captured.err) == {
        "type": "urn:jupyter-aisec:error:self-approval",
        "title": "RefusedError",
        "detail": "No.",
        "next": "Do.",
        "code": "self-approval",
    }


def test_no_is_no(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(typer, "confirm", lambda *_, **__: False)
    with pytest.raises(typer.Exit) as caught:
        confirm("Sign?", yes=False)
    assert caught.value.exit_code == 1
    assert "Nothing was signed." in capsys.readouterr().err
    confirm("Sign?", yes=True)
