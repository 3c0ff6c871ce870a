"""What the keeper takes for ciphertext, and what it does not."""

from __future__ import annotations

import base64
import gzip
import os
import random
import struct

import pytest

from jupyter_aisec.errors import RefusedError
from jupyter_aisec.kernel.ciphertext import CiphertextTest
from jupyter_aisec.sealed.stream import HEADER_SIZE, SEGMENT_SIZE, TAG_SIZE

from .conftest import sealed

FULL = SEGMENT_SIZE - TAG_SIZE


def passes(data: bytes, step: int = 100_000) -> bool:
    test = CiphertextTest()
    try:
        out = [test.feed(data[start : start + step]) for start in range(0, len(data), step)]
        out.append(test.finish())
    except RefusedError:
        return False
    assert b"".join(out) == data
    return True


@pytest.mark.parametrize("size", [0, 1, 100, 5000, FULL - 41, FULL - 40, FULL - 39, 2 * FULL + 1])
def test_sealed_files_of_every_shape_pass(size: int) -> None:
    assert passes(sealed(size))
    assert passes(sealed(size), step=65_535)


def test_no_honest_file_is_refused() -> None:
    assert all(passes(sealed(size)) for size in range(300))


RNG = random.Random(4711)
DISGUISED = {
    "text": b"row 4711, a name, a place\n" * 10_000,
    "short text": b"PLAINTEXT " * 6,
    "zeros": bytes(100_000),
    "JSON": b'{"version": 1, "refs": {"d": ["file:///etc", 0, 16]}}' * 3,
    "base64": base64.b64encode(RNG.randbytes(100_000)),
    "float32": struct.pack("<50000f", *(RNG.gauss(0, 1) for _ in range(50_000))),
    "one byte over and over": b"\xc3" * 100,
    "text behind a MiB of noise": RNG.randbytes(SEGMENT_SIZE) + b"a secret sentence " * 5,
    "compressed in short": gzip.compress(b"row 4711\n" * 100_000)[-500:],
}


@pytest.mark.parametrize("data", DISGUISED.values(), ids=DISGUISED.keys())
def test_plaintext_with_a_header_is_refused(data: bytes) -> None:
    assert not passes(bytes([HEADER_SIZE]) + RNG.randbytes(39) + data)


@pytest.mark.parametrize(
    "size", [0, 1, 40, 55, SEGMENT_SIZE + 1, SEGMENT_SIZE + 16, 2 * SEGMENT_SIZE + 16]
)
def test_no_sealed_file_has_such_a_size(size: int) -> None:
    assert not passes((bytes([HEADER_SIZE]) + os.urandom(size))[:size])


def test_another_header_is_refused() -> None:
    assert not passes(b"\x29" + sealed(1000)[1:])
