"""Whether a file that is to be sealed is what its suffix says: a look at its ends, no more.

Sealed weights and tables are opened long after, by others, when the source may be gone: a
file that would not open then is refused now. Parquet's layout:
https://parquet.apache.org/docs/file-format/ ("PAR1", data, footer, its length, "PAR1").
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

from jupyter_aisec.errors import MalformedError
from jupyter_aisec.sealed.safetensors_header import header_length, parse_header

__all__ = ["check_format"]

Read = Callable[[int, int], bytes]
_MAGIC = b"PAR1"
_LEAST = 12  # both magics, and the footer's length


def check_format(name: str, size: int, read: Read) -> None:
    """Raises MalformedError (``source-malformed``) for what is no safetensors, or no Parquet.

    ``read(position, count)`` gives bytes of the file, which has ``size``. Other suffixes pass.
    The header of weights is read whole, which the format bounds; their tensors are not.
    """
    match PurePosixPath(name).suffix.lower():
        case ".safetensors":
            _check_safetensors(name, size, read)
        case ".parquet":
            _check_parquet(name, size, read)


def _check_safetensors(name: str, size: int, read: Read) -> None:
    field = read(0, 8)
    try:
        length = header_length(field, size, name)
        text = read(8, length) if read(8, 1) == b"{" else b""  # nothing long is read in vain
        parse_header(field, text, size, name)
    except MalformedError as error:
        raise _malformed(error.what) from error


def _check_parquet(name: str, size: int, read: Read) -> None:
    if size < _LEAST or read(0, 4) != _MAGIC:
        raise _malformed(f"{name} is not a Parquet file: it does not begin like one.")
    end = read(size - 8, 8)
    if end[4:] != _MAGIC or int.from_bytes(end[:4], "little") > size - _LEAST:
        raise _malformed(f"{name} is not a Parquet file: it does not end like one.")


def _malformed(what: str) -> MalformedError:
    return MalformedError(
        what,
        next="Write it again, or give it the suffix of what it is, and seal that: "
        "`aisec artifact seal SRC NAME`.",
        code="source-malformed",
    )
