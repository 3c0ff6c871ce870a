"""The header of a safetensors file, read as strictly as the format says.

Format: https://github.com/huggingface/safetensors#format. Eight bytes with the header's
length (little-endian, at most 100 MB), JSON that begins with ``{`` and may end in spaces,
then the tensors' bytes, which the header's offsets cover with no hole and no overlap.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from math import prod
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from jupyter_aisec.errors import MalformedError

__all__ = ["ITEM_SIZES", "MAX_HEADER_SIZE", "Header", "TensorEntry", "parse_header", "write_header"]

MAX_HEADER_SIZE = 100_000_000  # the limit of the format's own library
_MAX_DIMENSIONS = 64
_METADATA = "__metadata__"
_Size = Annotated[int, Meta(ge=0, lt=1 << 52)]

# In the order in which the format's own library lays tensors out: the widest last here.
ITEM_SIZES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E5M2": 1,
    "F8_E4M3": 1,
    "F8_E8M0": 1,
    "F8_E4M3FNUZ": 1,
    "F8_E5M2FNUZ": 1,
    "I16": 2,
    "U16": 2,
    "F16": 2,
    "BF16": 2,
    "I32": 4,
    "U32": 4,
    "F32": 4,
    "C64": 8,
    "F64": 8,
    "I64": 8,
    "U64": 8,
}
_ORDER = {dtype: position for position, dtype in enumerate(ITEM_SIZES)}


class TensorEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One tensor: its type's name, its shape, and where its bytes lie after the header."""

    dtype: str
    shape: Annotated[tuple[_Size, ...], Meta(max_length=_MAX_DIMENSIONS)]
    data_offsets: tuple[_Size, _Size]

    @property
    def size(self) -> int:
        """Bytes that its type and shape need."""
        return prod(self.shape) * ITEM_SIZES[self.dtype]


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """All tensors, in the order of their bytes; ``data_start`` is where those begin."""

    tensors: dict[str, TensorEntry]
    metadata: dict[str, str]
    data_start: int


def parse_header(length: bytes, text: bytes, file_size: int, name: str) -> Header:
    """The header in ``text``, whose 8-byte length field is ``length``.

    ``file_size`` is the whole file's. Raises MalformedError naming the fault.
    """
    try:
        fields = json.loads(text, object_pairs_hook=_distinct) if text[:1] == b"{" else None
        if not isinstance(fields, dict):
            raise _malformed(name, "its header is not a JSON object")
        metadata = msgspec.convert(fields.pop(_METADATA, {}), dict[str, str])
        tensors = msgspec.convert(fields, dict[str, TensorEntry])
    except (ValueError, RecursionError, msgspec.ValidationError) as error:
        raise _malformed(name, f"its header cannot be read ({error})") from error
    end = 0
    ordered = dict(sorted(tensors.items(), key=lambda item: item[1].data_offsets))
    for tensor, entry in ordered.items():
        if entry.dtype not in ITEM_SIZES:
            raise _malformed(name, f"{tensor[:80]!r} has the unknown type {entry.dtype[:20]!r}")
        if entry.data_offsets[0] != end:
            raise _malformed(name, f"{tensor[:80]!r} leaves a hole or overlaps another tensor")
        end = entry.data_offsets[1]
        if end - entry.data_offsets[0] != entry.size:
            raise _malformed(name, f"{tensor[:80]!r} does not fit its type and shape")
    start = len(length) + len(text)
    if start + end != file_size:
        raise _malformed(name, "its tensors do not fill the file")
    return Header(tensors=ordered, metadata=metadata, data_start=start)


def header_length(field: bytes, file_size: int, name: str) -> int:
    """The length of the header's JSON, from the file's first 8 bytes."""
    length: int = struct.unpack("<Q", field)[0] if len(field) == 8 else MAX_HEADER_SIZE + 1
    if length > min(MAX_HEADER_SIZE, file_size - 8):
        raise _malformed(name, "its header's length is impossible")
    return length


def write_header(
    shapes: Mapping[str, tuple[str, tuple[int, ...]]], metadata: Mapping[str, str]
) -> tuple[bytes, list[str]]:
    """The beginning of a file with these tensors (name → type, shape), and their order.

    The layout is that of the format's own library: the widest types first, then by name, so
    that every tensor is aligned; the header is padded with spaces to 8 bytes.
    """
    order = sorted(shapes, key=lambda tensor: (-_ORDER[shapes[tensor][0]], tensor))
    fields: dict[str, Any] = {_METADATA: dict(sorted(metadata.items()))} if metadata else {}
    end = 0
    for tensor in order:
        dtype, shape = shapes[tensor]
        start, end = end, end + prod(shape) * ITEM_SIZES[dtype]
        fields[tensor] = {"dtype": dtype, "shape": shape, "data_offsets": (start, end)}
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, order


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name appears twice")
    return fields


def _malformed(name: str, what: str) -> MalformedError:
    return MalformedError(
        f"{name} is not a safetensors file: {what}.",
        next="Save it again with safetensors, and seal that.",
        code="safetensors-malformed",
    )
