"""A policy as the TOML file that people edit: the inverse of ``parse_policy``. Pure.

Written over the fields of the structs, so that what a policy comes to have is in the file too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import msgspec

from jupyter_aisec.grants.limits import format_size
from jupyter_aisec.grants.policy import DURATIONS, Policy
from jupyter_aisec.times import format_duration

__all__ = ["render_policy"]

_NEEDED = frozenset({"requesters", "approvals", "longest"})  # a file must say them of a rule


def render_policy(policy: Policy) -> str:
    """The text of which ``parse_policy`` makes ``policy`` again."""
    return render(policy)


def render(document: msgspec.Struct) -> str:
    """A struct as TOML 1.0: values first, then tables, then lists of tables."""
    values, tables, lists = [], [], []
    for key, value in _said(document).items():
        if isinstance(value, msgspec.Struct):
            tables.append(f"\n[{key}]\n{_lines(value)}")
        elif isinstance(value, tuple) and value and isinstance(value[0], msgspec.Struct):
            lists += [f"\n[[{key}]]\n{_lines(one)}" for one in value]
        else:
            values.append(f"{key} = {_value(key, value)}\n")
    return "".join((*values, *tables, *lists))


def _said(struct: msgspec.Struct) -> dict[str, Any]:
    """What a file says of a struct: all but what is empty by default.

    A rule that denies may say nothing of people and times.
    """
    said = {}
    for field in msgspec.structs.fields(struct):
        value = getattr(struct, field.name)
        by_default = value == field.default
        if getattr(struct, "deny", False):
            left_out = by_default
        else:
            left_out = value is None or (by_default and not value and field.name not in _NEEDED)
        if not left_out:
            said[field.name] = value
    return said


def _lines(struct: msgspec.Struct) -> str:
    return "".join(f"{key} = {_value(key, value)}\n" for key, value in _said(struct).items())


def _value(key: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and key in DURATIONS:
        return _text(format_duration(timedelta(seconds=value)))
    if isinstance(value, int) and key == "bytes":
        return _text(format_size(value))
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        inner = (f"{_text(name)} = {_value(name, one)}" for name, one in value.items())
    elif isinstance(value, msgspec.Struct):
        inner = (f"{name} = {_value(name, one)}" for name, one in _said(value).items())
    else:
        return f"[{', '.join(_value(key, one) for one in value)}]"
    return f"{{{', '.join(inner)}}}"


def _text(value: str) -> str:
    """A basic string; what does not print is escaped, so that it does nothing to a terminal."""
    return '"' + "".join(map(_char, value)) + '"'


def _char(char: str) -> str:
    if char in '"\\':
        return f"\\{char}"
    if char.isprintable():
        return char
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
