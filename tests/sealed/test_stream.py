"""The stream format: Tink's, both ways, for every shape of file and of chunk."""

from __future__ import annotations

import hashlib
import io
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tink import TinkError, streaming_aead

from jupyter_aisec.errors import SealBrokenError, UsageError
from jupyter_aisec.sealed import stream
from jupyter_aisec.sealed.datakey import DataKey
from jupyter_aisec.sealed.stream import SealWriter
from tests.effort import examples

from .conftest import tinks

KEY = bytes(range(32))
AAD = b"seal_00000000000000000000000000\0\0\0\0"
FIRST = stream.SEGMENT_SIZE - stream.HEADER_SIZE - stream.TAG_SIZE
EDGES = (
    0,
    1,
    FIRST - 1,
    FIRST,
    FIRST + 1,
    FIRST + stream.PLAIN_SIZE,
    FIRST + stream.PLAIN_SIZE + 1,
)


class Sink(io.BytesIO):
    """Keeps its content: tink closes what it writes to."""

    def close(self) -> None:
        self.content = self.getvalue()
        super().close()


@pytest.fixture(scope="module")
def theirs() -> streaming_aead.StreamingAead:
    return tinks(KEY)


@pytest.mark.parametrize("size", EDGES)
def test_tink_opens_what_we_seal(size, seal, theirs):
    plain = os.urandom(size)
    with theirs.new_decrypting_stream(io.BytesIO(seal(plain)), AAD) as opened:
        assert opened.read() == plain


@pytest.mark.parametrize("size", EDGES)
def test_we_open_what_tink_seals(size, unseal, theirs):
    plain = os.urandom(size)
    sink = Sink()
    with theirs.new_encrypting_stream(sink, AAD) as writer:
        writer.write(plain)
    assert len(sink.content) == stream.sealed_size(size)
    reader = unseal(sink.content)
    assert reader.size == size
    assert reader.read(0, size) == plain


def test_tink_rejects_our_file_with_a_byte_changed(seal, theirs):
    sealed = bytearray(seal(b"x" * 100))
    sealed[60] ^= 1
    with (
        theirs.new_decrypting_stream(io.BytesIO(sealed), AAD) as opened,
        pytest.raises(TinkError),
    ):
        opened.read()


@given(
    st.lists(st.sampled_from([0, 1, 7, 4096, FIRST - 1, FIRST, FIRST + 1, 2 * FIRST]), max_size=6)
)
@settings(max_examples=examples(30), deadline=None)
def test_any_chunks_make_the_same_plaintext(seal, unseal, sizes):
    plain = os.urandom(sum(sizes))
    sink = io.BytesIO()
    writer = SealWriter(sink, DataKey(KEY), AAD)
    start = 0
    for size in sizes:
        assert writer.write(plain[start : start + size]) == size
        start += size
    writer.finish()
    sealed = sink.getvalue()
    assert writer.size == len(plain)
    assert writer.sealed_size == len(sealed) == stream.sealed_size(len(plain))
    assert writer.sha256 == hashlib.sha256(sealed).hexdigest()
    assert unseal(sealed).read(0, len(plain)) == plain


@given(st.integers(0, stream.MAX_SIZE))
def test_segments_add_up(size):
    count = stream.segment_count(size)
    assert stream.plain_start(count - 1) < size or count == 1
    assert size <= stream.plain_start(count)
    assert -(-stream.sealed_size(size) // stream.SEGMENT_SIZE) == count


def test_two_files_of_the_same_bytes_differ(seal):
    assert seal(b"same")[40:] != seal(b"same")[40:]


@pytest.mark.parametrize("end", ["finish", "close"])
def test_nothing_is_added_after_the_end(end):
    writer = SealWriter(io.BytesIO(), DataKey(KEY), AAD)
    assert writer.writable()
    getattr(writer, end)()
    with pytest.raises(UsageError):
        writer.write(b"more")
    with pytest.raises(UsageError):
        writer.finish()


def test_a_digest_can_be_asked_for_at_any_time():
    sink = io.BytesIO()
    writer = SealWriter(sink, DataKey(KEY), AAD)
    for _ in range(3):
        assert writer.sha256 == hashlib.sha256(sink.getvalue()).hexdigest()
        writer.write(bytes(9 * FIRST))


class Faulty(io.BytesIO):
    """Takes ``left`` writes."""

    def __init__(self, left: int, fault: type[BaseException]) -> None:
        super().__init__()
        self.left = left
        self.fault = fault

    def write(self, data) -> int:
        self.left -= 1
        if self.left < 0:
            raise self.fault
        return super().write(data)


@pytest.mark.parametrize("fault", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("left", [1, 3])
def test_after_a_failed_write_nothing_is_sealed_under_the_same_nonce(left, fault, unseal):
    sink = Faulty(left, fault)
    writer = SealWriter(sink, DataKey(KEY), AAD)
    with pytest.raises(fault):
        writer.write(bytes(5 * FIRST))
    sink.left = 9
    with pytest.raises(UsageError):
        writer.write(b"more")
    with pytest.raises(UsageError):
        writer.finish()
    with pytest.raises(SealBrokenError):
        unseal(sink.getvalue())


def test_a_writer_given_up_leaves_no_file_that_opens(unseal):
    sink = io.BytesIO()
    with SealWriter(sink, DataKey(KEY), AAD) as writer:
        writer.write(bytes(3 << 20))
    with pytest.raises(SealBrokenError) as caught:
        unseal(sink.getvalue())
    assert caught.value.code in ("seal-truncated", "seal-broken")
