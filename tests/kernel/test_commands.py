from __future__ import annotations

import pytest

from jupyter_aisec.errors import UsageError
from jupyter_aisec.kernel.commands import (
    GrantCommand,
    HelpShown,
    LoadCommand,
    SaveCommand,
    parse_grant,
    parse_load,
    parse_save,
)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("", GrantCommand(verb="list")),
        ("list --pending", GrantCommand(verb="list", pending=True)),
        (
            'request dataset/a weights/b --for 1h30m --reason "two words" --wait',
            GrantCommand(
                verb="request",
                names=("dataset/a", "weights/b"),
                seconds=5400,
                reason="two words",
                wait=True,
            ),
        ),
        (
            "extend grant_x --for 10m --reason more",
            GrantCommand(verb="extend", names=("grant_x",), seconds=600, reason="more"),
        ),
        (
            "request dataset/a --for 10m --reason pager --break-glass",
            GrantCommand(
                verb="request",
                names=("dataset/a",),
                seconds=600,
                reason="pager",
                break_glass=True,
            ),
        ),
        (
            "extend grant_x --for 10m --reason more --break-glass",
            GrantCommand(
                verb="extend", names=("grant_x",), seconds=600, reason="more", break_glass=True
            ),
        ),
        ("review grant_x --unjustified", GrantCommand(verb="review", names=("grant_x",))),
        ("show", GrantCommand(verb="show")),
        ("return grant_x", GrantCommand(verb="return", names=("grant_x",))),
        ("withdraw --reason oops", GrantCommand(verb="withdraw", reason="oops")),
        ("approve grant_x --for 1h", GrantCommand(verb="approve", names=("grant_x",))),
    ],
)
def test_grant(line, command):
    assert parse_grant(line) == command


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("dataset/a as df", LoadCommand(artifact="dataset/a", variable="df")),
        (
            "dataset/a as df --columns x,y --format polars --no-wait --version 3",
            LoadCommand(
                artifact="dataset/a",
                variable="df",
                columns=("x", "y"),
                format="polars",
                wait=False,
                version=3,
            ),
        ),
        (
            "weights/b as m --into model --device cuda:1",
            LoadCommand(artifact="weights/b", variable="m", into="model", device="cuda:1"),
        ),
    ],
)
def test_load(line, command):
    assert parse_load(line) == command


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("model as weights/x", SaveCommand(expression="model", artifact="weights/x")),
        (
            'f(" as ", 1) as results/y --label a --label b',
            SaveCommand(expression='f(" as ", 1)', artifact="results/y", labels=("a", "b")),
        ),
    ],
)
def test_save(line, command):
    assert parse_save(line) == command


@pytest.mark.parametrize(
    ("parse", "line"),
    [
        (parse_grant, "request dataset/a"),
        (parse_grant, "request dataset/a --for 1x --reason r"),
        (parse_grant, "dance"),
        (parse_grant, 'request "dataset/a'),
        (parse_load, "dataset/a"),
        (parse_load, "dataset/a into df"),
        (parse_load, "dataset/a as 1x"),
        (parse_load, "dataset/a as class"),
        (parse_load, 'dataset/a as df --columns ""'),
        (parse_load, "dataset/a as df --columns a,,b"),
        (parse_load, "dataset/a as df --format xml"),
        (parse_load, "dataset/a as df --version latest"),
        (parse_save, "model"),
        (parse_save, " as weights/x"),
        (parse_save, "model as"),
        (parse_save, "model as weights/x --what"),
    ],
)
def test_misuse_is_our_error_and_says_how(parse, line):
    with pytest.raises(UsageError) as raised:
        parse(line)
    assert raised.value.next
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("parse", "line"),
    [(parse_grant, "request --help"), (parse_load, "-h"), (parse_save, "--help")],
)
def test_help_is_shown_and_is_no_error(parse, line, capsys):
    with pytest.raises(HelpShown):
        parse(line)
    assert capsys.readouterr().out.startswith("usage: ")


def test_a_reason_of_two_words_is_said_to_need_quotes():
    with pytest.raises(UsageError) as raised:
        parse_grant("request dataset/a --for 1h --reason Ablation 12")
    assert raised.value.next.startswith("Quote what has spaces. It is written %grant")
