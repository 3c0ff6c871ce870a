"""Reading sealed files: every offset, every buffer, and every fault by name."""

from __future__ import annotations

import io
import itertools
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_aisec.errors import PlaintextError, SealBrokenError, SealError
from jupyter_aisec.sealed import stream
from jupyter_aisec.sealed.datakey import DataKey
from jupyter_aisec.sealed.memory import Memory
from jupyter_aisec.sealed.reader import SealReader
from jupyter_aisec.sealed.source import FileSource, RangeSource
from tests.effort import examples

KEY = bytes(range(32))
AAD = b"seal_00000000000000000000000000\0\0\0\0"
MIB = 1 << 20
PLAIN = os.urandom(3 * MIB + 12345)
LONG = os.urandom(40 * MIB)  # three tasks for two threads


@pytest.fixture(scope="module")
def three(seal) -> bytes:
    """A sealed file of four segments."""
    return seal(PLAIN)


@pytest.fixture(scope="module")
def long(seal) -> bytes:
    """A sealed file long enough for two threads."""
    return seal(LONG)


@given(st.data())
@settings(max_examples=examples(60), deadline=None)
def test_any_range_is_that_range(three, unseal, data):
    near = [0, stream.plain_start(1), stream.plain_start(2), len(PLAIN)]
    edge = st.sampled_from(near).flatmap(
        lambda n: st.integers(max(0, n - 3), min(len(PLAIN), n + 3))
    )
    place = st.one_of(edge, st.integers(0, len(PLAIN)))
    low, high = sorted([data.draw(place), data.draw(place)])
    assert unseal(three).read(low, high - low) == PLAIN[low:high]


@given(st.lists(st.integers(0, len(PLAIN)), max_size=12))
@settings(max_examples=examples(40), deadline=None)
def test_many_buffers_at_once(three, unseal, cuts):
    edges = sorted({0, *cuts})
    ranges = [(low, high) for low, high in itertools.pairwise(edges)][::2]
    buffers = [bytearray(high - low) for low, high in ranges]
    done: list[int] = []
    targets = [(low, memoryview(b)) for (low, _), b in zip(ranges, buffers, strict=True)]
    unseal(three).read_many(targets[::-1], done.append)
    assert [bytes(b) for b in buffers] == [PLAIN[low:high] for low, high in ranges]
    assert sum(done) == sum(len(b) for b in buffers)


@pytest.mark.parametrize("kind", ["file", "range"])
def test_two_threads_read_from_any_source(kind, long, tmp_path):
    path = tmp_path / "0000.sealed"
    path.write_bytes(long)
    source = {
        "file": lambda: FileSource(path),
        "range": lambda: RangeSource(len(long), lambda a, b: long[a:b]),
    }[kind]()
    done: list[int] = []
    reader = SealReader(source, DataKey(KEY), AAD)
    out = bytearray(len(LONG) - 2)
    reader.read_many([(1, memoryview(out)[:100]), (101, memoryview(out)[100:])], done.append)
    assert out == LONG[1:-1]
    assert sum(done) == len(out)


@pytest.mark.parametrize("offset", [-1, len(PLAIN)])
def test_a_range_outside_is_refused(offset, three, unseal):
    with pytest.raises(ValueError, match="past the end"):
        unseal(three).read(offset, 1)


def test_overlapping_buffers_are_refused(three, unseal):
    with pytest.raises(ValueError, match="overlap"):
        unseal(three).read_many([(0, memoryview(bytearray(9))), (8, memoryview(bytearray(9)))])


def swapped_segments(data: bytes) -> bytes:
    return data[:MIB] + data[2 * MIB : 3 * MIB] + data[MIB : 2 * MIB] + data[3 * MIB :]


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)


FAULTS_AT_OPENING = {
    "empty": (lambda d: b"", PlaintextError, "plaintext-not-sealed"),
    "plaintext": (lambda d: PLAIN, PlaintextError, "plaintext-not-sealed"),
    "parquet": (lambda d: b"PAR1" + PLAIN[4:], PlaintextError, "plaintext-not-sealed"),
    "cut-in-header": (lambda d: d[:30], SealBrokenError, "seal-truncated"),
    "cut-by-a-byte": (lambda d: d[:-1], SealBrokenError, "seal-truncated"),
    "cut-at-a-segment": (lambda d: d[: 2 * MIB], SealBrokenError, "seal-truncated"),
    "a-byte-more": (lambda d: d + b"\0", SealBrokenError, "seal-oversized"),
    "a-segment-more": (lambda d: d + d[MIB : 2 * MIB], SealBrokenError, "seal-oversized"),
    "last-segment-changed": (lambda d: flipped(d, len(d) - 20), SealBrokenError, "seal-broken"),
    "salt-changed": (lambda d: flipped(d, 5), SealBrokenError, "seal-swapped"),
    "nonce-prefix-changed": (lambda d: flipped(d, 36), SealBrokenError, "seal-swapped"),
}


@pytest.mark.parametrize("fault", FAULTS_AT_OPENING)
def test_a_fault_is_found_at_opening(fault, three, unseal):
    change, error, code = FAULTS_AT_OPENING[fault]
    changed = change(three if fault != "plaintext" else b"{" + PLAIN)
    if fault == "plaintext":
        changed = b"{" + PLAIN
    with pytest.raises(error) as caught:
        unseal(changed, expected_size=len(three), name="part of dataset/x")
    assert caught.value.code == code
    assert "part of dataset/x" in caught.value.what
    assert caught.value.next


@pytest.mark.parametrize("cut", [30, 55, MIB, 2 * MIB, 2 * MIB + 7])
def test_a_cut_is_found_without_a_manifest(cut, three, unseal):
    with pytest.raises(SealBrokenError):
        unseal(three[:cut])


@pytest.mark.parametrize(
    ("fault", "code"), [("reordered", "seal-reordered"), ("changed", "seal-broken")]
)
def test_a_fault_is_found_when_its_segment_is_read(fault, code, three, unseal):
    changed = swapped_segments(three) if fault == "reordered" else flipped(three, MIB + 77)
    reader = unseal(changed, expected_size=len(three))
    out = bytearray(b"before" * (len(PLAIN) // 6))
    with pytest.raises(SealBrokenError) as caught:
        reader.read_into(0, out)
    assert caught.value.code == code
    assert set(out) == {0xFF}  # nothing unauthenticated, and nothing half-read, is left
    assert reader.read(0, 100) == PLAIN[:100]  # what is whole can still be read


def test_another_versions_file_is_found(seal, unseal, three):
    other = seal(PLAIN, aad=AAD[:-1] + b"\1")
    with pytest.raises(SealBrokenError) as caught:
        unseal(other, expected_size=len(three))
    assert caught.value.code == "seal-swapped"


def test_the_wrong_key_opens_nothing(three, unseal):
    with pytest.raises(SealBrokenError):
        unseal(three, key=bytes(32))


def test_an_error_in_one_thread_stops_the_other_and_wipes(long, unseal):
    reader = unseal(flipped(long, 17 * MIB + 5))
    out = bytearray(len(LONG))
    with pytest.raises(SealBrokenError):
        reader.read_into(0, out)
    assert set(out) == {0xFF}


def test_an_interruption_stops_both_threads_and_wipes(long, unseal):
    calls = []

    def interrupt(done: int) -> None:
        calls.append(done)
        raise KeyboardInterrupt

    out = bytearray(len(LONG))
    with pytest.raises(KeyboardInterrupt):
        unseal(long).read_many([(0, memoryview(out))], interrupt)
    assert set(out) == {0xFF}
    assert len(calls) <= 2


def test_a_closed_reader_reads_nothing(three, unseal):
    reader = unseal(three)
    reader.close()
    with pytest.raises(SealBrokenError) as caught:
        reader.read(0, 10)
    assert caught.value.code == "seal-closed"


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 1, 2]), st.integers(-2 * MIB, 4 * MIB), st.integers(-1, 2 * MIB)
        ),
        max_size=8,
    )
)
@settings(max_examples=examples(30), deadline=None)
def test_a_sealed_file_behaves_as_a_file(three, unseal, moves):
    ours, model = unseal(three).open(), io.BytesIO(PLAIN)
    for whence, offset, length in moves:
        base = (0, model.tell(), len(PLAIN))[whence]
        if base + offset < 0:
            with pytest.raises((ValueError, OSError)):
                ours.seek(offset, whence)
            ours.seek(model.tell())
            continue
        assert ours.seek(offset, whence) == model.seek(base + offset)
        assert ours.read(length) == model.read(length)
        assert ours.tell() == model.tell()


@pytest.mark.parametrize("start", [0, 7])
def test_a_large_read_goes_straight_into_its_buffer(start, three, unseal):
    raw = unseal(three).open().detach()
    raw.seek(start)
    buffer = bytearray(len(PLAIN))
    assert raw.readinto(buffer) == len(PLAIN) - start
    assert buffer[: len(PLAIN) - start] == PLAIN[start:]


def test_reading_line_by_line(seal, unseal):
    lines = [b"line %d\n" % n for n in range(200_000)]
    with unseal(seal(b"".join(lines))).open() as file:
        assert file.readable()
        assert file.seekable()
        assert not file.writable()
        assert list(file) == lines
    file.close()


def test_no_position_before_the_beginning(three, unseal):
    raw = unseal(three).open().detach()
    with pytest.raises(ValueError, match="before"):
        raw.seek(-1)
    assert raw.tell() == 0


def test_closing_twice_is_harmless(seal, unseal):
    raw = unseal(seal(b"x")).open().detach()
    raw.close()
    raw.close()


def test_an_empty_file_reads_as_empty(seal, unseal):
    assert unseal(seal(b"")).open().read() == b""


def test_a_file_whose_memory_is_wiped_raises(three, unseal):
    memory = Memory()
    file = unseal(three).open(memory)
    assert file.read(10) == PLAIN[:10]
    memory.wipe("revoked")
    file.seek(2 * MIB)
    with pytest.raises(SealError) as caught:
        file.read(10)
    assert caught.value.code == "memory-wiped"


def test_a_file_cut_while_it_is_read(three, tmp_path):
    path = tmp_path / "0000.sealed"
    path.write_bytes(three)
    source = FileSource(path)
    reader = SealReader(source, DataKey(KEY), AAD)
    with path.open("r+b") as file:
        file.truncate(MIB)
    with pytest.raises(SealBrokenError) as caught:
        reader.read(2 * MIB, 10)
    assert caught.value.code == "seal-truncated"
    source.close()
    with pytest.raises(SealError) as caught:
        reader.read(0, 10)
    assert caught.value.code == "store-unreadable"


def test_a_file_that_is_not_there():
    with pytest.raises(SealError) as caught:
        FileSource(Path("nowhere") / "0000.sealed")
    assert caught.value.code == "store-unreadable"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"short", "seal-truncated"),
        (OSError("away"), "store-unreadable"),
        (SealError("x", code="mine"), "mine"),
    ],
    ids=["short-answer", "connection-lost", "an-error-of-ours"],
)
def test_a_store_that_fails(answer, code):
    def read(start: int, stop: int) -> bytes:
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(SealError) as caught:
        SealReader(RangeSource(1000, read), DataKey(KEY), AAD)
    assert caught.value.code == code
