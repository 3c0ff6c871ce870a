"""Canonical JSON (RFC 8785): one value, one byte string, so that bytes can be signed.

Types are msgspec Structs. Reading is strict in both directions: unknown fields, duplicate
names, other spellings of the same value and surplus white space are all refused, because
the bytes must be the ones that :func:`canonical` would write.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import rfc8785

from jupyter_aisec.errors import MalformedError

__all__ = ["canonical", "parse_canonical"]

T = TypeVar("T")


def canonical(value: Any) -> bytes:
    """``value`` (a Struct or plain JSON types; bytes become base64) as RFC 8785 bytes.

    Raises MalformedError for what RFC 8785 cannot carry: integers of 2**53 and more,
    lone surrogates, NaN; and for what is nested too deeply to be written.
    """
    try:
        return rfc8785.dumps(msgspec.to_builtins(value))
    except (rfc8785.CanonicalizationError, TypeError, UnicodeError, RecursionError) as error:
        raise MalformedError(f"This value has no canonical JSON form: {error}.") from error


def parse_canonical(data: bytes, type_: type[T], what: str) -> T:
    """The value of type ``type_`` that ``data`` canonically encodes.

    ``what`` names the thing for the reader of an error ("the manifest").
    """
    try:
        value = msgspec.json.decode(data, type=type_)
        again = canonical(value)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, MalformedError) as error:
        raise MalformedError(f"{what} cannot be read: {str(error).rstrip('.')}.") from error
    if again != data:
        raise MalformedError(f"{what} is not canonical JSON (RFC 8785).")
    return value
